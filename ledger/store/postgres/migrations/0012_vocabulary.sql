-- No table changes. A character names the team that it was created for: older software, which does not know that, refuses
-- the ledger as a whole.
SELECT 1;
