"""What leaves the house: tree heads, proofs, tiles and bundles, each checkable without this software."""
