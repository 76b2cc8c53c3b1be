"""Approvals by another person: who may answer, signatures, pending requests, changes, reviews."""
