"""What is killed and how it goes on: the operations, the place they run in, and the points there are.

    python -m tests.faults.machinery > tests/faults/points.txt

runs every operation once with every fault, and writes down the boundaries it passed.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import ssl
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import httpx2
import psycopg

from ledger.events import SubmissionIntended
from ledger.job import Job
from ledger.log.opening import open_ledger, open_snapshot
from ledger.store.filters import RecordFilter
from ledger.verify import verify
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings
from tests.forks import Forks, forking

PROGRAM = "tests.faults.forking:carry_out"
HTTP = httpx2.Client(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), timeout=30)
"""To servers on this machine; without the certificates of all authorities, which take long to read."""
CLOSING = {"connection": "close"}
FAULTS = ("none", "lost", "kept-but-answer-lost")
KILLED = -9
ONE_CHANGE = "Same shot and framing; shift the color palette to crimson and sand."
BATCH = '{"prompt": "a fox runs"}\n{"prompt": "an owl sleeps"}\n'
Command = list[str]


@dataclass(frozen=True)
class Operation:
    """A command to be killed: what comes before it, how it goes on, and how many videos it all makes.

    `{0}` stands for the oldest job, `{1}` for the next. `befalls` is what a fault happens to at the server;
    `always` are faults that belong to the story. `repeated_as` is what a person does again, if not the same.
    """

    name: str
    command: tuple[str, ...]
    befalls: str
    videos: int
    before: tuple[tuple[str, ...], ...] = ()
    ends: str = "stored"
    always: tuple[str, ...] = ()
    repeated_as: tuple[str, ...] = ()

    @property
    def again(self) -> tuple[str, ...]:
        """The command a person repeats after a crash."""
        if self.repeated_as:
            return self.repeated_as
        return (*self.command, "--resume") if self.command[0] == "create-batch" else self.command


PROMPT = """
[prompt]
like = "openai"
takes_effect_s = 0
"""
_KEY = ("--request-key", "teaser")
_CREATE = ("create", "--prompt", "a fox runs", *_KEY)
_RECONCILE = ("reconcile", "--all", "--grace", "0")
_POLL = ("poll", "{0}", "--poll-interval", "0.05")
_WORKER = ("worker", "--drain", "--interval", "0.1", "--lease", "1", "--grace", "0")
OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("create", _CREATE, "create", 1),
        Operation(
            "create-and-poll",
            ("create-and-poll", "--prompt", "a fox runs", *_KEY, "--poll-interval", "0.05"),
            "create",
            1,
        ),
        Operation("settle", (*_POLL, "--out", "clip.mp4", "--force"), "content", 1, before=(_CREATE,)),
        Operation(
            "remix",
            ("remix", "--id", "{0}", "--prompt", ONE_CHANGE, "--request-key", "remix"),
            "remix",
            2,
            before=(_CREATE, _POLL),
        ),
        Operation(
            "batch",
            ("create-batch", "--input", "two.jsonl", "--out-dir", "out", "--concurrency", "1"),
            "create",
            2,
        ),
        Operation(
            "batch-to-the-end",
            ("create-batch", "--input", "one.jsonl", "--out-dir", "out", "--poll", "--download"),
            "create",
            1,
        ),
        Operation("worker", _WORKER, "create", 1, before=((*_CREATE, "--queue"),)),
        Operation("delete", ("delete", "--id", "{0}"), "delete", 1, before=(_CREATE, _POLL), ends="deleted"),
        Operation(
            "reconcile",
            _RECONCILE,
            "list",
            1,
            before=(_CREATE,),
            always=("create=kept-but-answer-lost:1",),
        ),
        Operation(
            "reconcile-to-absent",
            _RECONCILE,
            "list",
            1,
            before=(_CREATE,),
            always=("create=lost:1",),
            repeated_as=_CREATE,
        ),
    )
}


@dataclass
class Place:
    """A folder with a ledger of its own and a server of its own."""

    forks: Forks
    folder: Path
    server: SandboxServer
    url: str
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.environment = {
            "SORA_LEDGER_URL": self.url,
            "SORA_LEDGER_ASSETS": str(self.folder / "assets"),
            "SORA_LEDGER_PROFILE": "prompt",
            "SORA_LEDGER_PROFILES": str(self.folder / "profiles.toml"),
            "SORA_LEDGER_ACTOR": "ana",
            "OPENAI_API_KEY": "sk-test-0123456789",
            "OPENAI_BASE_URL": self.server.base_url,
        }
        (self.folder / "profiles.toml").write_text(PROMPT)
        (self.folder / "two.jsonl").write_text(BATCH)
        (self.folder / "one.jsonl").write_text(BATCH.partition("\n")[0])

    def run(
        self,
        *commands: Sequence[str],
        before: Sequence[Sequence[str]] = (),
        trace: bool = False,
        kill: str | None = None,
    ) -> int:
        """Run commands one after the other in one child; return how it ended. `before` is spared the kill."""
        order = {
            "before": [list(command) for command in before],
            "commands": [list(command) for command in commands],
            "trace": str(self.folder / "trace.txt") if trace else None,
            "kill": kill,
        }
        environment = os.environ | self.environment
        with (self.folder / "said.txt").open("ab") as said:
            return self.forks.start(
                [[json.dumps(order)]], self.folder, environment, said, said, program=PROGRAM
            ).wait()

    def begin(self, operation: Operation, fault: str, *, trace: bool = False, kill: str | None = None) -> int:
        """Run `operation` while `fault` befalls it."""
        times = "" if ":" in fault else ":1"
        befalling = () if fault == "none" else (f"{operation.befalls}={fault}{times}",)
        plan = {"faults": [*operation.always, *befalling]}
        faults = f"{self.server.origin}/_sandbox/faults"
        HTTP.post(faults, json=plan, headers=CLOSING).raise_for_status()
        ended = self.run(operation.command, before=operation.before, trace=trace, kill=kill)
        self._outlasted()
        return ended

    def _outlasted(self) -> None:
        """Wait until the server has dealt with all that reached it: calls outlive the process that made them.

        Whoever goes on with a grace period of 0 says that nothing is under way any more.
        """
        HTTP.get(f"{self.server.origin}/_sandbox/requests", headers=CLOSING)  # a connection behind all others
        serving = self.server._server.server_state
        while serving.connections or serving.tasks:
            time.sleep(0.001)

    def go_on(self, operation: Operation, fault: str) -> None:
        """Do what a person does after a crash.

        First the same again, which must send nothing that may have been sent already;
        then look for what was lost. A fault may befall what is sent then.
        """
        if operation.command == _WORKER:
            self._let_leases_run_out()
        settled = [_RECONCILE, operation.again]
        again = [operation.again, *settled, *(settled if fault != "none" else ())]
        polls = [["poll", f"{{{number}}}", "--poll-interval", "0.05"] for number in range(operation.videos)]
        assert self.run(*again, *polls, ["audit"]) == 0, self.said()

    def _let_leases_run_out(self) -> None:
        """Make it later, as far as a killed worker's leases go, which nobody has to wait for then."""
        connected = psycopg.connect(self.url) if "://" in self.url else sqlite3.connect(self.url)
        with closing(connected) as database:
            database.execute("UPDATE work SET until_ms = 0 WHERE holder IS NOT NULL")
            database.commit()

    # --- what came of it ---

    def jobs(self) -> list[Job]:
        """Return the jobs of the ledger, newest first."""
        with open_ledger(self.url) as ledger:
            return ledger.jobs()

    def attempts(self) -> list[str]:
        """Return the id of every attempt that was intended."""
        with open_ledger(self.url) as ledger:
            records = list(ledger.read(RecordFilter(type=SubmissionIntended.type)))
        return [r.event.attempt_id for r in records if isinstance(r.event, SubmissionIntended)]

    def made_by(self) -> list[str | None]:
        """Return which attempt made each of the server's videos, deleted ones not among them."""
        videos = HTTP.get(f"{self.server.origin}/_sandbox/jobs").json()["data"]
        return [video["client_request_id"] for video in videos]

    def billed(self) -> int:
        """Return how many videos the server was made to create, by its own count."""
        counts = HTTP.get(f"{self.server.origin}/_sandbox/requests").json()
        return int(counts.get("creates", 0)) + int(counts.get("remixes", 0))

    def is_intact(self) -> bool:
        """Say whether the ledger verifies."""
        with open_snapshot(self.url) as snapshot:
            return verify(snapshot).clean

    def half_files(self) -> list[str]:
        """Return what is in storage, and is not what its name says."""
        remaining = [path for path in (self.folder / "assets" / "sha256").rglob("*") if path.is_file()]
        return [path.name for path in remaining if hashlib.sha256(path.read_bytes()).hexdigest() != path.stem]

    def said(self) -> str:
        """Return what the commands said, for whoever reads why a test failed."""
        return (self.folder / "said.txt").read_text()

    def codes(self) -> list[int]:
        """Return how the commands of the last child ended."""
        codes: list[int] = json.loads((self.folder / "codes.json").read_text())
        return codes


