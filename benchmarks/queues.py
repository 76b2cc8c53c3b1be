"""Our work queue against `procrastinate` and `pgqueuer`: rate, takeover, and duplicate work.

The same PostgreSQL, the same work (`queue_workers.py`: claim, one POST and one GET to a sandbox in a separate
process, complete), four processes with 16 jobs each. Every five seconds one of them is killed and another
started. A dead process's job is due again after ten seconds in each queue. The sides alternate.

- *jobs/s*: until nine tenths are done, so that waiting for the last dead process does not count.
- *taken over*: from the kill until another process begins a job that the dead one had begun.
- *made twice*: jobs for which the sandbox made more than one video, by the sandbox's own count.

A queue alone cannot prevent the second video: the process may die after the POST and before it reports it. A
fourth side shows what the ledger adds. Its workers take jobs from our queue too, record an intent before the
call and an answer after it, fenced by the lease, and search for the video of an interrupted attempt. They
also download, probe and store every video, so their rate is not comparable.

    .venv/bin/pip install --no-deps --require-hashes --target .venv/queues -r benchmarks/queues.lock
    .venv/bin/python benchmarks/queues.py
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import httpx2
from worker import fresh, postgresql, queue, sandbox

from ledger.log.opening import open_ledger, open_snapshot
from ledger.store.filters import RecordFilter
from ledger.verify import verify

JOBS = 2_000
ROUNDS = 3
PROCESSES = 4
KILLED_EVERY_S = 5.0
AT_ONCE, LEASE_S = "16", "10"
"""As in `queue_workers.py`, for the worker of the ledger."""
LONGEST_S = 300.0
MOST = 0.9
WORKERS = Path(__file__).with_name("queue_workers.py")
QUEUES = ("ours", "procrastinate", "pgqueuer")
LEDGER = "ours, in the ledger"
NEAR = """\
[near]
title = "A sandbox on this machine"
description = "It lists a video as soon as its call can have made one."
needs_key = true
key_variable = "OPENAI_API_KEY"
operations = ["create", "retrieve", "list", "content"]
variants = ["video"]
list_proves_absence = true
takes_effect_s = 10
"""
"""The server of the ledger's workers. By default, an interrupted call proves nothing for 600 s."""


class Kill(NamedTuple):
    """A killed process, and the time of the kill, by both clocks."""

    pid: int
    at: float
    at_utc: float


class Worked(NamedTuple):
    """The results of one round of one side."""

    rate: float
    taken_over_s: list[float]
    never_taken_over: int
    twice: int
    kills: int


def main() -> None:
    """Alternate all sides."""
    reader = argparse.ArgumentParser(description="Compare work queues on one PostgreSQL.")
    reader.add_argument("--jobs", type=int, default=JOBS)
    reader.add_argument("--rounds", type=int, default=ROUNDS)
    reader.add_argument("--side", choices=(*QUEUES, LEDGER), action="append", help="Measure only these.")
    options = reader.parse_args()
    rounds: dict[str, list[Worked]] = {name: [] for name in options.side or (*QUEUES, LEDGER)}
    with tempfile.TemporaryDirectory() as folder, postgresql() as url:
        for number in range(options.rounds):
            for name, worked in rounds.items():
                place = Path(folder) / f"{number}-{len(name)}"
                place.mkdir()
                database = fresh(url, f"q{number}_{len(name)}")
                with sandbox(place) as base_url:
                    run = in_ledger if name == LEDGER else in_queue
                    worked.append(run(name, database, base_url, place, options.jobs))
                print(f"{name:20} {line(worked[-1:])}", flush=True)
    report(options.jobs, rounds)


def report(jobs: int, rounds: dict[str, list[Worked]]) -> None:
    """Print the medians."""
    print(f"\n{jobs} jobs, {PROCESSES} processes, one killed every {KILLED_EVERY_S:g} s; median of rounds")
    for name, every in rounds.items():
        print(f"  {name:20} {line(every)}")


def line(every: list[Worked]) -> str:
    """Return the results of one side's rounds."""
    taken = sorted(second for each in every for second in each.taken_over_s)
    over = f"{statistics.median(taken):.1f} s, at most {taken[-1]:.1f} s" if taken else "none"
    return (
        f"{statistics.median(each.rate for each in every):6.1f} jobs/s; "
        f"taken over after {over} ({len(taken)} jobs); "
        f"made twice {sum(each.twice for each in every)} in {sum(each.kills for each in every)} kills"
    )


