"""The worker: claim due jobs, take one step each, within the limits of the server."""
