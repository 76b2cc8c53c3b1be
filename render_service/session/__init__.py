"""One open ledger with its settings: reading, deciding, appending, and the server of a job."""
