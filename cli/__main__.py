"""``python -m cli``: the command line where the script is not on the path."""

from cli import start

start()
