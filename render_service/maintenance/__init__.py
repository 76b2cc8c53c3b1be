"""Keeping a ledger: create, check, back up, copy, erase."""
