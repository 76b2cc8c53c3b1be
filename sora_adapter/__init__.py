"""The only door to a Videos API server; cannot see the store, so it cannot forget to record."""
