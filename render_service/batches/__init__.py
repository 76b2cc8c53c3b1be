"""Batches: a file of requests, validated and decided as a whole, and submitted a few at a time."""
