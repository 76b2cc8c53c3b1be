-- No table changes. Renders can be abandoned, and an adopted video names its server: older software, which does not
-- know these, refuses the ledger as a whole.
SELECT 1;
