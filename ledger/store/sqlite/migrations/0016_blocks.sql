-- Which blocks of 256 positions (those of the tiles) have records of a type or a trace, and how many; the records after the
-- last whole block are searched one by one. An append writes two indexes less. It is filled from the log after this migration.
CREATE TABLE blocks (
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    number INTEGER NOT NULL,
    records INTEGER NOT NULL,
    PRIMARY KEY (field, value, number)
) WITHOUT ROWID;
DROP INDEX events_type;
DROP INDEX events_trace;
