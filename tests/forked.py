"""Run `sora-ledger` in the process that forks: the program that shells call in tests.

``python forked.py ADDRESS ARGUMENT…`` gives the command its working folder, environment and streams, and ends
with its exit code. It loads so little that a script with many commands takes no time.
"""

import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence


def send_order(
    connection: socket.socket,
    commands: Sequence[Sequence[str]],
    folder: str,
    environment: Mapping[str, str],
    streams: Sequence[int],
    largest_file: int | None = None,
    program: str = "cli.main:run",
) -> None:
    """Order commands from the process that forks; `streams` become their stdin, stdout and stderr.

    `program` names the function that gets the words of a command and returns an exit code.
    """
    order = {
        "commands": [list(command) for command in commands],
        "folder": folder,
        "environment": dict(environment),
        "largest_file": largest_file,
        "program": program,
    }
    line = json.dumps(order).encode() + b"\n"
    sent = socket.send_fds(connection, [line], streams)
    connection.sendall(line[sent:])


def main(address: str, *arguments: str) -> None:
    """Run one command; end as it ends."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        send_order(connection, [arguments], os.getcwd(), os.environ, (0, 1, 2))  # noqa: PTH109  # quick
        with connection.makefile("r") as answers:
            answers.readline()
            code = int(answers.readline())
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
