"""Advice about a request that is allowed: what is missing, what could be better, the guardrails."""
