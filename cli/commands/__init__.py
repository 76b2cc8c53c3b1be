"""One file per topic; `cli.main` says which command is in which."""
