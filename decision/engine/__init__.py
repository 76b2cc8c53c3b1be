"""The decision itself: its inputs, the gates, the candidates and their score, the fix, the reasons."""
