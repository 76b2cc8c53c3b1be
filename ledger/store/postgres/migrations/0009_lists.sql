-- Whose a job is, copied from its body: a client's list is read from an index, however many jobs others have.
ALTER TABLE jobs ADD COLUMN actor TEXT COLLATE "C";
ALTER TABLE jobs ADD COLUMN team TEXT COLLATE "C";
UPDATE jobs SET actor = convert_from(body, 'UTF8')::json ->> 'actor', team = convert_from(body, 'UTF8')::json ->> 'team';
CREATE INDEX jobs_actor ON jobs (actor, job_id);
CREATE INDEX jobs_team ON jobs (team, job_id) WHERE team IS NOT NULL;
CREATE INDEX jobs_teamless ON jobs (actor, job_id) WHERE team IS NULL;
