-- Whose a job is, copied from its body: a client's list is read from an index, however many jobs others have. A body
-- that was damaged is left to `verify` to find and to `replay` to make again.
ALTER TABLE jobs ADD COLUMN actor TEXT;
ALTER TABLE jobs ADD COLUMN team TEXT;
UPDATE jobs SET actor = json_extract(CAST(body AS TEXT), '$.actor'), team = json_extract(CAST(body AS TEXT), '$.team')
WHERE json_valid(CAST(body AS TEXT));
CREATE INDEX jobs_actor ON jobs (actor, job_id);
CREATE INDEX jobs_team ON jobs (team, job_id) WHERE team IS NOT NULL;
CREATE INDEX jobs_teamless ON jobs (actor, job_id) WHERE team IS NULL;
