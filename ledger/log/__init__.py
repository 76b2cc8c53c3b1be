"""A ledger as a whole: opening and appending, replay, evidence bundles, tiles."""
