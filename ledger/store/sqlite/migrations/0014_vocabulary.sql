-- No table changes. A passkey may sign an answer: older software, which does not know that, refuses the ledger as a whole.
SELECT 1;
