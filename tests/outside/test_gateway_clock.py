"""The clock is set by an hour under a gateway: nothing is billed twice, and nothing waits an hour.

The clock is that of the process alone: libfaketime answers its questions for the time, and SQLite's.
"""

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.outside.conftest import Gateway, Outside, Person, until
from tests.outside.test_gateway_gets import FAST
from tests.outside.test_gateway_refusals import ask
from tests.outside.test_half_requests import is_open

Start = Callable[..., Outside]
HOUR_S = 3600
WAITED_S = 60
"""Longer than a lease of these gateways, and much shorter than the step."""

FAKED = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
pytestmark = pytest.mark.skipif(
    FAKED is None, reason="libfaketime is not installed (Debian package libfaketime), so no clock can be set"
)


class Machine:
    """A gateway whose clock can be set."""

    def __init__(self, person: Person, offset: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.gateway = Gateway(person, int(free.getsockname()[1]))
        self._offset = offset
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = person.environment | {
            "LD_PRELOAD": str(FAKED),
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.set(0)

    def set(self, offset_s: int) -> None:
        """Set the clock to so many seconds beside the right time."""
        part = self._offset.with_suffix(".part")
        part.write_text(f"{offset_s:+d}\n")
        part.replace(self._offset)

    def start(self) -> None:
        """Start the gateway."""
        folder, port = self.gateway.person.folder, str(self.gateway.port)
        command = [sys.executable, "-m", "cli", "serve", "--port", port, *FAST, "--lease", "20"]
        with (folder / f"serve-{port}.err").open("ab") as errors:
            self._process = subprocess.Popen(
                command, cwd=folder, env=self._environment, stdout=errors, stderr=errors
            )
        until(lambda: is_open(self.gateway.port), WAITED_S)

    def kill(self) -> None:
        """Kill the gateway."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def states(self) -> list[str]:
        """Return the states of all jobs, the newest first."""
        return [job["state"] for job in self.gateway.person("jobs").document["jobs"]]


@pytest.fixture
def machine(person: Person, tmp_path: Path) -> Iterator[Callable[[Outside], Machine]]:
    made: list[Machine] = []

    def make(server: Outside) -> Machine:
        made.append(Machine(person.at(server), tmp_path / "offset"))
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.kill()


def resend(gateway: Gateway, key: str, body: Any) -> Any:
    """Send a request as an SDK sends it again."""
    request = urllib.request.Request(f"{gateway.base_url}/videos", json.dumps(body).encode())
    request.add_header("authorization", f"Bearer {key}")
    request.add_header("x-stainless-retry-count", "1")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
def test_a_clock_that_is_set_bills_nothing_twice_and_holds_nothing_up(
    outside: Start, machine: Callable[[Outside], Machine], step_s: int
) -> None:
    server = outside(status="in_progress")
    ours = machine(server)
    gateway = ours.gateway
    key = gateway.grant("app", "requester", requests_per_minute="100")
    soon = f"{datetime.now(UTC) + timedelta(minutes=30):%Y-%m-%dT%H:%M:%SZ}"
    expiring = gateway.grant("guest", "requester", expires=soon)
    made = ask(gateway, "POST", "/v1/videos", key, {"prompt": "a kite"}).document
    until(lambda: ours.states() == ["running"] and server.requests("GET"))
    ours.set(step_s)
    assert resend(gateway, key, {"prompt": "a kite"})["id"] == made["id"]
    assert ask(gateway, "GET", "/v1/videos", expiring).status == (401 if step_s > 0 else 200)
    server.behave(status=None)
    until(lambda: ours.states() == ["stored"], WAITED_S)
    server.behave(status="in_progress")
    assert ask(gateway, "POST", "/v1/videos", key, {"prompt": "an owl"}).status == 200
    until(lambda: ours.states() == ["running", "stored"])
    ours.kill()
    ours.set(2 * step_s)
    server.behave(status=None)
    ours.start()
    until(lambda: ours.states() == ["stored"] * 2, WAITED_S)
    assert [bill["prompt"] for bill in server.bills()] == ["a kite", "an owl"]
    assert gateway.person("verify").code == 0
    assert gateway.person("audit").code == 0
