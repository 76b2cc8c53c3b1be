"""Servers that bill, and people at their terminals: real processes on both sides."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.forks import Forks, Running

PROGRAM = "tests.outside.server:main"
PROFILE = """
[outside]
like = "custom"
title = "Outside"
description = "A server of the tests' own."
list_proves_absence = true
"""
KEY = "sk-outside-0123456789"
START_S = 90
PACKAGED = files("decision").joinpath("policy.toml").read_text(encoding="utf-8")
WITNESS = "tests.outside.witness:main"
WITNESSES = ("north", "south", "east")


def until(happened: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait until `happened` returns something true, and return it. The other process gives no signal.

    Four times as long as the question took is waited before it is asked again, and a tenth of what has been
    waited already: a command that asks costs more than the process that is waited for has to do.
    """
    began = time.monotonic()
    end = began + seconds
    while True:
        asked = time.monotonic()
        if found := happened():
            return found
        assert time.monotonic() < end
        now = time.monotonic()
        time.sleep(min(max(0.02, 4 * (now - asked), (now - began) / 10), 1))


@dataclass(frozen=True)
class Outside:
    """A billing server that runs; its answers are read without the product's code."""

    origin: str
    process: Running

    @property
    def base_url(self) -> str:
        """The value of OPENAI_BASE_URL."""
        return f"{self.origin}/v1"

    def behave(self, **behaviour: Any) -> None:
        """Change how it behaves from now on; `DEFAULTS` in server.py lists what there is."""
        self._ask("/_behave", behaviour)

    def reset(self) -> None:
        """Forget everything, as if it had just been started."""
        self._ask("/_reset", {})

    def release(self) -> None:
        """Let the answers go that are held now."""
        self._ask("/_release", {})

    def create(self, prompt: str, **fields: Any) -> dict[str, Any]:
        """Create a video as another client of the same account."""
        return dict(self._ask("/_create", {"prompt": prompt, "key": KEY, **fields}))

    def bills(self) -> list[dict[str, Any]]:
        """Return one entry for each video it created."""
        return list(self._ask("/_bills")["bills"])

    def requests(self, method: str = "") -> list[dict[str, Any]]:
        """Return the requests that arrived, of one method or all."""
        return [each for each in self._ask("/_requests")["requests"] if method in ("", each["method"])]

    def _ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.origin + path, data), timeout=30) as answer:
            return json.load(answer)


@dataclass
class Servers:
    """The billing servers of this process of the tests: no two tests have one at a time.

    One that a test has left forgets everything before the next has it. Their clips are made once.
    """

    folder: Path
    forks: Forks
    idle: list[Outside] = field(default_factory=list)

    def take(self) -> Outside:
        """Return a server that knows nothing."""
        if self.idle:
            server = self.idle.pop()
            server.reset()
            return server
        command = ["--folder", str(self.folder)]
        process = self.forks.popen(
            command, self.folder, os.environ, program=PROGRAM, ends_with_connection=True
        )
        assert process.stdout is not None
        return Outside(f"http://127.0.0.1:{int(process.stdout.readline())}", process)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Iterator[Servers]:
    """Return the servers for `outside`, which end with this process."""
    started = Servers(tmp_path_factory.mktemp("servers"), forks)
    yield started
    for server in started.idle:
        server.process.kill()
        with server.process:
            pass


