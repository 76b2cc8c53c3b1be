"""Use cases: where ledger, decision and adapter meet. Knows no click."""
