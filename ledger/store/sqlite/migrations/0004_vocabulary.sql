-- No table changes. From here on a ledger may hold events, and versions of events, that software of the schema
-- before does not know; with this number it refuses the ledger as a whole instead of meeting one of them.
SELECT 1;
