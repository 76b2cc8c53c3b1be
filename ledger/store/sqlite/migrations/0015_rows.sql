-- A row of more than a quarter of a page goes to pages of its own in a table WITHOUT ROWID, and those of most jobs do.
CREATE TABLE job_rows (
    job_id TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    position INTEGER NOT NULL,
    state TEXT NOT NULL,
    profile TEXT,
    video_id TEXT,
    body BLOB NOT NULL,
    actor TEXT,
    team TEXT
);
INSERT INTO job_rows SELECT * FROM jobs ORDER BY job_id;
DROP TABLE jobs;
ALTER TABLE job_rows RENAME TO jobs;
CREATE INDEX jobs_state ON jobs (state);
CREATE INDEX jobs_video ON jobs (video_id) WHERE video_id IS NOT NULL;
CREATE INDEX jobs_actor ON jobs (actor, job_id);
CREATE INDEX jobs_team ON jobs (team, job_id) WHERE team IS NOT NULL;
CREATE INDEX jobs_teamless ON jobs (actor, job_id) WHERE team IS NULL;
-- What a job was made from, and the queues of reviewers, from columns: an index on the bytes of a row was evaluated
-- with every event of its job.
ALTER TABLE listing ADD COLUMN source_job TEXT NOT NULL DEFAULT '';
ALTER TABLE listing ADD COLUMN source_video TEXT NOT NULL DEFAULT '';
ALTER TABLE listing ADD COLUMN verdict TEXT NOT NULL DEFAULT '';
CREATE INDEX listing_source_job ON listing (source_job, job_id) WHERE source_job <> '';
CREATE INDEX listing_source_video ON listing (source_video, job_id) WHERE source_video <> '' AND source_job = '';
CREATE INDEX listing_unreviewed ON listing (job_id) WHERE state IN ('completed', 'stored') AND verdict = '';
CREATE INDEX listing_unreviewed_finals ON listing (job_id) WHERE state IN ('completed', 'stored') AND verdict = ''
AND purpose IN ('final', 'marketing', 'cinematic', 'client');
