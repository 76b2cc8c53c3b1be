"""Options that several commands share, as decorators."""
