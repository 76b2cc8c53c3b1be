"""The stored state: jobs and their life cycle, characters, uploads, and their API documents."""
