"""Commands as processes that cost milliseconds: one process imports the product, and forks for each.

Run as a program it runs some commands itself first, so that what is built at the first use is built once, and
then listens on a Unix socket. A connection is one order, a JSON line with the descriptors that become stdin,
stdout and stderr; the answers are two lines, the pid of the command and later its exit code (negative for a
signal). Orders do not wait for each other. The process that forks has no threads, so a fork is as clean as a
new process. Commands that are run to their end (`Forks.run`) share processes, one after the other: to fork
takes five times as long as most of them. What leaves anything behind, such as a thread or an open file, is
the last command of its process. What is started, to be signalled or looked at, has a process of its own.
A command that takes longer than `LONGEST_S` is ended, with a dump of where it was on its stderr. The billing
servers of `tests/outside` are forked too.

`Forks` is the other side: tests get it as the fixture `forks`. `forked.py` is the other side for shells.
"""

import faulthandler
import fcntl
import gc
import json
import os
import pkgutil
import resource
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from contextvars import copy_context
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Self

from tests.clips import sharing
from tests.forked import send_order

LONGEST_S = 120
LONGER = "FORKED_LONGEST_S"
"""The variable that gives a command more seconds, such as a server that many tests share."""

CRASHED = 70
"""The exit code of a process whose command raised what is not its to raise."""
SHARED_BY = 500
"""How many commands one process runs at most."""
SETTLES_S = 0.1
"""How long a thread that was joined, and a file that is closed, may take to be gone."""
ABOUT_THE_WORLD = (
    ("ledger.store.postgres.outage", "_outage_of"),
    ("render_service.assets.bucket", "open_bucket"),
    ("render_service.runtime.ledger_process", "ledger_process"),
    ("sora_adapter.profiles", "profiles"),
)
"""The caches of the product that hold what is outside its process, which another command may find changed."""
USE_CHECK_S = 5
IN_USE = "in-use"
"""The file whose lock every worker holds that uses the process."""
PRODUCT = "cli.main:run"
CODE = "tests.forks:run_code"
"""The program that runs the text of another, with what it imports imported already."""
FILE = "tests.forks:run_file"
"""The same for a script."""
INTERPRETER = "python"
"""The program that commands of the process that forks take for their interpreter, in its folder."""
REAL_INTERPRETER = sys.executable
NEW_INTERPRETERS = "NEW_INTERPRETERS"
"""The variable of a command whose own processes are new interpreters all the same."""
MODULES = """
asyncio av PIL.Image rich.console structlog openai ledger.store.sqlite ledger.store.postgres ledger.verify
render_service.api.desk render_service.evidence.publishing sora_adapter.client tests.faults.forking
tests.outside.server tests.outside.witness
""".split()
SETTINGS = ("SORA_", "OPENAI_", "OTEL_", "TRACEPARENT")
"""How the names of the variables begin that change what commands do."""
HUGE_PAGES = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Have few pages to copy for each fork, which halves its time."""
SERVER = Path(__file__).parent / "outside" / "server.py"
STOPS = (signal.SIGINT, signal.SIGTERM)
"""The signals that end a server."""
WARMING_UP = """
budget set all --limit 9 --reason agreed
create --prompt a-fox-runs --request-key k
create-and-poll --prompt a-fox-runs --poll-interval 0.05
create --prompt an-owl-sleeps --queue
worker --drain --interval 0.1 --grace 0
reconcile --all --grace 0
adopt --all
jobs --format text
log
budget list
verify
replay
audit
"""
"""Commands that use what most commands use."""


class Running:
    """A command that was started, with the methods of `subprocess.Popen`; streams are there if piped."""

    def __init__(
        self,
        connection: socket.socket,
        stdout: IO[str] | None = None,
        stderr: IO[str] | None = None,
    ) -> None:
        self.connection = connection
        self.stdout, self.stderr = stdout, stderr
        self.returncode: int | None = None
        self._answers = connection.makefile("r")
        self._outputs: list[Future[str]] = []
        self.pid = int(self._answers.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in filter(None, (self.stdout, self.stderr)):
            stream.close()
        self.wait()

    def poll(self) -> int | None:
        """Return the exit code if the command has ended."""
        if self.returncode is None and select.select([self.connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once the command has ended; `subprocess.TimeoutExpired` if it runs longer."""
        if self.returncode is None:
            if timeout is not None and not select.select([self.connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            with self.connection, self._answers:
                self.returncode = int(self._answers.readline())
        return self.returncode

    def end_after(self, seconds: float) -> int:
        """Return the exit code; SIGTERM ends the command if it runs longer than this."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(seconds)
        self.send_signal(signal.SIGTERM)
        return self.wait()

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the command has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return what is left of stdout and stderr once the command has ended."""
        if not self._outputs:
            with_threads = ThreadPoolExecutor(2)
            self._outputs = [with_threads.submit(_rest, stream) for stream in (self.stdout, self.stderr)]
            with_threads.shutdown(wait=False)
        self.wait(timeout)
        out, err = (output.result(timeout) for output in self._outputs)
        return out, err


def _rest(stream: IO[str] | None) -> str:
    """Return what is left in a stream, and close it."""
    if stream is None or stream.closed:
        return ""
    with stream:
        return stream.read()


class Forks:
    """The client of the process that forks."""

    def __init__(self, address: str) -> None:
        self.address = address

    def start(
        self,
        commands: Sequence[Sequence[str]],
        folder: Path,
        environment: Mapping[str, str],
        out: IO[Any] | int,
        err: IO[Any] | int,
        *,
        stdin: IO[Any] | int | None = None,
        **options: Any,
    ) -> Running:
        """Start commands in one process, one after the other until one fails; `options` go with the order."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.address)
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123  # as fast as can be
            given = (nothing if stdin is None else stdin, out, err)
            streams = [each if isinstance(each, int) else each.fileno() for each in given]
            send_order(connection, commands, str(folder), environment, streams, **options)
        return Running(connection)

    def popen(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], **options: Any
    ) -> Running:
        """Start one command whose output is piped; `options` are those of `start`."""
        (out, to_out), (err, to_err) = os.pipe(), os.pipe()
        try:
            running = self.start([command], folder, environment, to_out, to_err, **options)
        finally:
            os.close(to_out)
            os.close(to_err)
        running.stdout, running.stderr = os.fdopen(out), os.fdopen(err)
        return running

    def run(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], **options: Any
    ) -> tuple[int, str, str]:
        """Run one command to its end, with options of `start`; return its exit code, stdout and stderr.

        Without options, nobody can signal it, and it shares its process with others. OpenTelemetry is set up
        once per process.
        """
        options = options or {"is_shared": not any(name.startswith("OTEL_") for name in environment)}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            running = self.start([command], folder, environment, out, err, **options)
            try:
                code = running.wait()
            except BaseException:
                with suppress(ProcessLookupError):
                    os.kill(running.pid, signal.SIGKILL)
                raise
            out.seek(0)
            err.seek(0)
            return code, out.read().decode(), err.read().decode()

    def install(self, program: Path, *options: str) -> None:
        """Write a program that runs `sora-ledger` with `options` after its arguments, for a shell to call."""
        program.parent.mkdir(exist_ok=True)
        _write_program(program, f'exec {_ordering(self.address)} {PRODUCT} "$@" {shlex.join(options)}')


def _ordering(address: str) -> str:
    """Return the words of a shell that order what follows them from the process that forks."""
    return shlex.join([sys.executable, "-ISE", str(Path(__file__).with_name("forked.py")), address])


def _write_program(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def _write_interpreter(program: Path, address: str) -> None:
    """Write a `python` for the commands of a process that forks.

    It orders commands of the product and scripts from that process; a new interpreter runs anything else.
    """
    ordered = f"exec {_ordering(address)}"
    _write_program(
        program,
        f"""case "$1 $2 $3" in
"-m cli "*) shift 2; {ordered} {PRODUCT} "$@" ;;
"-P -m cli") shift 3; {ordered} {PRODUCT} "$@" ;;
esac
case "$1" in
*.py) {ordered} {FILE} "$@" ;;
esac
exec {shlex.quote(sys.executable)} "$@\"""",
    )


