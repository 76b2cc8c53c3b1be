"""Advice about an allowed request: what is missing, what could be better, the guardrails."""
