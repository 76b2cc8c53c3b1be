"""Tests in several processes, which are forked once one process has collected them all.

A plugin of pytest, with the option ``--numprocesses``. To import everything and to collect the tests takes
half a minute of a processor, and is done once. The forked processes inherit the tests, get them file by file,
and send back the reports, which this process shows as if it had run the tests. A process that ends in the
middle of a test fails that test and is replaced.

Files whose tests wait for servers and browsers are begun first. Every other process takes from the other end,
so that there is work while they wait.
"""

import atexit
import gc
import os
import pickle
import shutil
import signal
import sys
import tempfile
import traceback
import uuid
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

WAITING = ("tests/console", "tests/outside", "tests/acceptance", "tests/faults")
"""The folders whose tests take longest and wait most, the longest first."""

MOST_REPLACED = 20
"""So many processes may end in the middle of a test before the run is given up."""

PATIENCE_S = 60
"""How long a process has to end its servers when the run is stopped."""

WHEN = "runtest"
"""How pytest calls the time at which tests run."""

Unit = list[int]
"""The numbers of tests that one process runs in a row: those of a file, or what is left of them."""

RUN = pytest.StashKey[str]()
FOLDER = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("workers", "tests in several processes")
    words = "how many processes run tests; auto: twice as many as there are cores; 0: this one alone"
    group._addoption("-n", "--numprocesses", metavar="N", default="0", help=words)


def count(config: pytest.Config) -> int:
    """Return how many processes run tests besides this one."""
    asked = config.getoption("numprocesses")
    if asked == "auto":
        return 2 * (os.cpu_count() or 1)
    if not asked.isdecimal():
        raise pytest.UsageError(f"--numprocesses: expected a number or auto, found {asked}")
    return int(asked)


def new_home() -> Path:
    """Give this process folders of a user of its own, so that tests leave nothing in those of a person."""
    home = Path(tempfile.mkdtemp(prefix="sora-ledger-home-"))
    os.environ |= {"XDG_DATA_HOME": f"{home}/data", "XDG_CONFIG_HOME": f"{home}/config"}
    return home


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Begin a run: its number is that of all its processes."""
    config.stash[RUN] = uuid.uuid4().hex
    atexit.register(shutil.rmtree, new_home(), ignore_errors=True)
    if count(config):  # what has been compiled once serves all others, also where that is switched off
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        sys.dont_write_bytecode = False


@pytest.fixture(scope="session")
def testrun_uid(pytestconfig: pytest.Config) -> str:
    """Return the number of this run, which all its processes share."""
    return pytestconfig.stash[RUN]


@pytest.fixture(scope="session")
def run_folder(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that all processes of this run share."""
    return pytestconfig.stash.get(FOLDER, tmp_path_factory.getbasetemp())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without looking for garbage: there is none, and all that was made would be looked at often."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests in other processes, if any were asked for."""
    config = session.config
    number = min(count(config), len(session.items))
    failed_to_collect = session.testsfailed and not config.option.continue_on_collection_errors
    if number == 0 or failed_to_collect or config.option.collectonly:
        return None  # pytest's own loop goes on
    Run(session, number).to_its_end()
    return True


def units(session: pytest.Session) -> deque[Unit]:
    """Return the tests of each file, in the order in which processes take them."""
    numbered = groupby(range(len(session.items)), key=lambda number: session.items[number].path)
    files = [list(numbers) for _, numbers in numbered]

    def turn(unit: Unit) -> int:
        of = session.items[unit[0]].nodeid
        return next((turn for turn, folder in enumerate(WAITING) if of.startswith(folder)), len(WAITING))

    return deque(sorted(files, key=turn))


@dataclass
class Worker:
    """A process that runs tests: what it was given and has not finished, and the test it is at."""

    number: int
    pid: int
    connection: Connection
    left: Unit = field(default_factory=list)
    at: int | None = None
    last: int = 0


