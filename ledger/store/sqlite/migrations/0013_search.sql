-- What lists, counts and searches of jobs read; `ledger.store.search` describes it. It follows from the log and is
-- filled from it after this migration. An empty string stands for a property that a job does not have.
CREATE TABLE listing (
    position INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    state TEXT NOT NULL,
    model TEXT NOT NULL,
    requested_model TEXT NOT NULL,
    purpose TEXT NOT NULL,
    actor TEXT NOT NULL,
    team TEXT NOT NULL,
    profile TEXT NOT NULL,
    reserved_usd_micros INTEGER NOT NULL,
    settled_usd_micros INTEGER NOT NULL,
    estimated_usd_micros INTEGER NOT NULL
);
CREATE TABLE counts (
    month TEXT NOT NULL,
    state TEXT NOT NULL,
    model TEXT NOT NULL,
    requested_model TEXT NOT NULL,
    purpose TEXT NOT NULL,
    actor TEXT NOT NULL,
    team TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    PRIMARY KEY (month, state, model, requested_model, purpose, actor, team)
) WITHOUT ROWID;
-- An index without a copy of the text. Its words are prepared before: this tokenizer only splits them at spaces.
CREATE VIRTUAL TABLE search USING fts5 (words, content = '', detail = none, tokenize = 'ascii');
