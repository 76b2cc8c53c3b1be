"""The scenes of ``sora-ledger demo``, the servers they need, and the stage they are shown on."""
