"""Alerts: what people are told, by webhook, Slack-compatible message or e-mail."""
