-- Finished videos that nobody has reviewed, and those of them for a final purpose: the queues of reviewers are read from
-- an index, however many videos were reviewed. `reading` spells the conditions as here.
-- Reviews may hold notes about moments of a clip: older software, which does not know these, refuses the ledger as a whole.
CREATE INDEX jobs_unreviewed ON jobs (job_id)
WHERE (instr(body, CAST('"state":"completed"' AS BLOB)) > 0 OR instr(body, CAST('"state":"stored"' AS BLOB)) > 0)
AND instr(body, CAST('"verdict":null' AS BLOB)) > 0;
CREATE INDEX jobs_unreviewed_finals ON jobs (job_id)
WHERE (instr(body, CAST('"state":"completed"' AS BLOB)) > 0 OR instr(body, CAST('"state":"stored"' AS BLOB)) > 0)
AND instr(body, CAST('"verdict":null' AS BLOB)) > 0
AND (instr(body, CAST('"purpose":"final"' AS BLOB)) > 0
    OR instr(body, CAST('"purpose":"marketing"' AS BLOB)) > 0
    OR instr(body, CAST('"purpose":"cinematic"' AS BLOB)) > 0
    OR instr(body, CAST('"purpose":"client"' AS BLOB)) > 0);
