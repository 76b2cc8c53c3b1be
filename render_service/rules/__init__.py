"""The policy and budgets in force, what overrides them, and what a decision is made from."""
