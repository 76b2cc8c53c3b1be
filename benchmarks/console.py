"""Response time of each console page, on a ledger of 1,000 jobs and one of 100,000.

`serve` runs as a separate process on each ledger, which is made once and cached in the temporary folder. A
person with every permission requests the same page from both in turn, one request at a time, as HTML with its
layout: each page, searches for words of prompts, and pages about one job for the newest. So other work on the
machine slows down both. The aims: a median of 100 ms and a 99th percentile of 300 ms at 100,000 jobs, and at
most 1.5 times the median at 1,000. `cpu` is the server's own work for one request. The size is the load of
the first page for a browser with an empty cache.

The searches find as many videos in both ledgers, and their pages show as many: all, 111 or one. Filters that
no video matches once read every row.

Measured on two shared cores with nothing else running, 40 requests for each page, in milliseconds at 100,000
jobs (at 1,000): inbox 5 (5), videos 9 (8), one video 9 (9), log 13 (13), spend 5 (5), operations 6 (6),
search for a word 17 (16), with 111 matches 20 (18), with one match 10 (8), jobs as of half of the log
31 (29), of shortly ago 31 (31). The largest ratio of any page was 1.15, the slowest 99th percentile 50 ms.

    .venv/bin/python benchmarks/console.py
    .venv/bin/python benchmarks/console.py --jobs 10000 --rounds 20
"""

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx2
from big_ledger import PER_JOB, big_ledger, job_id

from render_service.server.console_routes import PAGES

FEW = 1_000
ROUNDS = 60
MEDIAN_AIM_MS, P99_AIM_MS, RATIO_AIM, SIZE_AIM = 100.0, 300.0, 1.5, 100_000
START_S = 120.0
CLI = [sys.executable, "-m", "cli"]
ROLES = ("operator", "administrator", "approver")


class Spent(NamedTuple):
    """The milliseconds that each request for a page took, and the processor time of the server for one."""

    took: list[float]
    work: float


class Served(NamedTuple):
    """A server on a ledger of so many jobs, a client that is signed in there, and the server's process."""

    jobs: int
    client: httpx2.Client
    pid: int


def main() -> None:
    """Measure both ledgers and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="pages whose names contain this")
    options = parser.parse_args()
    with served(FEW) as few, served(options.jobs) as many:
        found = measure(few, many, options.rounds, options.only)
        size = loaded(many.client)
    print(f"console, {options.rounds} requests for each page, {options.jobs:,} jobs and {FEW:,} in turn")
    print(f"  {'page':24}{'median':>9}{'p99':>9}{'at few':>9}{'ratio':>7}{'cpu':>9}{'at few':>9}{'ratio':>7}")
    missed = []
    for name, (before, spent) in found.items():
        middle, late = statistics.median(spent.took), p99(spent.took)
        ratio = middle / statistics.median(before.took)
        print(
            f"  {name:24}{middle:7.1f}ms{late:7.1f}ms{statistics.median(before.took):7.1f}ms{ratio:7.2f}"
            f"{work(spent, before)}"
        )
        if middle > MEDIAN_AIM_MS or late > P99_AIM_MS or ratio > RATIO_AIM:
            missed.append(name)
    print(f"  aims: median {MEDIAN_AIM_MS:g} ms, p99 {P99_AIM_MS:g} ms, ratio {RATIO_AIM:g}", end="")
    print(f"; missed by {', '.join(missed)}" if missed else "; all met")
    print(f"  first page with styles and scripts {size:,} bytes (aim: under {SIZE_AIM:,})")


def work(spent: Spent, before: Spent) -> str:
    """Return the server's own work for a page, at few jobs too, and the ratio."""
    ratio = f"{spent.work / before.work:7.2f}" if before.work else ""
    return f"{spent.work:7.1f}ms{before.work:7.1f}ms{ratio}"


def measure(few: Served, many: Served, rounds: int, only: str) -> dict[str, tuple[Spent, Spent]]:
    """Return the times of each page on both ledgers; requests alternate, so both see the same machine."""
    measured = {}
    for name, path in pages(many.jobs).items():
        if only in name:
            both = ((few, pages(few.jobs)[name]), (many, path))
            measured[name] = asked(both, rounds)
    return measured


