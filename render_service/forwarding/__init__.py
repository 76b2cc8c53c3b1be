"""Events out: the log as CloudEvents, to HTTP endpoints and NATS JetStream."""
