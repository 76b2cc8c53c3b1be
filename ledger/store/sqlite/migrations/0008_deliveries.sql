-- Webhooks to clients that no endpoint has accepted yet, and how far the log was read for them. No facts, so no
-- events; times are Unix milliseconds of this database's clock. A delivery under way is due again when its lease ends.
CREATE TABLE deliveries (
    delivery_id TEXT PRIMARY KEY,
    endpoint_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at_ms INTEGER,
    http_status INTEGER
) STRICT;
CREATE INDEX deliveries_due ON deliveries (endpoint_id, due_at_ms);
CREATE TABLE cursors (name TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT;
