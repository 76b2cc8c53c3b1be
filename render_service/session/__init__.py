"""One open ledger with its settings: reading, deciding, appending, and a job's server."""
