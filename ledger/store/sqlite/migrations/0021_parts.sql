-- The numbers of `counts` for each part of 4,096 positions in which jobs began: a list reads the parts that have what it looks for,
-- and the jobs as of a position are counted without reading their rows. A job is counted anew when a block of 256 positions that has a
-- record of it is complete, as it is then: under the state and model that its row names as counted. It is filled after this migration.
CREATE TABLE parts (
    number INTEGER NOT NULL,
    month TEXT NOT NULL,
    state TEXT NOT NULL,
    model TEXT NOT NULL,
    requested_model TEXT NOT NULL,
    purpose TEXT NOT NULL,
    actor TEXT NOT NULL,
    team TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    PRIMARY KEY (number, month, state, model, requested_model, purpose, actor, team)
) WITHOUT ROWID;
ALTER TABLE listing ADD COLUMN counted_state TEXT NOT NULL DEFAULT '';
ALTER TABLE listing ADD COLUMN counted_model TEXT NOT NULL DEFAULT '';
-- How far apart the blocks are in which a job began and changed last: half of the smallest aligned range of blocks, a power of two,
-- that holds both, as the exponent plus 1; 0 for the same block. Few jobs have more than that, and only those can have begun before
-- the end of a block and changed after it. The index of all jobs by state and block is no longer written.
ALTER TABLE listing ADD COLUMN span INTEGER NOT NULL DEFAULT 0;
DROP INDEX listing_block;
CREATE INDEX listing_span ON listing (span) WHERE span > 0;
CREATE INDEX listing_span_block ON listing (span, block) WHERE span > 0;
