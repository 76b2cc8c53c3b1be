-- How far the log was taken to each place outside, and until when one process alone may take it there. No facts, so no
-- events; `until_ms` is in Unix milliseconds of this database's clock.
CREATE TABLE readers (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    token INTEGER NOT NULL,
    until_ms INTEGER NOT NULL
) STRICT;