@contextmanager
def forking(run: str) -> Iterator[Forks]:
    """Share one process that forks among the workers of a test run; the first starts it, the last ends it.

    It also ends itself once no worker is left, whatever became of them.
    """
    folder = Path(tempfile.gettempdir(), f"forks-{run[:16]}")
    with _alone():
        folder.mkdir(exist_ok=True)
        in_use = (folder / IN_USE).open("w")
        fcntl.flock(in_use, fcntl.LOCK_SH)
        if not (folder / "pid").exists():
            (folder / "pid").write_text(str(_start(folder / "socket")))
    with in_use:
        yield Forks(str(folder / "socket"))
        with _alone(), suppress(BlockingIOError):  # another worker uses it
            fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(ProcessLookupError):
                os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
            shutil.rmtree(folder)


@contextmanager
def _alone() -> Iterator[None]:
    """Be the only worker that starts or ends a process that forks."""
    with Path(tempfile.gettempdir(), f"sora-ledger-forks-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start(address: Path) -> int:
    """Start the process that forks; return its pid once it serves."""
    root = Path(__file__).parents[1]
    environment = {**os.environ, **HUGE_PAGES, "PYTHONPATH": str(root)}
    command = [sys.executable, str(Path(__file__)), str(address)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=root)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
    process.returncode = 0  # nobody waits for it
    return process.pid


def preload() -> None:
    """Import what commands import when they need it."""
    warnings.simplefilter("ignore")
    import cli.commands  # noqa: PLC0415  # the product is imported here and nowhere else

    commands = [f"cli.commands.{module.name}" for module in pkgutil.iter_modules(cli.commands.__path__)]
    for name in (*MODULES, *commands):
        import_module(name)
    with suppress(ModuleNotFoundError):  # an extra
        import_module("render_service.server.mcp.server")


def share_clips(folder: Path) -> None:
    """Have commands make plain clips, each once."""
    from sora_adapter.sandbox import renderer  # noqa: PLC0415  # imported already

    renderer.render = sharing(folder)


def warm_up() -> None:
    """Run commands in this process, so that no command has to build what is built at its first use."""
    from cli.main import run  # noqa: PLC0415  # imported already

    templates = import_module("render_service.server.console.rendering").compiled()
    for name in templates.list_templates():
        templates.get_template(name)
    before, folder = dict(os.environ), Path.cwd()
    command = [sys.executable, str(SERVER), "--folder"]
    with (
        tempfile.TemporaryDirectory(prefix="warm") as home,
        subprocess.Popen([*command, home], stdout=subprocess.PIPE, text=True) as server,
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        assert server.stdout is not None
        for name in filter(lambda name: name.startswith(SETTINGS), before):
            del os.environ[name]
        os.environ.update(
            SORA_LEDGER_URL="sqlite:///ledger.db",
            SORA_LEDGER_PROFILE="custom",
            OPENAI_API_KEY="sk-0123456789",
            OPENAI_BASE_URL=f"http://127.0.0.1:{server.stdout.readline().strip()}/v1",
            XDG_DATA_HOME=home,
        )
        os.chdir(home)
        codes = {line: int(run(line.split())) for line in WARMING_UP.strip().splitlines()}
        codes["serve"] = serve_once()
        server.kill()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(before)
    assert not any(codes.values()), codes
    started_by = import_module("render_service.runtime.ledger_process").ledger_process
    started_by.cache_clear()  # this process was started by nobody; the next may be
    assert threading.active_count() == 1, "a process with threads is not forked cleanly"
    gc.collect()
    gc.freeze()  # what is shared stays shared


def serve_once() -> int:
    """Run ``serve`` in this process until it has answered some requests; return its exit code."""
    from cli.main import run  # noqa: PLC0415  # imported already

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])

    def ask_and_stop() -> None:
        try:
            for path in ("healthz", "v1/videos", "console", "console/log"):
                ask(path)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def ask(path: str) -> None:
        end = time.monotonic() + LONGEST_S
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}").read()
            except urllib.error.HTTPError:  # an answer
                return
            except OSError:
                time.sleep(0.01)
            else:
                return

    thresholds, handlers = gc.get_threshold(), {number: signal.getsignal(number) for number in STOPS}
    asking = threading.Thread(target=ask_and_stop)
    asking.start()
    code = int(run(["serve", "--port", str(port)]))
    asking.join()
    gc.set_threshold(*thresholds)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return code


