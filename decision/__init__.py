"""Decides whether a render is allowed, on which model, at what cost, and why. Pure: no clock, no I/O."""