class Run:
    """The side of the process that has collected the tests: it hands them out and shows how they end."""

    def __init__(self, session: pytest.Session, number: int) -> None:
        self.session, self.config = session, session.config
        self._units = units(session)
        self._number = number
        self._replaced = 0
        self._workers = dict[Connection, Worker]()
        self.config.stash[FOLDER] = self.config._tmp_path_factory.getbasetemp()

    def to_its_end(self) -> None:
        """Run all tests, or as many as are wanted."""
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and terminal.verbosity <= 0:
            terminal.showfspath = False  # tests of many files end in turn
        try:
            for number in range(self._number):
                self._fork(number)
            while self._workers:
                for connection in wait(list(self._workers)):
                    self._hear(self._workers[connection])
                if self.session.shouldfail:
                    raise self.session.Failed(self.session.shouldfail)
                if self.session.shouldstop:
                    raise self.session.Interrupted(self.session.shouldstop)
        finally:
            self._stop()

    def _fork(self, number: int) -> None:
        """Start a process that runs tests."""
        ours, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # OpenBLAS has threads, and is made for this
            pid = os.fork()
        if pid == 0:
            for connection in (ours, *self._workers):
                connection.close()
            work(self.session, number, theirs)
        theirs.close()
        self._workers[ours] = Worker(number, pid, ours)

    def _hear(self, worker: Worker) -> None:
        """Take a message of a process, or its end."""
        message, *rest = _received(worker.connection)
        if message == "ended":
            self._ended(worker)
        elif message == "more":
            unit = self._next(worker)
            worker.left += unit
            with suppress(ConnectionError):  # its end is heard next
                worker.connection.send(unit)
        elif message == "at":
            [worker.at] = rest
        elif message == "warning":
            text, nodeid, location = rest
            warned = warnings.WarningMessage(UserWarning(text), UserWarning, *location[:2])
            arguments = {"warning_message": warned, "when": WHEN, "nodeid": nodeid, "location": location}
            self.config.hook.pytest_warning_recorded.call_historic(kwargs=arguments)
        else:
            self._show(worker, [self._read(report) for report in rest])

    def _next(self, worker: Worker) -> Unit:
        """Return what a process runs next, nothing if all is given out."""
        if not self._units:
            return []
        return self._units.pop() if worker.number % 2 else self._units.popleft()

    def _read(self, report: Any) -> pytest.TestReport:
        return self.config.hook.pytest_report_from_serializable(config=self.config, data=report)

    def _show(self, worker: Worker, reports: list[pytest.TestReport]) -> None:
        """Report the test that a process was at."""
        assert worker.at is not None
        hook, item = self.config.hook, self.session.items[worker.at]
        worker.left.remove(worker.at)
        worker.last, worker.at = worker.at, None
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in reports:
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _ended(self, worker: Worker) -> None:
        """See how a process ended; if it left tests, fail the one it was at and have another run the rest."""
        del self._workers[worker.connection]
        worker.connection.close()
        code = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
        if code == 0 and not worker.left:
            return
        worker.at = worker.last if worker.at is None else worker.at
        item = self.session.items[worker.at]
        how = f"The process that ran this test ended with {code} in the middle of it, or after it."
        call = pytest.CallInfo.from_call(lambda: pytest.fail(how, pytrace=False), "call")
        if worker.at not in worker.left:
            worker.left.append(worker.at)
        self._show(worker, [pytest.TestReport.from_item_and_call(item, call)])
        self._replaced += 1
        if self._replaced > MOST_REPLACED:
            raise self.session.Failed(f"{self._replaced} processes ended in the middle of a test")
        if worker.left:
            self._units.appendleft(worker.left)
            self._fork(worker.number)

    def _stop(self) -> None:
        """End the processes that still run, as Ctrl-C would, and wait until they have ended their servers."""
        for worker in self._workers.values():
            os.kill(worker.pid, signal.SIGINT)
        for worker in self._workers.values():
            with suppress(EOFError, ConnectionError):
                while worker.connection.poll(PATIENCE_S):
                    worker.connection.recv_bytes()
            os.kill(worker.pid, signal.SIGKILL)
            os.waitpid(worker.pid, 0)
            worker.connection.close()


