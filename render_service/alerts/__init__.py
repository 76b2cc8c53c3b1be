"""Alerts to people, by webhook, Slack-compatible message or e-mail."""
