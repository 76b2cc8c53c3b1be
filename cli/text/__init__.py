"""All text for people; each command builds its own JSON."""
