"""Probe, fit, store and retrieve input files and videos, in a local folder or a bucket."""
