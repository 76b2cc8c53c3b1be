"""What others made: videos, characters, facts."""