def _received(connection: Connection) -> tuple[Any, ...]:
    """Return what a process sends, ``ended`` if it has ended."""
    try:
        return pickle.loads(connection.recv_bytes())
    except (EOFError, ConnectionError):
        return ("ended",)


class Reporter:
    """The side of a process that runs tests: it sends what happens to the one that shows it."""

    def __init__(self, config: pytest.Config, connection: Connection) -> None:
        self._config, self._connection = config, connection
        self._reports: list[Any] = []

    def send(self, *message: Any) -> None:
        """Send a message."""
        self._connection.send_bytes(pickle.dumps(message))

    def done(self) -> None:
        """Send the reports of a test."""
        self.send("done", *self._reports)
        self._reports.clear()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._reports.append(data)

    def pytest_warning_recorded(
        self,
        warning_message: warnings.WarningMessage,
        when: str,
        nodeid: str,
        location: tuple[str, int, str] | None,
    ) -> None:
        if when == WHEN:  # the others were shown where the tests were collected
            where = location or (warning_message.filename, warning_message.lineno, "")
            text = f"{warning_message.category.__name__}: {warning_message.message}"
            self.send("warning", text, nodeid, where)


def work(session: pytest.Session, number: int, connection: Connection) -> NoReturn:
    """Run tests until there are no more, and end this process."""
    code, home = 1, new_home()
    try:
        settle(session.config, number)
        reporter = Reporter(session.config, connection)
        session.config.pluginmanager.register(reporter, "reporter-of-a-worker")
        run_given(session, reporter, connection)
        code = 0
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        code = 2  # the run was stopped
    except BaseException as error:  # noqa: BLE001  # this process must not return into what its parent was doing
        if not isinstance(error.__context__, KeyboardInterrupt):
            traceback.print_exc()
    finally:
        with suppress(BaseException):
            session._setupstate.teardown_exact(None)
        shutil.rmtree(home, ignore_errors=True)
        os._exit(code)


def settle(config: pytest.Config, number: int) -> None:
    """Let go of what belongs to the process that has collected the tests."""
    terminal = config.pluginmanager.unregister(name="terminalreporter")
    if terminal is not None:
        # What says where a test hangs asks it for the terminal.
        config.pluginmanager.register(SimpleNamespace(_tw=terminal._tw), "terminalreporter")
    for stream in captured(config):
        with suppress(OSError), tempfile.TemporaryFile() as own:  # OSError: it has no file to share
            os.dup2(own.fileno(), stream.tmpfile.fileno(), inheritable=False)
    factory = config._tmp_path_factory
    factory._basetemp = config.stash[FOLDER] / f"worker{number}"
    factory._basetemp.mkdir(mode=0o700, exist_ok=True)


def captured(config: pytest.Config) -> list[Any]:
    """Return what captures stdout and stderr, and is referred to by what was imported meanwhile."""
    capturing = config.pluginmanager.get_plugin("capturemanager")._global_capturing
    return [stream for stream in (capturing.out, capturing.err) if stream is not None]


def run_given(session: pytest.Session, reporter: Reporter, connection: Connection) -> None:
    """Run the tests that are handed out; the next is known before one ends, and so which fixtures stay."""
    left, is_all = deque[int](), False
    while True:
        while len(left) < 2 and not is_all:
            reporter.send("more")
            unit = connection.recv()
            left += unit
            is_all = not unit
        if not left:
            return
        at = left.popleft()
        reporter.send("at", at)
        item, after = session.items[at], session.items[left[0]] if left else None
        item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
        reporter.done()
