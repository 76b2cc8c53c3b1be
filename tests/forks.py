"""Commands as processes that cost milliseconds: one process imports the product once, and forks for each.

Run as a program it listens on a Unix socket. A connection is one order, a JSON line with the descriptors that
become stdout and stderr; the answers are two lines, the pid of the command and later its exit code (negative
for a signal). Every order has a process of its own that waits for its command, so orders do not wait for each
other. The process that forks starts no thread, so a fork is as clean as a new process. A command that takes
longer than `LONGEST_S` is ended, with a dump of where it was on its stderr.

`Forks` is the other side: tests get it as the fixture `forks`.
"""

import faulthandler
import gc
import json
import os
import pkgutil
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

LONGEST_S = 120
PARENT_CHECK_S = 5
MODULES = """
asyncio av PIL.Image rich.console structlog openai ledger.store.sqlite ledger.store.postgres ledger.verify
render_service.api.sync_desk sora_adapter.client
""".split()


class Running:
    """A command that was started; use as a context manager, or `wait` for it."""

    def __init__(self, connection: socket.socket, answers: IO[str]) -> None:
        self.connection = connection
        self._answers = answers
        self.pid = int(answers.readline())

    def wait(self, patience_s: float | None = None) -> int:
        """Return the exit code once the command has ended; SIGTERM after `patience_s` seconds ends it."""
        with self.connection, self._answers:
            if patience_s is not None and not select.select([self.connection], [], [], patience_s)[0]:
                os.kill(self.pid, signal.SIGTERM)
            return int(self._answers.readline())


class Forks:
    """The client of the process that forks."""

    def __init__(self, address: str) -> None:
        self._address = address

    def start(
        self,
        commands: Sequence[Sequence[str]],
        folder: Path,
        environment: Mapping[str, str],
        out: IO[Any],
        err: IO[Any],
        largest_file: int | None = None,
    ) -> Running:
        """Start commands in one process, one after the other until one fails."""
        order = {
            "commands": [list(command) for command in commands],
            "folder": str(folder),
            "environment": dict(environment),
            "largest_file": largest_file,
        }
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._address)
        line = json.dumps(order).encode() + b"\n"
        sent = socket.send_fds(connection, [line], [out.fileno(), err.fileno()])
        connection.sendall(line[sent:])
        return Running(connection, connection.makefile("r"))

    def run(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> tuple[int, str, str]:
        """Run one command to its end; return its exit code, stdout and stderr."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            running = self.start([command], folder, environment, out, err)
            try:
                code = running.wait()
            except BaseException:
                with suppress(ProcessLookupError):
                    os.kill(running.pid, signal.SIGKILL)
                raise
            out.seek(0)
            err.seek(0)
            return code, out.read().decode(), err.read().decode()


@contextmanager
def forking() -> Iterator[Forks]:
    """Start the process that forks, and end it afterwards."""
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with tempfile.TemporaryDirectory(prefix="forks") as folder:
        address = f"{folder}/socket"
        command = [sys.executable, str(Path(__file__)), address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=root) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield Forks(address)
            process.kill()


def preload() -> None:
    """Import what commands import when they need it."""
    warnings.simplefilter("ignore")
    import cli.commands  # noqa: PLC0415  # the product is imported here and nowhere else

    commands = [f"cli.commands.{module.name}" for module in pkgutil.iter_modules(cli.commands.__path__)]
    for name in (*MODULES, *commands):
        import_module(name)
    gc.collect()
    gc.freeze()  # what is shared stays shared


def run_order(order: dict[str, Any], out: int, err: int) -> int:
    """Run the commands of an order in this process, as a new process would."""
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    if order["largest_file"] is not None:  # a disk that is full, as every write past this size finds it
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"], order["largest_file"]))
    faulthandler.dump_traceback_later(LONGEST_S, exit=True)
    from cli.main import run  # noqa: PLC0415  # was imported before the fork

    code = 0
    for command in order["commands"]:
        code = int(run(command))
        if code:
            break
    return code


def command_process(connection: socket.socket, order: dict[str, Any], descriptors: Sequence[int]) -> int:
    """Run an order in this process; return its exit code."""
    connection.close()
    try:
        code = run_order(order, *descriptors)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001  # this process must not return into the loop of its parent
        traceback.print_exc()
        sys.stderr.flush()
        return 70
    return code


def wait_for_order(connection: socket.socket) -> None:
    """Read an order, start its command, and answer with its pid and its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    line, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
    while not line.endswith(b"\n"):
        line += connection.recv(1 << 20)
    pid = os.fork()
    if pid == 0:
        os._exit(command_process(connection, json.loads(line), descriptors))
    with suppress(BrokenPipeError):  # the test has given up
        connection.sendall(b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def serve(address: str) -> None:
    """Serve orders until the process that started this one is gone."""
    preload()
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(16)
    listening.settimeout(PARENT_CHECK_S)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by themselves
    os.write(1, b"ready\n")
    while os.getppid() == parent:
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            listening.close()
            connection.settimeout(None)
            try:
                wait_for_order(connection)
            finally:
                os._exit(0)
        connection.close()


if __name__ == "__main__":
    serve(sys.argv[1])
