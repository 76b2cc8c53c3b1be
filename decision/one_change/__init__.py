"""Remixes that change one thing: read a prompt, find its changes, split it."""
