"""What became of submissions whose answer was lost, and whether everything recorded adds up."""
