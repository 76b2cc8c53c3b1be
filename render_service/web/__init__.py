"""What the service answers over HTTP: webhooks, health, metrics. ASGI; nothing here decides anything."""
