"""Webhooks to clients: endpoints, announcements, and their delivery, at least once."""
