"""Recover submissions whose answer was lost, and audit whether all records add up."""
