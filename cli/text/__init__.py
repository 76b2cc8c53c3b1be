"""What people read, in text; the same as JSON is the business of each command."""
