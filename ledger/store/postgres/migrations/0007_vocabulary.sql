-- No table changes. Access keys are recorded, and requests name their team and project: older software, which does
-- not know these, refuses the ledger as a whole.
SELECT 1;
