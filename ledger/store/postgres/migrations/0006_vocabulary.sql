-- No table changes. An intent commits to the key of its call: older software, which does not know that, refuses the
-- ledger as a whole.
SELECT 1;
