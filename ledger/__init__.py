"""The append-only record: events, the jobs folded from them, proofs. Imports no other package."""
