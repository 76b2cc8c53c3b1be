-- Finished videos that nobody has reviewed, and those of them for a final purpose: the queues of reviewers are read from
-- an index, however many videos were reviewed. `reading` spells the conditions as here.
-- Reviews may hold notes about moments of a clip: older software, which does not know these, refuses the ledger as a whole.
CREATE INDEX jobs_unreviewed ON jobs (job_id)
WHERE state IN ('completed', 'stored') AND position('"verdict":null'::bytea in body) > 0;
CREATE INDEX jobs_unreviewed_finals ON jobs (job_id)
WHERE state IN ('completed', 'stored') AND position('"verdict":null'::bytea in body) > 0
AND (position('"purpose":"final"'::bytea in body) > 0
    OR position('"purpose":"marketing"'::bytea in body) > 0
    OR position('"purpose":"cinematic"'::bytea in body) > 0
    OR position('"purpose":"client"'::bytea in body) > 0);
