"""What every use case needs from its process: settings, logging, errors, files, threads."""
