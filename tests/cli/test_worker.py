"""`worker` and `queue` as an operator has them: processes that are stopped, stalled and killed, and several.

The oracle is the server's own count of what it was asked to create, and `verify`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event, Timer
from typing import Any

import httpx2
import pytest

from ledger.log.opening import open_ledger, open_snapshot
from ledger.verify import verify
from render_service.worker.worker import CUTTING_OFF_S, FINISHING_S
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora
from tests.forks import Forks
from tests.forks import Running as Forked
from tests.ledger.store.postgres.server import Databases

ROOT = Path(__file__).parents[2]
QUICK = ("--interval", "0.2", "--grace", "0")
SHORT = ("--lease", "2")
PATIENCE_S = 120.0
HURRIED = """
import sys
from cli.main import main
from render_service.worker import worker
worker.FINISHING_S = 0.5
main(sys.argv[1:])
"""


class Running:
    """A worker as a process of its own."""

    def __init__(self, process: subprocess.Popen[str] | Forked) -> None:
        self.process = process
        self._heard: list[dict[str, Any]] = []

    def hears(self, event: str) -> dict[str, Any]:
        """Wait for a log line, and return it."""
        assert self.process.stderr
        late = Timer(PATIENCE_S, self.process.kill)  # then its stderr ends
        late.start()
        try:
            return self._next(event)
        finally:
            late.cancel()

    def _next(self, event: str) -> dict[str, Any]:
        assert self.process.stderr
        for line in self.process.stderr:
            if line.startswith("{"):
                self._heard.append(json.loads(line))
                if self._heard[-1]["event"] == event:
                    return self._heard[-1]
        raise AssertionError(f"the worker ended without {event}: {self._heard}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> tuple[int, dict[str, Any]]:
        """Wait for the end; return the exit code and the document on stdout."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        self._heard += [json.loads(line) for line in err.splitlines() if line.startswith("{")]
        return self.process.returncode, json.loads(out) if out else {}

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of an event, after the end."""
        return [line for line in self._heard if line["event"] == event]


@pytest.fixture
def worker(folder: Path, monkeypatch: pytest.MonkeyPatch, forks: Forks) -> Iterator[Callable[..., Running]]:
    """Start workers, all of which are gone afterwards."""
    monkeypatch.setenv("SORA_LEDGER_PROFILE", "openai")
    started: list[Running] = []

    def start(*arguments: str, program: Sequence[str] = ()) -> Running:
        command = ["worker", "--json", *QUICK, *arguments]
        process: subprocess.Popen[str] | Forked
        if program:
            process = subprocess.Popen(
                [sys.executable, *program, *command],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        else:
            process = forks.popen(command, folder, os.environ)
        started.append(Running(process))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def queued(sora: Sora, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Queue some renders; returns their job ids."""
    monkeypatch.setenv("SORA_LEDGER_PROFILE", "openai")

    def ask(count: int = 1) -> list[str]:
        requests = [sora("create", "--prompt", f"fox {number}", "--queue") for number in range(count)]
        return [ended.document["job_id"] for ended in requests]

    return ask


def states() -> set[str]:
    with open_ledger(os.environ["SORA_LEDGER_URL"]) as ledger:
        return {job.state.value for job in ledger.jobs()}


def types(job_id: str) -> list[str]:
    with open_ledger(os.environ["SORA_LEDGER_URL"]) as ledger:
        return [record.type for record in ledger.history(job_id)]


def is_intact() -> bool:
    with open_snapshot(os.environ["SORA_LEDGER_URL"]) as snapshot:
        return verify(snapshot).clean


def creates(server: Any) -> int:
    return int(httpx2.get(f"{server.origin}/_sandbox/requests").json().get("creates", 0))


def befallen(server: Any) -> None:
    """Wait until every planned fault has befallen a request, and a create was carried out."""
    with httpx2.Client() as client:
        while client.get(f"{server.origin}/_sandbox/faults").json()["faults"]:
            time.sleep(0.01)
        while not client.get(f"{server.origin}/_sandbox/jobs").json()["data"]:
            time.sleep(0.01)


def test_drain_ends_once_everything_is_stored(
    sora: Sora,
    server: Callable[..., SandboxServer],
    queued: Callable[..., list[str]],
    worker: Callable[..., Running],
) -> None:
    server()
    queued(3)
    code, document = worker("--drain").ended()
    assert (code, document["submitted"], document["closed"]) == (0, 3, 3)
    assert states() == {"stored"}
    assert sora("verify").code == sora("audit").code == 0


def test_the_queue_shows_depth_age_and_holders(
    sora: Sora,
    server: Callable[..., SandboxServer],
    queued: Callable[..., list[str]],
    worker: Callable[..., Running],
    held_back: Event,
) -> None:
    server(faults=("create=slow@3",))
    (first,) = queued()
    before = sora("queue").document
    assert (before["due"], before["oldest_due_s"] > 0, before["leases"]) == (1, True, [])
    working = worker()
    working.hears("submission.intended")
    during = sora("queue")
    assert [during.document[name] for name in ("due", "leased")] == [0, 1]
    (lease,) = during.document["leases"]
    assert (lease["job_id"], f":{working.process.pid}:" in lease["holder"]) == (first, True)
    row = sora("queue", "--format=text").out.splitlines()[2].split()
    assert (row[0], row[2]) == (first, lease["holder"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_worker_with_everything_finished_or_handed_back(
    server: Callable[..., SandboxServer],
    queued: Callable[..., list[str]],
    worker: Callable[..., Running],
    number: int,
) -> None:
    running = server(render_seconds=60)
    queued(3)
    working = worker()
    for _ in range(3):
        working.hears("submission.accepted")
    working.signal(number)
    assert working.ended()[0] == 0
    with open_ledger(os.environ["SORA_LEDGER_URL"]) as ledger:
        assert ledger.store.queue.leases() == []
        assert ledger.store.tally().due + ledger.store.tally().waiting == 3
    assert creates(running) == 3
    assert is_intact()


def test_a_worker_that_is_to_end_waits_less_than_ten_seconds_for_its_calls() -> None:
    assert FINISHING_S + CUTTING_OFF_S < 10


def test_a_call_that_hangs_is_handed_back_and_its_video_found_by_the_next(
    server: Callable[..., SandboxServer],
    queued: Callable[..., list[str]],
    worker: Callable[..., Running],
    held_back: Event,
) -> None:
    running = server(faults=("create=kept-but-slow@30:1",), clock=time.time)
    queued()
    working = worker(program=("-c", HURRIED))
    working.hears("submission.intended")
    befallen(running)
    working.signal(signal.SIGTERM)
    working.ended()
    with open_ledger(os.environ["SORA_LEDGER_URL"]) as ledger:
        assert (ledger.store.queue.leases(), ledger.store.tally().due) == ([], 1)
    assert states() == {"submitting"}
    assert worker("--drain").ended()[0] == 0
    assert (states(), creates(running)) == ({"stored"}, 1)
    assert is_intact()


def test_a_second_signal_ends_a_worker_at_once_and_loses_nothing(
    server: Callable[..., SandboxServer],
    queued: Callable[..., list[str]],
    worker: Callable[..., Running],
    held_back: Event,
) -> None:
    running = server(faults=("create=kept-but-slow@30:1",), clock=time.time)
    queued()
    working = worker(*SHORT)
    working.hears("submission.intended")
    befallen(running)
    working.signal(signal.SIGTERM)
    working.hears("worker.stopping")
    working.signal(signal.SIGTERM)
    assert working.ended()[0] == -signal.SIGTERM
    assert worker("--drain").ended()[0] == 0
    assert (states(), creates(running)) == ({"stored"}, 1)


def test_a_worker_that_was_killed_is_taken_over_from_once_its_lease_is_over(
    server: Callable[..., SandboxServer],
    queued: Callable[..., list[str]],
    worker: Callable[..., Running],
    held_back: Event,
) -> None:
    running = server(faults=("create=kept-but-slow@2:1",), clock=time.time)
    (job,) = queued()
    working = worker(*SHORT)
    working.hears("submission.intended")
    befallen(running)
    working.signal(signal.SIGKILL)
    working.ended()
    assert worker("--drain").ended()[0] == 0
    assert (states(), creates(running)) == ({"stored"}, 1)
    assert types(job).count("submission.recovered") == 1
    assert is_intact()


@pytest.mark.parametrize(
    ("fault", "expected"), [("create=kept-but-slow@1:1", "lease.lost"), ("content=slow@1:1", "job.trouble")]
)
def test_a_worker_that_stalls_past_its_lease_and_wakes_up_cannot_write(
    sora: Sora,
    server: Callable[..., SandboxServer],
    queued: Callable[..., list[str]],
    worker: Callable[..., Running],
    held_back: Event,
    fault: str,
    expected: str,
) -> None:
    running = server(faults=(fault,), clock=time.time)
    (job,) = queued()
    stalled = worker(*SHORT)
    stalled.hears("submission.intended")
    befallen(running)
    stalled.signal(signal.SIGSTOP)
    code, other = worker("--drain").ended()
    assert (code, other["closed"], states()) == (0, 1, {"stored"})
    before = types(job)
    stalled.signal(signal.SIGCONT)
    held_back.set()
    assert stalled.hears(expected)["job_id"] == job
    stalled.signal(signal.SIGTERM)
    assert stalled.ended()[0] == 0
    assert (types(job), creates(running)) == (before, 1)
    assert is_intact()
    assert sora("audit").code == 0


def test_workers_on_postgresql_submit_each_job_once(
    server: Callable[..., SandboxServer],
    queued: Callable[..., list[str]],
    worker: Callable[..., Running],
    databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SORA_LEDGER_URL", databases.url())
    running = server()
    queued(12)
    all_of_them = [worker("--drain", "--at-once", "3") for _ in range(4)]
    ends = [one.ended() for one in all_of_them]
    assert {code for code, _ in ends} == {0}
    assert sum(document["closed"] for _, document in ends) == 12
    assert (states(), creates(running)) == ({"stored"}, 12)
    assert is_intact()


def test_worker_processes_share_the_limits(
    server: Callable[..., SandboxServer], queued: Callable[..., list[str]], worker: Callable[..., Running]
) -> None:
    running = server(running_jobs=2, render_seconds=0.3, clock=time.time)
    jobs = queued(6)
    limits = ("--drain", "--running", "sora-2=2", "--per-minute", "sora-2=600")
    ends = [one.ended() for one in [worker(*limits), worker(*limits)]]
    assert {code for code, _ in ends} == {0}
    assert [name for job in jobs for name in types(job) if name == "submission.rejected"] == []
    assert creates(running) == 6


def test_what_a_person_does_with_a_job_in_hand_is_answered_and_harms_nobody(
    sora: Sora,
    server: Callable[..., SandboxServer],
    queued: Callable[..., list[str]],
    worker: Callable[..., Running],
    held_back: Event,
) -> None:
    running = server(faults=("create=kept-but-slow@3:1",), clock=time.time)
    (job,) = queued()
    working = worker("--drain")
    working.hears("submission.intended")
    resumed, cancelled = sora("resume", job), sora("cancel", job)
    assert (resumed.code, "may have been submitted already" in resumed.error) == (1, True)
    assert (cancelled.code, "a video may exist, so it cannot be withdrawn" in cancelled.error) == (1, True)
    polled = sora("poll", job, "--poll-interval", "0.1")
    assert (polled.code, "Traceback" in polled.err) == (6, False)
    held_back.set()
    assert working.ended()[0] == 0
    assert sora("poll", job).code == 0
    assert (states(), creates(running)) == ({"stored"}, 1)
    assert is_intact()


def test_a_person_who_polls_beside_a_worker_gets_the_same_end(
    sora: Sora,
    server: Callable[..., SandboxServer],
    queued: Callable[..., list[str]],
    worker: Callable[..., Running],
) -> None:
    server(render_seconds=1, clock=time.time)
    (job,) = queued()
    working = worker("--drain")
    working.hears("submission.accepted")
    assert sora("poll", job, "--poll-interval", "0.1").code == 0
    assert working.ended()[0] == 0
    assert types(job).count("render.closed") == types(job).count("asset.stored") == 1
    assert is_intact()


def test_a_worker_needs_a_ledger_a_key_and_limits_it_can_read(
    sora: Sora, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = sora("worker", "--drain", "--profile", "sandbox")
    assert (none.code, "ledger" in none.error) == (7, True)
    assert sora("create", "--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox").code == 3
    without_key = sora("worker", "--drain", "--profile", "openai")
    assert (without_key.code, "OPENAI_API_KEY is not set" in without_key.error) == (2, True)
    wrong = sora("worker", "--running", "sora-2=many", "--profile", "sandbox")
    assert (wrong.code, "--running sora-2=many: expected MODEL=N" in wrong.error) == (2, True)
    assert sora("worker", "--lease", "0", "--profile", "sandbox").code == 2
