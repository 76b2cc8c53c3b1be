"""The policy and budgets in force, overrides, and measurements for decisions."""
