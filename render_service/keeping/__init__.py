"""Keeping a ledger: beginning one for a role, copying it to another store, backing it up, restoring it."""
