"""The wire format: routes, requests, refusals and connections."""
