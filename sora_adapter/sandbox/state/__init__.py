"""What the sandbox remembers: jobs and their life, characters, uploads, and their documents."""
