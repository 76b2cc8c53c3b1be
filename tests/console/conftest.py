"""A studio with a ledger, people with roles, the console as a real process, and a real browser."""

import fcntl
import json
import os
import re
import select
import shutil
import signal
import socket
import sys
import time
from asyncio import AbstractEventLoop, get_running_loop
from asyncio.events import _set_running_loop
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.forks import LONGER, Forks, Running
from tests.outside.conftest import outside, servers
from tools.browser import HOW, find_browser

__all__ = ["outside", "servers"]

START_S = 60
SERVES_S = 3_600
"""How long a console may serve: one is shared by all tests of a process."""

ARGUMENTS = """
--headless --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --hide-scrollbars
""".split()
PEOPLE = {
    "ada": ("administrator",),
    "ana": ("requester", "--team=film"),
    "tom": ("requester", "--team=ads"),
    "maria": ("approver",),
    "rita": ("reviewer",),
    "aud": ("auditor",),
    "olga": ("operator",),
    "sol": ("administrator", "--role=operator", "--role=approver"),
}
"""The people of the studio: their role, and the options of their key. Ana's and Tom's teams are different.

Sol may do everything.
"""

CRIMSON = "Same shot and framing; shift the color palette to crimson and sand."
FOX = "A fox runs through fresh snow, tracking shot, golden hour"
COUPE = "Wide tracking shot of a teal coupe on a desert highway, heat ripples"


LONGEST_S = 600
"""A test here may take longer than others: it starts a server and a browser; one makes the studio for all."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder more time."""
    here = f"{Path(__file__).parent}{os.sep}"
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.timeout(LONGEST_S))


@dataclass
class Studio:
    """A ledger with a history, and the key of each person."""

    folder: Path
    environment: dict[str, str]
    forks: Forks
    keys: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    """Job ids: ``coupe``, ``crimson`` (its remix), ``fox``, ``bottle``, ``denied`` and ``queued``."""

    def __call__(self, *command: str, code: int = 0) -> Any:
        """Run a command, and return its JSON."""
        ended, out, err = self.forks.run(command, self.folder, self.environment)
        assert ended == code, f"{command}: {ended}\n{out}\n{err}"
        return json.loads(out) if out else None

    def copy(self, to: Path) -> "Studio":
        """Return the same studio in another folder, to change."""
        shutil.copytree(self.folder, to)
        return Studio(to, self.environment, self.forks, dict(self.keys), dict(self.jobs))

    def grant(self, name: str, *options: str) -> str:
        """Return a new key of `name`."""
        key = str(self("access", "grant", name, *options)["key"])
        self.keys[name] = key
        return key


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Studio:
    """Return the studio that all tests read; a test that changes it takes a copy.

    It is made once for all processes of the tests: rendering its clips in each of them would take minutes.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, said = shared / "studio", shared / "studio.json"
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("SORA_", "OPENAI_", "TRACEPARENT"))}
    environment = clean | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SORA_LEDGER_URL": "sqlite:///ledger.db",
        "SORA_LEDGER_PROFILE": "sandbox",
        "SORA_SANDBOX_SECONDS": "0",
        "XDG_DATA_HOME": str(shared / "studio-data"),
    }
    with (shared / "studio.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            made = make_studio(Studio(folder, environment, forks))
            said.write_text(json.dumps([made.keys, made.jobs]))
    keys, jobs = json.loads(said.read_text())
    return Studio(folder, environment, forks, keys, jobs)


def make_studio(made: Studio) -> Studio:
    """Give a new studio its people and its history."""
    made("budget", "set", "all", "--limit", "40", "--reason", "agreed")
    made("budget", "set", "team_film", "--limit", "3", "--reason", "agreed")
    for name, (role, *options) in PEOPLE.items():
        made.grant(name, f"--role={role}", *options)
    film, ads = ("--team=film", "--actor=ana"), ("--team=ads", "--actor=tom")

    def asked(name: str, *command: str, code: int = 0) -> None:
        made.jobs[name] = str(made(*command, code=code)["job_id"])

    asked("coupe", "create", "--prompt", COUPE, "--queue", *film)
    made("worker", "--drain", "--interval=0.1", "--grace=0")
    asked("crimson", "remix", made.jobs["coupe"], "--prompt", CRIMSON, "--queue", *film)
    asked("fox", "create", "--prompt", FOX, "--seconds=8", "--queue", *film)
    asked("bottle", "create", "--prompt", "A bottle turns on a white table", "--queue", *ads)
    made("worker", "--drain", "--interval=0.1", "--grace=0")
    asked("denied", "create", "--prompt", "A neon city at night", "--max-cost=0.01", *ads, code=3)
    asked("queued", "create", "--prompt", "An owl sleeps on a branch", "--queue", *film)
    return made


@dataclass
class Console:
    """``serve`` on a port that stays the same."""

    studio: Studio
    port: int
    options: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    running: Running | None = None

    @property
    def origin(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address of the console, without a slash at its end."""
        return f"{self.origin}/console"

    @property
    def log(self) -> str:
        """What it printed to stderr."""
        return (self.studio.folder / f"serve-{self.port}.err").read_text()

    def start(self) -> "Console":
        """Start it; returns once it answers."""
        folder = self.studio.folder
        with (
            (folder / f"serve-{self.port}.out").open("ab") as out,
            (folder / f"serve-{self.port}.err").open("ab") as err,
        ):
            command = ("serve", "--port", str(self.port), *self.options)
            environment = self.studio.environment | self.variables | {LONGER: str(SERVES_S)}
            self.running = self.studio.forks.start([command], folder, environment, out, err)
        until = time.monotonic() + START_S
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                break
            assert not select.select([self.running.connection], [], [], 0.01)[0], self.log
            assert time.monotonic() < until, self.log
        httpx2.get(f"{self.origin}/healthz", timeout=START_S)  # it listens before it has begun to serve
        return self

    def end(self, number: int = signal.SIGKILL) -> None:
        """End it by a signal."""
        if self.running is not None:
            with suppress(ProcessLookupError):
                os.kill(self.running.pid, number)
            self.running.wait()
            self.running = None

    def reader(self, name: str) -> httpx2.Client:
        """Return a client that reads as `name` with their key, as programs do."""
        return httpx2.Client(
            base_url=self.url, headers={"authorization": f"Bearer {self.studio.keys[name]}"}, timeout=30
        )

    def client(self, name: str | None = None) -> "Signed":
        """Return a client like a browser without scripts, signed in as `name` unless that is None."""
        client = Signed(base_url=self.url, timeout=30, headers={"origin": self.origin})
        if name is not None:
            answer = client.post("/sign-in", data={"key": self.studio.keys[name], "next": "/console/access"})
            assert answer.status_code == 303, answer.text
        return client

    def sign_in(self, page: Page, name: str, to: str = "/access") -> None:
        """Sign in as `name` in a browser's page, and open a page of the console.

        The form is sent for the page: to load it and to type in it takes 0.4 s of a processor. That it
        can be filled in is tested in `test_access.py`.
        """
        form = {"key": self.studio.keys[name], "next": f"/console{to}"}
        answer = page.context.request.post(
            f"{self.url}/sign-in", form=form, headers={"origin": self.origin}, max_redirects=0
        )
        assert answer.status == 303, answer.text()
        page.goto(f"{self.url}{to}")


