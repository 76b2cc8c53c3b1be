"""The command line as people run it: processes, in a folder of their own."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from ledger.log.opening import open_ledger
from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.verify import verify
from tests.forks import Forks, Running

ROOT = Path(__file__).parents[2]
OURS = ("SORA_", "OPENAI_", "TRACEPARENT")


@dataclass
class Place:
    """A folder and an environment in which commands run."""

    folder: Path
    forks: Forks
    environment: dict[str, str] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)

    def start(self, *arguments: str, **more: str) -> Running:
        """Start a command; `more` are variables of its environment."""
        process = self.forks.popen(arguments, self.folder, self.environment | more)
        self.running.append(process)
        return process

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, in a process of its own (`tests/forks.py`)."""
        ended = self.forks.run(arguments, self.folder, self.environment | more)
        return subprocess.CompletedProcess(arguments, *ended)

    def json(self, *arguments: str, **more: str) -> Any:
        """Run a command and return its document."""
        return json.loads(self.run(*arguments, **more).stdout)

    def jobs(self) -> list[dict[str, Any]]:
        """Return the ledger's jobs, newest first."""
        with open_ledger(str(self.folder / "ledger.db")) as ledger:
            return [to_builtins(job) for job in ledger.jobs()]

    def is_intact(self) -> bool:
        """Say whether the ledger verifies."""
        with SqliteSnapshot(self.folder / "ledger.db") as snapshot:
            return verify(snapshot).clean


def clean_environment() -> dict[str, str]:
    """Return this environment without what would name a ledger, a server or a trace."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    python_path = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
    return environment | {"PYTHONPATH": python_path, "PYTHONWARNINGS": "ignore"}


@pytest.fixture
def place(tmp_path: Path, forks: Forks) -> Iterator[Place]:
    """Return a new place with the embedded sandbox as the server; what still runs is ended."""
    environment = clean_environment() | {
        "SORA_LEDGER_URL": "sqlite:///ledger.db",
        "SORA_LEDGER_PROFILE": "sandbox",
        "SORA_SANDBOX_SECONDS": "0",
    }
    made = Place(tmp_path, forks, environment)
    yield made
    for process in made.running:
        process.kill()
        process.communicate()


@pytest.fixture
def seen() -> Callable[[Running, str], str]:
    """Wait for a log line that names an event, and return it."""

    def wait(process: Running, event: str) -> str:
        assert process.stderr
        for line in process.stderr:
            if f'"{event}"' in line:
                return line
        raise AssertionError(f"{event} was never logged")

    return wait


@pytest.fixture
def interrupt() -> Callable[[Running], int]:
    """Press Ctrl-C and return the exit code."""

    def press(process: Running) -> int:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        return process.returncode

    return press


@pytest.fixture
def own_sandbox(place: Place) -> Callable[..., str]:
    """Run ``sora-ledger sandbox`` beside the commands and make it their server; return its origin."""

    def begin(*options: str) -> str:
        process = place.start("sandbox", "--port", "0", "--data", "server", *options)
        assert process.stdout
        lines = [process.stdout.readline().strip() for _ in range(2)]
        place.environment |= dict(line.removeprefix("export ").split("=", 1) for line in lines)
        place.environment["SORA_LEDGER_PROFILE"] = "custom"
        assert process.stderr
        process.stderr.readline()
        return place.environment["OPENAI_BASE_URL"].removesuffix("/v1")

    return begin
