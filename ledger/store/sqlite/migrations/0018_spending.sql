-- Money by day of the request and by what it is grouped by; it follows from the log and is filled after this migration.
CREATE TABLE spending (
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    purpose TEXT NOT NULL,
    actor TEXT NOT NULL,
    team TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    reserved_usd_micros INTEGER NOT NULL,
    settled_usd_micros INTEGER NOT NULL,
    estimated_usd_micros INTEGER NOT NULL,
    PRIMARY KEY (day, model, purpose, actor, team)
) WITHOUT ROWID;
-- The block of 256 positions in which a job changed last, written when the block is complete: which jobs changed after a
-- position is read from an index that is not written with each record.
ALTER TABLE listing ADD COLUMN block INTEGER NOT NULL DEFAULT -1;
CREATE INDEX listing_block ON listing (state, block);
-- The words of the index of words, to find those that begin with a word without reading what has them.
CREATE VIRTUAL TABLE search_words USING fts5vocab (search, instance);
