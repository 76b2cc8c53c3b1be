-- What lists, counts and searches of jobs read; `ledger.store.search` describes it. It follows from the log and is
-- filled from it after this migration. An empty text stands for a property that a job does not have. Properties that
-- a request names freely are UTF-8, and may hold U+0000.
CREATE TABLE listing (
    position BIGINT PRIMARY KEY,
    job_id TEXT COLLATE "C" NOT NULL UNIQUE,
    created_at TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    model BYTEA NOT NULL,
    requested_model BYTEA NOT NULL,
    purpose BYTEA NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    team TEXT COLLATE "C" NOT NULL,
    profile TEXT COLLATE "C" NOT NULL,
    reserved_usd_micros BIGINT NOT NULL,
    settled_usd_micros BIGINT NOT NULL,
    estimated_usd_micros BIGINT NOT NULL
);
CREATE TABLE counts (
    month TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    model BYTEA NOT NULL,
    requested_model BYTEA NOT NULL,
    purpose BYTEA NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    team TEXT COLLATE "C" NOT NULL,
    jobs BIGINT NOT NULL,
    PRIMARY KEY (month, state, model, requested_model, purpose, actor, team)
);
-- The words of each prompt, prepared by the product; a table of its own, so that an erasure can rewrite it.
CREATE TABLE search (
    position BIGINT PRIMARY KEY,
    words TSVECTOR NOT NULL
);
CREATE INDEX search_words ON search USING gin (words);
