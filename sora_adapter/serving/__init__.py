"""Shared by all servers of the Videos API: request bodies, field checks, and the error envelope."""
