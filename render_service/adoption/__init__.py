"""Adopt videos created outside this ledger; create characters; record facts of other systems."""
