"""The command line: parse, call one service function, print."""

import sys
from importlib import import_module

from cli.garbage import collect_rarely


def start() -> None:
    """Run the program. Ctrl-C ends it in one line, also while its modules are still being imported."""
    collect_rarely()
    try:
        main = import_module("cli.main").main
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing was done\n")
        sys.exit(130)
    main()