def run_code(words: Sequence[str]) -> int:
    """Run a program's text as ``python -c`` does; its arguments follow it."""
    sys.argv = ["-c", *words[1:]]
    try:
        exec(compile(words[0], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def run_file(words: Sequence[str]) -> int:
    """Run a script as ``python FILE`` does."""
    sys.argv = [*words]
    sys.path.insert(0, str(Path(words[0]).parent.absolute()))
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ended:
        return int(ended.code or 0)
    except Exception:  # noqa: BLE001  # as an interpreter does
        traceback.print_exc()
        return 1
    return 0


def run_order(order: dict[str, Any], descriptors: Sequence[int]) -> int:
    """Run the commands of an order in this process, as a new process would."""
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if order["largest_file"] is not None:  # a disk that is full, as every write past this size finds it
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"], order["largest_file"]))
    is_new = os.environ.pop(NEW_INTERPRETERS, None)
    sys.executable = REAL_INTERPRETER if is_new else order["interpreter"]
    module, _, function = order["program"].partition(":")
    run = globals()[function] if module == "tests.forks" else getattr(sys.modules[module], function)
    if module == "cli.main":
        faulthandler.dump_traceback_later(float(os.environ.pop(LONGER, LONGEST_S)), exit=True)
    code = 0
    for command in order["commands"]:
        code = int(run(command))
        if code:
            break
    return code


def command_process(order: dict[str, Any], descriptors: Sequence[int]) -> int:
    """Run an order in this process; return its exit code."""
    try:
        code = run_order(order, descriptors)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001  # this process must not return into the loop of its parent
        traceback.print_exc()
        sys.stderr.flush()
        return CRASHED
    return code


def receive_order(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Return the line of an order, which is there or about to be, and its descriptors; nothing at the end."""
    line, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    while line and not line.endswith(b"\n"):
        part = connection.recv(1 << 20)
        if not part:
            raise ConnectionError
        line += part
    return line, descriptors


def shared_process(channel: socket.socket, order: dict[str, Any], descriptors: Sequence[int]) -> int:
    """Run one order after the other in this process, until one leaves behind what the next could see.

    The exit code of an order goes to `channel`, that of the last one is returned.
    """
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123  # as fast as can be
        before = left_behind(descriptors)
        for number in range(SHARED_BY):
            code = copy_context().run(command_process, order, descriptors)
            forget_command(nothing.fileno())
            end = time.monotonic() + SETTLES_S
            while (after := left_behind()) != before and time.monotonic() < end:
                time.sleep(0.001)  # a thread that is joined is gone a moment later
            if code == CRASHED or after != before or number == SHARED_BY - 1:
                break
            channel.sendall(b"%d\n" % code)
            line, descriptors = receive_order(channel)
            if not line:
                break
            order = json.loads(line)
    return code


def forget_command(nothing: int) -> None:
    """Let go of the streams and the folder of a command, and of what it found outside its process."""
    faulthandler.cancel_dump_traceback_later()
    for number in range(3):
        os.dup2(nothing, number)
    os.chdir("/")
    for module, name in ABOUT_THE_WORLD:
        getattr(sys.modules[module], name).cache_clear()


def left_behind(own: Sequence[int] = ()) -> tuple[object, ...]:
    """Return what a command could leave in this process: files that are not its `own`, threads, …"""
    descriptors = {path for path in Path("/proc/self/fd").iterdir() if int(path.name) not in own}
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        has_children = True
    except ChildProcessError:
        has_children = False
    umask = os.umask(0o77)
    os.umask(umask)
    return (
        {path for path in descriptors if path.is_symlink()},  # one was that of the list itself
        {*Path("/proc/self/task").iterdir()},
        has_children,
        [signal.getsignal(number) for number in signal.valid_signals()],
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        umask,
        [*sys.path],
    )


class Server:
    """Forks for each order that arrives, and answers it with a pid and, later, an exit code."""

    def __init__(self, address: str) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(address)
        self._listening.listen(16)
        self._ended, self._wakes = socket.socketpair()
        for each in (self._ended, self._wakes):
            each.settimeout(0)
        self._running: dict[int, socket.socket] = {}
        self._ending: dict[socket.socket, int] = {}
        """The connections whose other side a process does not outlive."""
        self._sharing: dict[socket.socket, int] = {}
        """The processes that run one command after the other, by the channel to them."""
        self._idle: list[socket.socket] = []
        """Those of them that have no command now."""
        self._in_use = Path(address).with_name(IN_USE)
        self._interpreter = Path(address).with_name(INTERPRETER)
        _write_interpreter(self._interpreter, address)
        self._next_check = 0.0

    def serve(self) -> None:
        """Serve orders until no worker of the tests is left."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        os.write(1, b"ready\n")
        while self._is_in_use():
            watched = [self._listening, self._ended, *self._ending, *self._sharing]
            ready, *_ = select.select(watched, [], [], USE_CHECK_S)
            if self._ended in ready:
                self._ended.recv(1 << 16)
                self._answer_ended()
            for connection in self._ending.keys() & {*ready}:  # nothing is sent after an order
                os.kill(self._ending.pop(connection), signal.SIGKILL)
            for channel in self._sharing.keys() & {*ready}:
                self._answer_for(channel)
            if self._listening in ready:
                connection, _ = self._listening.accept()
                with suppress(ConnectionError):  # the test has given up
                    self._take(connection)

    def _is_in_use(self) -> bool:
        """Say whether a worker holds its lock, which its end releases."""
        if time.monotonic() < self._next_check:
            return True
        self._next_check = time.monotonic() + USE_CHECK_S
        try:
            with self._in_use.open() as in_use:
                fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            pass
        return False

    def _take(self, connection: socket.socket) -> None:
        """Read an order, and start its command."""
        line, descriptors = receive_order(connection)
        if not line:
            raise ConnectionError
        order = json.loads(line) | {"interpreter": str(self._interpreter)}
        pid = self._reuse(order, descriptors) if order["is_shared"] else None
        if pid is None:
            pid = self._fork(connection, order, descriptors)
        self._running[pid] = connection
        if order["ends_with_connection"]:
            self._ending[connection] = pid
        for descriptor in descriptors:
            os.close(descriptor)
        connection.sendall(b"%d\n" % pid)

    def _fork(self, connection: socket.socket, order: dict[str, Any], descriptors: Sequence[int]) -> int:
        """Run an order in a new process, which takes more of them if it is shared; return its pid."""
        ours, theirs = socket.socketpair() if order["is_shared"] else (None, None)
        pid = os.fork()
        if pid == 0:
            self._leave(connection, *filter(None, [ours]))
            run = command_process if theirs is None else partial(shared_process, theirs)
            os._exit(run(order, descriptors))
        if ours is not None and theirs is not None:
            theirs.close()
            self._sharing[ours] = pid
        return pid

    def _reuse(self, order: dict[str, Any], descriptors: Sequence[int]) -> int | None:
        """Run an order in a process that has ended another; return its pid, or nothing if there is none."""
        while self._idle:
            channel = self._idle.pop()
            with suppress(OSError):  # it was killed
                line = json.dumps(order).encode() + b"\n"
                sent = socket.send_fds(channel, [line], descriptors)
                if sent < len(line):
                    channel.sendall(line[sent:])
                return self._sharing[channel]
        return None

    def _answer_for(self, channel: socket.socket) -> None:
        """Pass on the exit code of a command in a shared process, or forget a process that has ended."""
        code = b""
        with suppress(ConnectionError):
            code = channel.recv(100)
        if code:
            self._idle.append(channel)
            with self._running.pop(self._sharing[channel]) as connection, suppress(ConnectionError):
                connection.sendall(code)
            return
        del self._sharing[channel]  # what it ended with comes as that of any process
        if channel in self._idle:
            self._idle.remove(channel)
        channel.close()

    def _leave(self, *more: socket.socket) -> None:
        """Let go of what belongs to the parent, in a process that was forked."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ours = (self._listening, self._ended, self._wakes, *self._running.values(), *self._sharing)
        for each in (*ours, *more):
            each.close()

    def _answer_ended(self) -> None:
        """Answer the orders whose commands have ended."""
        with suppress(ChildProcessError):  # there are none
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid in self._running:
                    with self._running.pop(pid) as connection, suppress(ConnectionError):
                        self._ending.pop(connection, None)
                        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def main(address: str) -> None:
    """Import the product, use it once, and serve."""
    preload()
    warm_up()
    share_clips(Path(address).parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Server(address).serve()


if __name__ == "__main__":
    main(sys.argv[1])
