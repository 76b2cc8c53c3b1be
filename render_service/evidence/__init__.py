"""Use cases for auditors: create and check keys, checkpoints, proofs, tiles and bundles."""
