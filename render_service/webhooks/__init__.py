"""Webhooks in the service: secrets, receiving, matching to jobs, endpoints at a server.

A delivery is recorded once in the profile's inbox, however often it arrives, and makes its job due. It never
changes the state of a job; only the server's own answer does. `render_service.server` speaks HTTP.
"""
