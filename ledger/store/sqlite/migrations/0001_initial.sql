-- The log. record and payload are stored exactly as hashed; the other columns are copies for searching.
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    type TEXT NOT NULL,
    actor TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    recorded_at TEXT NOT NULL,
    record BLOB NOT NULL,
    payload BLOB NOT NULL,
    leaf BLOB NOT NULL,
    UNIQUE (stream, version)
);
CREATE INDEX events_type ON events (type);
CREATE INDEX events_trace ON events (trace_id);

-- INSERT OR REPLACE and UPSERT pass the triggers on UPDATE and DELETE, so an insert may only extend the log.
CREATE TRIGGER events_only_extend BEFORE INSERT ON events
WHEN NEW.position IS NOT (SELECT COALESCE(MAX(position), 0) + 1 FROM events)
    OR EXISTS (SELECT 1 FROM events WHERE event_id = NEW.event_id)
    OR EXISTS (SELECT 1 FROM events WHERE stream = NEW.stream AND version = NEW.version)
BEGIN
    SELECT RAISE(ABORT, 'events is append-only: an insert may only add the next position');
END;
CREATE TRIGGER events_no_update BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events is append-only: what is recorded never changes');
END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events is append-only: what is recorded is never deleted');
END;

-- The tree's right edge; one row.
CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL,
    frontier BLOB NOT NULL
);
INSERT INTO head VALUES (1, 0, x'');

-- Roots of perfect subtrees of 256 ** (level / 8) leaves.
CREATE TABLE tiles (
    level INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (level, number)
) WITHOUT ROWID;

-- What commitments commit to. Rows may be deleted (erasure), never changed.
CREATE TABLE private_bodies (
    commitment TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    field TEXT NOT NULL,
    salt BLOB NOT NULL,
    text TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX private_bodies_position ON private_bodies (position);
CREATE TRIGGER private_bodies_no_update BEFORE UPDATE ON private_bodies
BEGIN
    SELECT RAISE(ABORT, 'private_bodies: a body can be erased, not changed');
END;

-- Policies and catalogs, by digest.
CREATE TABLE documents (
    sha256 TEXT PRIMARY KEY,
    body BLOB NOT NULL
) WITHOUT ROWID;

-- The fold of each job's stream. body is the job; the other columns are copies for searching.
CREATE TABLE jobs (
    job_id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    position INTEGER NOT NULL,
    state TEXT NOT NULL,
    profile TEXT,
    video_id TEXT,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX jobs_state ON jobs (state);
CREATE INDEX jobs_video ON jobs (video_id) WHERE video_id IS NOT NULL;

-- Money held per budget and job.
CREATE TABLE holds (
    budget TEXT NOT NULL,
    job_id TEXT NOT NULL,
    reserved_usd_micros INTEGER NOT NULL CHECK (reserved_usd_micros >= 0),
    settled_usd_micros INTEGER NOT NULL CHECK (settled_usd_micros >= 0),
    PRIMARY KEY (budget, job_id)
) WITHOUT ROWID;

-- Leases. No facts, so no events; times are Unix milliseconds of this database's clock.
CREATE TABLE work (
    job_id TEXT PRIMARY KEY,
    holder TEXT,
    fence INTEGER NOT NULL DEFAULT 0,
    until_ms INTEGER,
    due_at_ms INTEGER
) WITHOUT ROWID;
CREATE INDEX work_due ON work (due_at_ms) WHERE due_at_ms IS NOT NULL;
