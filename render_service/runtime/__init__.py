"""The shared basis of all use cases: settings, logging, errors, files, threads."""
