"""Run `sora-ledger` in the process that forks: the program that shells call in tests.

``python forked.py ADDRESS PROGRAM ARGUMENT…`` gives the command its working folder, environment and streams,
and ends with its exit code. It loads so little that a script with many commands takes no time.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

OPTIONS = {
    "largest_file": None,
    "program": "cli.main:run",
    "ends_with_connection": False,
    "is_shared": False,
}
PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def send_order(
    connection: socket.socket,
    commands: Sequence[Sequence[str]],
    folder: str,
    environment: Mapping[str, str],
    streams: Sequence[int],
    **options: bool | int | str | None,
) -> None:
    """Order commands from the process that forks; `streams` become their stdin, stdout and stderr.

    The options are in `OPTIONS`: `largest_file` is a size that no file can have, `program` names the function
    that gets the words of a command and returns an exit code. With `ends_with_connection` the process is
    killed when the other side of the connection is gone. One that `is_shared` may have run others before.
    """
    order = {
        "commands": [list(command) for command in commands],
        "folder": folder,
        "environment": dict(environment),
        **OPTIONS,
        **options,
    }
    line = json.dumps(order).encode() + b"\n"
    sent = socket.send_fds(connection, [line], streams)
    if sent < len(line):  # even nothing cannot be sent to a side that has answered all and closed
        connection.sendall(line[sent:])


def main(address: str, program: str, *arguments: str) -> None:
    """Run one command; end as it ends. A signal is passed on to it, and it does not outlive this process."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        folder = os.getcwd()  # noqa: PTH109  # quick
        send_order(
            connection, [arguments], folder, os.environ, (0, 1, 2), program=program, ends_with_connection=True
        )
        with connection.makefile("r") as answers:
            pid = int(answers.readline())
            for number in PASSED_ON:
                signal.signal(number, lambda number, _: _pass_on(pid, number))
            code = int(answers.readline())
    if code < 0:
        if -code in PASSED_ON:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _pass_on(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:  # it has ended, and the answer says how
        return


if __name__ == "__main__":
    main(*sys.argv[1:])
