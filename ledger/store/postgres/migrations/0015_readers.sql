-- How far the log was taken to each place outside, and until when one process alone may take it there. No facts, so no
-- events; `until_ms` is in Unix milliseconds of this database's clock.
CREATE TABLE readers (
    name TEXT COLLATE "C" PRIMARY KEY,
    position BIGINT NOT NULL,
    token BIGINT NOT NULL,
    until_ms BIGINT NOT NULL
);
