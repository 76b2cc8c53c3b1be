-- What all workers together may ask of a server's model: when the next request may be made (Unix milliseconds
-- of this database's clock), and which jobs run there. No facts, so no events.
CREATE TABLE turns (
    name TEXT COLLATE "C" PRIMARY KEY,
    next_ms BIGINT NOT NULL
);
CREATE TABLE slots (
    job_id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL
);
CREATE INDEX slots_name ON slots (name);
