"""The parts of `demo` that are not commands."""
