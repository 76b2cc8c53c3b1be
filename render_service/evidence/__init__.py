"""Use cases for reviewers: keys, checkpoints, proofs, tiles, bundles, and checking all of them."""
