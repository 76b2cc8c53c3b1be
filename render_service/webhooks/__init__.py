"""Webhooks as the service sees them: secrets, receiving, tying to jobs, endpoints at a server.

A delivery is recorded in the profile's inbox once, however often it comes, and makes its job due. It never
changes where a job stands: the server's own answer does. `render_service.server` speaks HTTP.
"""
