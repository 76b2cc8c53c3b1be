-- Webhooks to clients that no endpoint has accepted yet, and how far the log was read for them. No facts, so no
-- events; times are Unix milliseconds of this database's clock. A delivery under way is due again when its lease ends.
CREATE TABLE deliveries (
    delivery_id TEXT COLLATE "C" PRIMARY KEY,
    endpoint_id TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    since_ms BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    due_at_ms BIGINT,
    http_status BIGINT
);
CREATE INDEX deliveries_due ON deliveries (endpoint_id, due_at_ms);
CREATE TABLE cursors (name TEXT COLLATE "C" PRIMARY KEY, position BIGINT NOT NULL);
