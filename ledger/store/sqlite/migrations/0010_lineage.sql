-- What a job was made from, where its row says so: the jobs that were made from one are read from an index, however
-- many others there are. A row is bytes with one spelling (`JobFilter.pieces`), so nothing is parsed, also of a damaged one.
CREATE INDEX jobs_source_job ON jobs (substr(body, instr(body, CAST('"source_job":"' AS BLOB)) + 14, 64))
WHERE instr(body, CAST('"source_job":"' AS BLOB)) > 0;
CREATE INDEX jobs_source_video ON jobs (substr(body, instr(body, CAST('"remix_video_id":"' AS BLOB)) + 18, 512))
WHERE instr(body, CAST('"remix_video_id":"' AS BLOB)) > 0 AND instr(body, CAST('"source_job":"' AS BLOB)) = 0;
