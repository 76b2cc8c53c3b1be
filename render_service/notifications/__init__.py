"""Webhooks to clients: endpoints, what is announced to them, and its delivery, at least once."""
