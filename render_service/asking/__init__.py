"""Asking for renders: decide, record, submit once; ask again, resume, withdraw."""
