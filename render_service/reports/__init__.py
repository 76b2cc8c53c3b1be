"""What the record says: explanations, spending, comparisons of policies, lists of jobs."""
