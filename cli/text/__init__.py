"""Everything people read; each command makes its own JSON."""
