"""What `demo` needs besides the commands it shows."""
