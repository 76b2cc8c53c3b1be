-- Money by day of the request and by what it is grouped by; it follows from the log and is filled after this migration.
CREATE TABLE spending (
    day TEXT COLLATE "C" NOT NULL,
    model BYTEA NOT NULL,
    purpose BYTEA NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    team TEXT COLLATE "C" NOT NULL,
    jobs BIGINT NOT NULL,
    reserved_usd_micros BIGINT NOT NULL,
    settled_usd_micros BIGINT NOT NULL,
    estimated_usd_micros BIGINT NOT NULL,
    PRIMARY KEY (day, model, purpose, actor, team)
);
