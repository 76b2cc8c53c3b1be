"""Remixes that change one thing: reading a prompt, finding its changes, splitting it."""
