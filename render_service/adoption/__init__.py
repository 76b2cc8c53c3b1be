"""Adopt videos created outside this ledger; create characters; record the facts of other systems."""
