"""The scenes of ``sora-ledger demo``, their servers, and their stage."""