@pytest.fixture
def outside(servers: Servers) -> Iterator[Callable[..., Outside]]:
    """Have billing servers; the keywords are their behaviour."""
    taken: list[Outside] = []

    def start(**behaviour: Any) -> Outside:
        taken.append(servers.take())
        if behaviour:
            taken[-1].behave(**behaviour)
        return taken[-1]

    yield start
    servers.idle += taken


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON document on stdout."""
        return json.loads(self.out)


@dataclass
class Person:
    """A folder with a ledger, an environment, and commands that run as processes there."""

    folder: Path
    forks: Forks
    environment: dict[str, str] = field(default_factory=dict)

    def at(self, server: Outside) -> "Person":
        """Return the same person with `server` as the one in use."""
        return self.with_(OPENAI_BASE_URL=server.base_url)

    def with_(self, **variables: str) -> "Person":
        """Return the same person with other variables."""
        return Person(self.folder, self.forks, {**self.environment, **variables})

    def start(self, *arguments: str, streams: int | None = None, **options: Any) -> Any:
        """Start a command, which the caller waits for or kills; `streams` is the terminal it has.

        With options of `subprocess.Popen`, whose like is returned, it is a new interpreter.
        """
        if streams is not None:
            return self.forks.start(
                [arguments], self.folder, self.environment, streams, streams, stdin=streams
            )
        if not options:
            return self.forks.popen(arguments, self.folder, self.environment)
        return subprocess.Popen(
            [sys.executable, "-m", "cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def __call__(self, *arguments: str) -> Ended:
        """Run a command to its end, in another process (`tests/forks.py`)."""
        return Ended(*self.forks.run(arguments, self.folder, self.environment))


def at_a_terminal(person: Person, answer: str, *command: str) -> tuple[int, str]:
    """Run a command whose three streams are a terminal, type `answer`, and return code and screen."""
    ours, theirs = pty.openpty()
    with person.start(*command, streams=theirs) as process:
        os.close(theirs)
        os.write(ours, answer.encode())
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # how Linux says that the other side is closed
                break
            if not part:
                break
            shown += part
        os.close(ours)
        return process.wait(60), shown.decode()


@pytest.fixture
def person(tmp_path: Path, forks: Forks) -> Person:
    """Someone at a terminal in an empty folder, with the profile `outside`, whose list proves absence."""
    folder = tmp_path / "work"
    folder.mkdir()
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(PROFILE)
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("SORA_", "OPENAI_", "TRACEPARENT"))}
    return Person(
        folder,
        forks,
        clean
        | {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "SORA_LEDGER_URL": "sqlite:///ledger.db",
            "SORA_LEDGER_PROFILES": str(profiles),
            "SORA_LEDGER_PROFILE": "outside",
            "OPENAI_API_KEY": KEY,
            "XDG_DATA_HOME": str(tmp_path / "data"),
        },
    )


@pytest.fixture
def ana(person: Person) -> Person:
    """Return a person whose profile says that a call takes effect at once, and whose list proves absence."""
    profiles = Path(person.environment["SORA_LEDGER_PROFILES"])
    profiles.write_text(f"{profiles.read_text()}takes_effect_s = 0\n")
    return person


@dataclass
class Gateway:
    """``serve`` on a port that stays the same, so that it can be killed and started again."""

    person: Person
    port: int
    options: tuple[str, ...] = ()
    running: Running | None = None

    @property
    def base_url(self) -> str:
        """The value of OPENAI_BASE_URL for a client."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def errors(self) -> str:
        """What it printed to stderr."""
        return (self.person.folder / f"serve-{self.port}.err").read_text()

    def start(self, largest_file: int | None = None) -> "Gateway":
        """Start it; returns once it accepts connections. No file can grow past `largest_file` bytes."""
        folder = self.person.folder
        with (
            (folder / f"serve-{self.port}.out").open("ab") as out,
            (folder / f"serve-{self.port}.err").open("ab") as err,
        ):
            command = ("serve", "--port", str(self.port), *self.options)
            environment = self.person.environment
            self.running = self.person.forks.start(
                [command], folder, environment, out, err, largest_file=largest_file
            )
        until = time.monotonic() + START_S
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            has_ended = select.select([self.running.connection], [], [], 0.01)[0]
            assert not has_ended, self.errors
            assert time.monotonic() < until, self.errors

    def send(self, number: int) -> None:
        """Send it a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.running.pid, number)

    def end(self, number: int = signal.SIGKILL) -> int:
        """End it by a signal; return its exit code."""
        self.send(number)
        code, self.running = int(self.running.wait()), None
        return code

    def grant(self, name: str, *roles: str, **more: str) -> str:
        """Return a new access key of `name`."""
        options = [f"--{option.replace('_', '-')}={value}" for option, value in more.items()]
        ended = self.person("access", "grant", name, *(f"--role={role}" for role in roles), *options)
        assert ended.code == 0, ended.err
        return str(ended.document["key"])


@pytest.fixture
def gateway(person: Person) -> Iterator[Callable[..., Gateway]]:
    """Start gateways on the ledger of `person`, in front of a server; the words are options of ``serve``."""
    running: list[Gateway] = []

    def start(server: Outside, *options: str, **variables: str) -> Gateway:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        running.append(Gateway(person.at(server).with_(**variables), port, options))
        return running[-1].start()

    yield start
    for each in running:
        if each.running is not None:
            each.end()


@dataclass
class Witness:
    """A witness of the tests' own that runs; `url` is its submission prefix."""

    name: str
    folder: Path
    log: tuple[str, str]
    forks: Forks
    port: int = 0
    key: str = ""
    process: Running | None = None

    @property
    def url(self) -> str:
        """Where it takes checkpoints."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, at the same port as before."""
        origin, key = self.log
        where = ["--folder", str(self.folder), "--name", f"{self.name}.example/w", "--port", str(self.port)]
        options = [*where, "--log", origin, "--log-key", key]
        process = self.forks.popen(options, self.folder.parent, os.environ, program=WITNESS)
        assert process.stdout is not None
        port, self.key = process.stdout.readline().split()
        self.port, self.process = int(port), process

    def stop(self) -> None:
        """Kill it; its state is in its folder."""
        if self.process is not None:
            self.process.kill()
            with self.process:
                pass
            self.process = None

    def behave(self, **behaviour: Any) -> None:
        """Change how it behaves from now on; `DEFAULTS` in witness.py lists what there is."""
        self._ask("/_behave", json.dumps(behaviour).encode())

    def requests(self) -> list[dict[str, int]]:
        """Return the old size and the size of each request."""
        return list(self._ask("/_requests"))

    def _ask(self, path: str, data: bytes | None = None) -> Any:
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data), timeout=30) as answer:
            return json.load(answer)


@pytest.fixture
def witnesses(person: Person, tmp_path: Path, forks: Forks) -> Iterator[list[Witness]]:
    """A ledger of one record with a key, and three witnesses that know it; ``policy`` wants two of them."""
    assert person("record", "elsewhere", "--video-id", "video_1").code == 0
    key = person("key", "new", "signing.key").document
    running = [Witness(name, tmp_path / name, (key["name"], key["verifier"]), forks) for name in WITNESSES]
    for witness in running:
        witness.start()
    write_policy(person, running)
    yield running
    for witness in running:
        witness.stop()


def write_policy(person: Person, witnesses: Sequence[Witness], threshold: str = "2") -> None:
    """Write the file ``policy``, which wants `threshold` of these witnesses."""
    lines = [f"witness {each.name} {each.key} {each.url}" for each in witnesses]
    names = " ".join(each.name for each in witnesses)
    text = "\n".join(["# who watches", *lines, f"group all {threshold} {names}", "quorum all", ""])
    (person.folder / "policy").write_text(text)
