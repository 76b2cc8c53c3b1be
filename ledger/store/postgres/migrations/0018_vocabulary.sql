-- No table changes. A published copy may have a label that people see: older software, which does not know that, refuses the ledger
-- as a whole.
SELECT 1;