class Processes:
    """Processes of one side; from time to time one is killed and replaced."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._start = lambda: subprocess.Popen(
            command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=log.open("a")
        )
        self._running = [self._start() for _ in range(PROCESSES)]
        self._killed_at = time.monotonic()
        self.kills: list[Kill] = []

    @property
    def next_to_die(self) -> int:
        """The id of the process that is killed next."""
        return self._running[0].pid

    def kill_if_due(self) -> bool:
        """Kill the oldest process and start another one, if it is time."""
        if time.monotonic() < self._killed_at + KILLED_EVERY_S:
            return False
        oldest = self._running.pop(0)
        assert oldest.poll() is None, f"a worker ended by itself: {oldest.returncode}"
        oldest.kill()
        self.kills.append(Kill(oldest.pid, time.monotonic(), time.time()))
        oldest.wait()
        self._running.append(self._start())
        self._killed_at = time.monotonic()
        return True

    def end(self) -> None:
        """Kill all of them."""
        for process in self._running:
            process.kill()
            process.wait()


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[Processes]:
    """Run the processes of one side."""
    processes = Processes(command, environment, log)
    try:
        yield processes
    finally:
        processes.end()


# --- a queue alone ---


class Noted(NamedTuple):
    """A line of a worker: it began a job, or ended it."""

    pid: int
    job: str
    at: float
    ended: bool


def in_queue(name: str, url: str, base_url: str, folder: Path, jobs: int) -> Worked:
    """Let a queue's workers do the jobs."""
    environment = {"QUEUE_URL": url, "OPENAI_BASE_URL": base_url, "QUEUE_LOG": str(folder / "log")}
    command = [sys.executable, "-W", "ignore", str(WORKERS), name]
    subprocess.run([*command, str(jobs)], env=os.environ | environment, check=True)
    began = time.monotonic()
    with running(command, environment, folder / "stderr") as processes:
        for notes in until_done(folder / "log", processes, jobs, folder / "stderr"):
            ends = notes
    done = sorted({note.job: note.at for note in reversed(ends) if note.ended}.values())
    most = done[round(len(done) * MOST) - 1]
    taken, never = taken_over(ends, processes.kills)
    return Worked(round(jobs * MOST) / (most - began), taken, never, twice(base_url), len(processes.kills))


def until_done(log: Path, processes: Processes, jobs: int, errors: Path) -> Iterator[list[Noted]]:
    """Kill from time to time until all jobs are done; yield the notes so far."""
    ends = time.monotonic() + LONGEST_S
    while time.monotonic() < ends:
        processes.kill_if_due()
        notes = read_notes(log)
        yield notes
        if len({note.job for note in notes if note.ended}) == jobs:
            return
        time.sleep(0.25)
    sys.exit(f"not done after {LONGEST_S:g} s; the workers say: {errors.read_text()[-2000:]}")


def read_notes(log: Path) -> list[Noted]:
    """Return the workers' notes, in order of time."""
    notes = []
    for line in log.read_text().splitlines() if log.exists() else []:
        what, pid, job, at = line.split()
        notes.append(Noted(int(pid), job, float(at), what == "end"))
    return sorted(notes, key=lambda note: note.at)


def taken_over(notes: list[Noted], kills: list[Kill]) -> tuple[list[float], int]:
    """Return the takeover times of interrupted jobs, and the number that were not taken over."""
    taken, never = [], 0
    for kill in kills:
        ended = {note.job for note in notes if note.ended and note.at <= kill.at}
        begun = {note.job for note in notes if note.pid == kill.pid and not note.ended} - ended
        for job in begun:
            again = [note.at for note in notes if note.job == job and not note.ended and note.pid != kill.pid]
            again = [at for at in again if at > kill.at]
            taken += [min(again) - kill.at] if again else []
            never += not again
    return taken, never


# --- the ledger's workers ---


def in_ledger(_: str, url: str, base_url: str, folder: Path, jobs: int) -> Worked:
    """Let the workers of the ledger do the jobs, and check the record."""
    (folder / "profiles.toml").write_text(NEAR)
    environment = {
        "OPENAI_API_KEY": "any",
        "OPENAI_BASE_URL": base_url,
        "SORA_LEDGER_PROFILE": "near",
        "SORA_LEDGER_PROFILES": str(folder / "profiles.toml"),
        "SORA_LEDGER_URL": url,
        "SORA_LEDGER_ASSETS": str(folder / "assets"),
    }
    asyncio.run(queue(environment, folder, jobs))
    command = [sys.executable, "-m", "cli", "worker", "--at-once", AT_ONCE, "--lease", LEASE_S]
    command += ["--grace", LEASE_S, "--interval", "0.5"]
    held: list[tuple[float, set[str]]] = []
    began, most_at = time.monotonic(), 0.0
    with running(command, environment, folder / "stderr") as processes, open_ledger(url) as ledger:
        while (stored := ledger.store.tally().jobs.get("stored", 0)) < jobs:
            if stored >= jobs * MOST and not most_at:
                most_at = time.monotonic()
            mark = f":{processes.next_to_die}:"
            owned = {lease.job_id for lease in ledger.store.queue.leases() if mark in lease.holder}
            if processes.kill_if_due():
                held.append((processes.kills[-1].at_utc, owned))
            if time.monotonic() > began + LONGEST_S:
                sys.exit(f"not done after {LONGEST_S:g} s: {ledger.store.tally().jobs}")
            time.sleep(0.25)
        records = [(each.stream, each.recorded_at) for each in ledger.read(RecordFilter())]
    times = [(stream, datetime.fromisoformat(at).timestamp()) for stream, at in records]
    taken = []
    for at, owned in held:
        later = [(stream, moment) for stream, moment in times if moment > at and stream in owned]
        taken += [moment - at for moment in dict(reversed(later)).values()]
    with open_snapshot(url) as snapshot:
        if not verify(snapshot).clean:
            sys.exit("the ledger is not intact")
    rate = round(jobs * MOST) / ((most_at or time.monotonic()) - began)
    return Worked(rate, taken, 0, twice(base_url), len(processes.kills))


def twice(base_url: str) -> int:
    """Return the number of jobs for which the sandbox made more than one video."""
    prompts: Counter[str] = Counter()
    jobs = httpx2.get(base_url.removesuffix("/v1") + "/_sandbox/jobs", timeout=60).json()
    for job in jobs["data"]:
        prompts[job["prompt"]] += 1
    return sum(count > 1 for count in prompts.values())


if __name__ == "__main__":
    main()
