"""Batches: a file of requests, checked whole, decided together, sent a few at a time."""