@contextmanager
def served(jobs: int) -> Iterator[Served]:
    """Serve a copy of the ledger of this size, and sign in."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder) / "ledger.db"
        shutil.copyfile(big_ledger(jobs * PER_JOB), ledger)
        environment = os.environ | {
            "SORA_LEDGER_URL": str(ledger),
            "SORA_LEDGER_PROFILE": "sandbox",
            "SORA_LEDGER_CONSOLE_SECRET": "0123456789abcdef" * 2,
        }
        granted = subprocess.run(
            [*CLI, "access", "grant", "bench", *(f"--role={role}" for role in ROLES)],
            env=environment,
            check=True,
            capture_output=True,
        )
        key = json.loads(granted.stdout)["key"]
        with serving(environment, folder) as (origin, pid), signed_in(origin, key) as client:
            yield Served(jobs, client, pid)


def pages(jobs: int) -> dict[str, str]:
    """Return the addresses to measure, by the name of the page."""
    newest, position = job_id(jobs - 1), str(jobs * PER_JOB // 2)
    plain = {page.path: page.path for page in PAGES}
    parts = {
        name: path.replace("{name}", newest).replace("{position}", position) for name, path in plain.items()
    }
    digits = len(str(jobs - 1))  # as many as the greatest number of a job has
    older = {
        "search, one word": "/videos?q=canal",
        "search, 111 matches": f"/videos?q=number%20{'7' * (digits - 2)}",
        "search, one match": f"/videos?q=number%20{'7' * digits}",
        "filter without a match": "/videos?state=failed&q=canal",
        "requester without videos": "/videos?actor=nobody",
        "spend, everything": "/spend?period=all&by=actor",
        "compare": f"/compare?left={newest}&right={job_id(0)}",
        "as of half of it": f"/operations/as-of?position={position}",
        "as of shortly ago": f"/operations/as-of?position={jobs * PER_JOB - 5}",
    }
    return {name: path for name, path in (parts | older).items() if "{" not in path}


def asked(both: Sequence[tuple[Served, str]], rounds: int) -> tuple[Spent, Spent]:
    """Return the milliseconds and the server's work for each request of a page, at both servers."""
    took, worked = [[], []], []
    for server, path in both:
        answer = server.client.get(path)  # the first one reads the template
        if answer.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR:
            raise SystemExit(f"{path}: {answer.status_code}\n{answer.text}")
        worked.append(work_ms(server.pid))
    for _ in range(rounds):
        for (server, path), times in zip(both, took, strict=True):
            began = time.perf_counter()
            server.client.get(path)
            times.append((time.perf_counter() - began) * 1000)
    few, many = (
        Spent(times, (work_ms(server.pid) - before) / rounds)
        for (server, _), times, before in zip(both, took, worked, strict=True)
    )
    return few, many


def work_ms(pid: int) -> float:
    """Return the processor time of a process so far; Linux counts it in hundredths of a second."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def loaded(client: httpx2.Client) -> int:
    """Return the transferred size of the first page and its resources in bytes."""
    first = client.get("/", follow_redirects=True)
    named = set(re.findall(r'(?:src|href)="(/console/static/[^"]+)"', first.text))
    total = len(first.content)
    for address in named:
        with client.stream("GET", address.removeprefix("/console")) as answer:
            total += sum(map(len, answer.iter_raw()))
    return total


@contextmanager
def signed_in(origin: str, key: str) -> Iterator[httpx2.Client]:
    """Sign in as a browser does."""
    with httpx2.Client(base_url=f"{origin}/console", timeout=120, headers={"origin": origin}) as client:
        client.post("/sign-in", data={"key": key})
        yield client


@contextmanager
def serving(environment: dict[str, str], folder: str) -> Iterator[tuple[str, int]]:
    """Run `serve`; yield where it is and its process once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*CLI, "serve", "--port", str(port), "--no-work", "--no-notifications"]
    with (Path(folder) / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    origin, until = f"http://127.0.0.1:{port}", time.monotonic() + START_S
    try:
        while time.monotonic() < until:
            with suppress(httpx2.HTTPError):
                httpx2.get(f"{origin}/readyz", timeout=START_S).raise_for_status()
                break
            time.sleep(0.1)
        yield origin, process.pid
    finally:
        process.terminate()
        process.wait()


def p99(spent: list[float]) -> float:
    """Return the 99th percentile."""
    return sorted(spent)[min(len(spent) - 1, round(len(spent) * 0.99))]


if __name__ == "__main__":
    main()
