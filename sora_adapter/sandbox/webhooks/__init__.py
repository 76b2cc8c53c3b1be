"""Webhooks: endpoints, and the events of finished jobs, sent to them until they are accepted.

`endpoints` stores the endpoints and signs deliveries (standard-webhooks), `deliveries` is the durable outbox,
`outbox` determines which events are due, `sender` is the background task that sends, and
`routes` is the API of endpoints.
"""
