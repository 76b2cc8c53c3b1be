"""The Merkle tree over the log (RFC 6962): roots, checkpoints, proofs, tiles."""
