"""Forward the log as CloudEvents to HTTP endpoints, NATS JetStream and Kafka."""
