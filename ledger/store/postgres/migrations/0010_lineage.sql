-- What a job was made from, where its row says so: the jobs that were made from one are read from an index, however
-- many others there are. A row is bytes with one spelling (`JobFilter.pieces`), so nothing is parsed, also of a damaged one.
CREATE INDEX jobs_source_job ON jobs (substring(body from position('"source_job":"'::bytea in body) + 14 for 64))
WHERE position('"source_job":"'::bytea in body) > 0;
CREATE INDEX jobs_source_video ON jobs (substring(body from position('"remix_video_id":"'::bytea in body) + 18 for 512))
WHERE position('"remix_video_id":"'::bytea in body) > 0 AND position('"source_job":"'::bytea in body) = 0;
