"""By whose rules and authority renders are decided: policies, approvals, budgets, explanations, reviews."""
