"""The gateway: the Videos API under /v1, through decision and ledger."""
