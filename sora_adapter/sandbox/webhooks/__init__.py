"""Webhooks: endpoints, and the events of jobs that are over, sent to them until they answer.

Where things are: `endpoints` who wants which events, `deliveries` the durable outbox, `outbox` which events
are due, `signing` the standard-webhooks signature, `courier` the background task that sends, `requests`,
`resources` and `routes` the API of endpoints.
"""
