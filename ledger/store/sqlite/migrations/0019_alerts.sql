-- What alerts to people say. A row stays after the delivery, so that an occasion is announced once. No facts, so no events.
CREATE TABLE alerts (delivery_id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