@contextmanager
def place_at(forks: Forks, folder: Path, media: Path, url: str | None = None) -> Iterator[Place]:
    """Make a place in `folder`, whose server has the clip in `media` already."""
    shutil.copytree(media, folder / "sandbox" / "media")
    settings = SandboxSettings(folder / "sandbox", render_seconds=0, media="cached")
    with SandboxServer(settings) as server:
        yield Place(forks, folder, server, url or str(folder / "ledger.db"))


def traced(place: Place, operation: Operation, fault: str) -> list[str]:
    """Run an operation to its end and return the boundaries it passed, sorted."""
    place.begin(operation, fault, trace=True)
    points = (place.folder / "trace.txt").read_text().split()
    return sorted(f"{operation.name} {fault} {point}" for point in points)


def main() -> None:
    """Print all points there are."""
    with tempfile.TemporaryDirectory() as folder, forking("points") as forks:
        media = made_media(Path(folder))
        for number, (operation, fault) in enumerate(product(OPERATIONS.values(), FAULTS)):
            home = Path(folder) / str(number)
            home.mkdir()
            with place_at(forks, home, media) as place:
                print(*traced(place, operation, fault), sep="\n")  # noqa: T201  # the output


def made_media(folder: Path) -> Path:
    """Have a sandbox render its one cached clip; return its media folder."""
    settings = SandboxSettings(folder / "first", render_seconds=0, media="cached")
    with SandboxServer(settings) as server, httpx2.Client(headers={"authorization": "Bearer any"}) as client:
        values = {"prompt": "a", "size": "1280x720"}
        video = client.post(f"{server.base_url}/videos", json=values).json()
        client.get(f"{server.base_url}/videos/{video['id']}/content", timeout=30).raise_for_status()
    return folder / "first" / "media"


if __name__ == "__main__":
    main()
