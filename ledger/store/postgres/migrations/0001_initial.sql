-- Every text that is compared or sorted is so by its bytes, whatever the database's own collation.

-- One row per migration; a schema that holds this table is a ledger.
CREATE TABLE sora_ledger_schema (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL
);

-- The log. record and payload are stored exactly as hashed; the other columns are copies for searching.
CREATE TABLE events (
    position BIGINT PRIMARY KEY,
    event_id TEXT COLLATE "C" NOT NULL UNIQUE,
    stream TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    trace_id TEXT COLLATE "C" NOT NULL,
    recorded_at TEXT COLLATE "C" NOT NULL,
    record BYTEA NOT NULL,
    payload BYTEA NOT NULL,
    leaf BYTEA NOT NULL,
    UNIQUE (stream, version)
);
CREATE INDEX events_type ON events (type, position);
CREATE INDEX events_trace ON events (trace_id, position);

-- A row trigger sees the rows the same statement has inserted before, so one INSERT may add many.
CREATE FUNCTION events_only_extend() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.position IS DISTINCT FROM (SELECT COALESCE(MAX(position), 0) + 1 FROM events) THEN
        RAISE EXCEPTION 'events is append-only: an insert may only add the next position'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION events_never_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events is append-only: what is recorded is never changed or deleted'
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER events_only_extend BEFORE INSERT ON events
    FOR EACH ROW EXECUTE FUNCTION events_only_extend();
CREATE TRIGGER events_no_change BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION events_never_change();
CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_never_change();
-- ALWAYS: they fire for session_replication_role = replica too, which switches other triggers off.
ALTER TABLE events ENABLE ALWAYS TRIGGER events_only_extend;
ALTER TABLE events ENABLE ALWAYS TRIGGER events_no_change;
ALTER TABLE events ENABLE ALWAYS TRIGGER events_no_truncate;

-- The tree's right edge; one row, and the lock that every append takes first.
CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    size BIGINT NOT NULL,
    frontier BYTEA NOT NULL
);
INSERT INTO head VALUES (1, 0, '');

-- Roots of perfect subtrees of 256 ** (level / 8) leaves.
CREATE TABLE tiles (
    level INTEGER NOT NULL,
    number BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (level, number)
);

-- What commitments commit to. Rows may be deleted (erasure), never changed. text is the UTF-8 that was
-- hashed: TEXT could not hold U+0000.
CREATE TABLE private_bodies (
    commitment TEXT COLLATE "C" PRIMARY KEY,
    position BIGINT NOT NULL,
    field TEXT COLLATE "C" NOT NULL,
    salt BYTEA NOT NULL,
    text BYTEA NOT NULL
);
CREATE INDEX private_bodies_position ON private_bodies (position);
CREATE FUNCTION private_bodies_never_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'private_bodies: a body can be erased, not changed'
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER private_bodies_no_update BEFORE UPDATE ON private_bodies
    FOR EACH ROW EXECUTE FUNCTION private_bodies_never_change();
CREATE TRIGGER private_bodies_no_truncate BEFORE TRUNCATE ON private_bodies
    FOR EACH STATEMENT EXECUTE FUNCTION private_bodies_never_change();
ALTER TABLE private_bodies ENABLE ALWAYS TRIGGER private_bodies_no_update;
ALTER TABLE private_bodies ENABLE ALWAYS TRIGGER private_bodies_no_truncate;

-- Policies and catalogs, by digest.
CREATE TABLE documents (
    sha256 TEXT COLLATE "C" PRIMARY KEY,
    body BYTEA NOT NULL
);

-- The fold of each job's stream. body is the job; the other columns are copies for searching. video_id is
-- the server's word in UTF-8, and may hold U+0000 too.
CREATE TABLE jobs (
    job_id TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    position BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    profile TEXT COLLATE "C",
    video_id BYTEA,
    body BYTEA NOT NULL
);
CREATE INDEX jobs_state ON jobs (state);
CREATE INDEX jobs_video ON jobs (video_id) WHERE video_id IS NOT NULL;

-- Money held per budget and job.
CREATE TABLE holds (
    budget TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    reserved_usd_micros BIGINT NOT NULL CHECK (reserved_usd_micros >= 0),
    settled_usd_micros BIGINT NOT NULL CHECK (settled_usd_micros >= 0),
    PRIMARY KEY (budget, job_id)
);

-- Leases. No facts, so no events; times are Unix milliseconds of this database's clock.
CREATE TABLE work (
    job_id TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT,
    fence BIGINT NOT NULL DEFAULT 0,
    until_ms BIGINT,
    due_at_ms BIGINT
);
CREATE INDEX work_due ON work (due_at_ms) WHERE due_at_ms IS NOT NULL;
