"""What goes over the wire: routes, bodies, the fields of requests, answers and errors."""
