"""The demo's crash: a paid create whose answer is delayed, a killed process, and no second bill."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings

HELD_BACK_S = 20
LONGEST_WAIT_S = 30.0
RENDER_SECONDS = 1.0
FAULT = f"create=kept-but-slow@{HELD_BACK_S}:1"


@contextmanager
def forgetful_server(out: Path) -> "Iterator[SandboxServer]":
    """Run a server that delays the answer to the next create; make it the server in use."""
    settings = SandboxSettings(out / "sandbox-2", render_seconds=RENDER_SECONDS, faults=(FAULT,))
    with SandboxServer(settings) as server:
        ours = {
            "SORA_LEDGER_PROFILE": "custom",
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_API_KEY": "any-key",
        }
        with environment(ours):
            yield server


@contextmanager
def environment(ours: dict[str, str]) -> Iterator[None]:
    """Set environment variables in this context."""
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def killed_in_the_call(server: "SandboxServer", arguments: list[str]) -> None:
    """Run a command as a process, and kill it once the server has created the video but not answered."""
    already = created(server)
    process = subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-m", "cli", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + LONGEST_WAIT_S
    while created(server) == already and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    if created(server) != already + 1:
        raise click.ClickException(
            "demo: the server was not asked for the video; look at the folder's ledger"
        )


def created(server: "SandboxServer") -> int:
    """Return how many videos a server was made to create, by its own count."""
    with suppress(OSError), urllib.request.urlopen(f"{server.origin}/_sandbox/jobs") as answer:  # noqa: S310  # http on this machine
        return len(json.load(answer)["data"])
    return 0
