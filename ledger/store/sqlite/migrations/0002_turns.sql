-- What all workers together may ask of a server's model: when the next request may be made (Unix milliseconds
-- of this database's clock), and which jobs run there. No facts, so no events.
CREATE TABLE turns (
    name TEXT PRIMARY KEY,
    next_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE slots (
    job_id TEXT PRIMARY KEY,
    name TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX slots_name ON slots (name);