class Signed(httpx2.Client):
    """A client with the cookies of a session, which may be used before it is entered."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def csrf(self, path: str = "/access") -> str:
        """Return the token in the forms of this session."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(path).text)
        assert found, "no form on the page"
        return found[1]

    def form(self, path: str, action: str) -> dict[str, str]:
        """Return the hidden fields of the form with an action on a page, or the token if it is not there."""
        whole = self.get(path).text
        _, _, after = whole.partition(f'action="/console{action}"')
        part = after.partition("</form>")[0] or whole
        hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', part))
        return hidden if after else {"csrf": hidden["csrf"]}

    def act(self, path: str, fields: dict[str, Any], page: str = "/access") -> httpx2.Response:
        """Send a form of the page `page`."""
        return self.post(path, data={**self.form(page, path), **fields})


@contextmanager
def serving(studio: Studio, *options: str, **variables: str) -> Iterator[Console]:
    """Serve the console of a studio; the words are options of ``serve``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    console = Console(studio, port, options or ("--no-work",), variables)
    try:
        yield console.start()
    finally:
        console.end()


@pytest.fixture(scope="session")
def shared(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """Return a console that all tests of this process share, and none changes."""
    with serving(studio.copy(tmp_path_factory.mktemp("shared") / "work")) as console:
        yield console


@pytest.fixture
def console(studio: Studio, tmp_path: Path) -> Iterator[Console]:
    """Return a console on a copy of the studio, which the test may change."""
    with serving(studio.copy(tmp_path / "work")) as started:
        yield started


@pytest.fixture
def consoles(studio: Studio, tmp_path: Path) -> Iterator[Callable[..., Console]]:
    """Start consoles with other options of ``serve`` and other variables, on one copy of the studio."""
    copy, running = studio.copy(tmp_path / "work"), []

    def start(*options: str, **variables: str) -> Console:
        running.append(serving(copy, *options, **variables))
        return running[-1].__enter__()

    yield start
    for each in running:
        each.__exit__(None, None, None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[tuple[Browser, AbstractEventLoop]]:
    """Start the browser of a process, in which nothing runs yet; return it with the event loop of Playwright.

    Playwright calls its loop running from the first of its calls to the last, and then no other test could
    have a loop. So the loop is set aside whenever no test needs the browser: it stands still until a call.
    """
    program = find_browser()
    if program is None:
        if os.environ.get("BROWSER_TESTS") == "required":
            pytest.fail(HOW)
        pytest.skip(HOW)

    expect.set_options(timeout=30_000)

    root = ["--no-sandbox"] if sys.platform == "linux" and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, *root])
        loop = get_running_loop()
        _set_running_loop(None)
        yield started, loop
        _set_running_loop(loop)
        started.close()


@pytest.fixture(scope="module")
def browser(chromium: tuple[Browser, AbstractEventLoop]) -> Iterator[Browser]:
    """Return the browser for the tests of one file, without a profile of another's."""
    started, loop = chromium
    _set_running_loop(loop)
    yield started
    for context in started.contexts:
        context.close()
    _set_running_loop(None)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open a page in a browser profile of its own; an error of a script fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(30_000)
    opened, errors = context.new_page(), []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
    yield opened
    context.close()
    assert errors == []
