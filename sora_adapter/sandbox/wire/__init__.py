"""The wire format: routes, bodies, the fields of requests, answers and errors."""
