"""The command line in this process, in a folder of its own, with nothing in its environment."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cli.main import run
from sora_adapter.sandbox.server import SandboxServer
from tests.conftest import Faults
from tests.forks import Forks

OURS = ("SORA_", "OPENAI_", "OTEL_", "TRACEPARENT")


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def data(self) -> str:
        """What stdout has that is no error."""
        return "" if self.out.startswith('{\n  "error": {') else self.out

    @property
    def error(self) -> str:
        """What stderr tells a person: plain lines, and the messages of log lines that have one."""
        return "\n".join(filter(None, map(_said, self.err.splitlines())))

    @property
    def log(self) -> list[Any]:
        """The log lines of steps."""
        lines = [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] not in TOLD]


TOLD = {"note": "", "command.failed": "Error: "}


def _said(line: str) -> str:
    logged = json.loads(line) if line.startswith("{") else {"event": "note", "message": line}
    return TOLD[logged["event"]] + logged["message"] if logged["event"] in TOLD else ""


Sora = Callable[..., Ended]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module", autouse=True)
def _ledgers(copied_ledgers: None) -> None:
    """Begin the ledgers of these tests quickly."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a new folder with a clean environment; the ledger is `ledger.db` in it."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    home = tmp_path / "work"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("SORA_LEDGER_URL", "sqlite:///ledger.db")
    monkeypatch.setenv("SORA_LEDGER_ACTOR", "ana")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return home


@pytest.fixture
def sora(folder: Path, capsys: pytest.CaptureFixture[str]) -> Sora:
    """Run a command in this process."""

    def command(*arguments: str) -> Ended:
        capsys.readouterr()
        code = run(list(arguments))
        return Ended(code, *capsys.readouterr())

    return command


@pytest.fixture
def server(
    sandbox: Callable[..., SandboxServer], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., SandboxServer]:
    """Start a sandbox and make it the server, with a key; settings may be changed."""
    monkeypatch.setenv("OPENAI_API_KEY", os.environ.get("OPENAI_API_KEY", "sk-test-0123456789"))

    def begin(**changes: Any) -> SandboxServer:
        running = sandbox(**changes)
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        return running

    return begin


@pytest.fixture
def faulty(faults: Faults, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Make the server of faults the server."""
    monkeypatch.setenv("OPENAI_BASE_URL", faults.base_url)
    return faults


@pytest.fixture
def as_process(folder: Path, forks: Forks) -> Sora:
    """Run a command as a process, with `options` a new interpreter."""

    def command(*arguments: str, **options: Any) -> Ended:
        if not options:
            return Ended(*forks.run(arguments, folder, os.environ))
        ran = subprocess.run(
            [sys.executable, "-m", "cli", *arguments], check=False, capture_output=True, text=True, **options
        )
        return Ended(ran.returncode, ran.stdout, ran.stderr)

    return command


@pytest.fixture
def denied(sora: Sora) -> str:
    """Return the id of a denied job: what a ledger can hold without a server."""
    ended = sora("create", "--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox")
    return str(ended.document["job_id"])


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Terminal, Terminal]]:
    """Make stdout and stderr terminals for what follows."""

    def become() -> tuple[Terminal, Terminal]:
        streams = Terminal(), Terminal()
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        return streams

    return become


@pytest.fixture(scope="session")  # opened buckets are cached in the process
def object_store() -> Iterator[str]:
    """Start a server of S3's protocol with one bucket; return its address."""
    command = [sys.executable, "-m", "moto.server", "-p", "0", "-H", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        address = next(found[0] for line in process.stderr if (found := re.findall(r"http://[0-9.:]+", line)))
        httpx2.put(f"{address}/checkpoints").raise_for_status()
        yield address
        process.terminate()


@pytest.fixture
def bucket(object_store: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make that server the one of every ``s3://``; return the name of its bucket."""
    monkeypatch.setenv("AWS_ENDPOINT", object_store)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    return "checkpoints"
