"""The only access to a Videos API server; it cannot see the store, so it cannot forget to record."""
