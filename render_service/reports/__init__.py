"""Report on the record: explanations, spending, comparisons of policies, lists of jobs."""
