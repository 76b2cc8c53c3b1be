"""``verify`` and ``replay`` of a long ledger, against a bare read of the same rows.

`verify` runs in one process and in two. Its peer reads every row of every table that `verify` reads, and
takes three SHA-256 for each record, leaf, node and payload, in one process. The peer of `replay` reads
record, payload and leaf of every row, parses the first two with `json.loads`, and reads and parses the job
rows. Each measurement is a separate process, all sides in turn; the time before a process begins to read is
not counted. Memory is the largest resident set of any of the processes. If other programs are running, the
ratio of processor time says more; for two processes it is the sum of both, so it shows the cost of the
second.

    .venv/bin/python benchmarks/verify.py                         50,000 events
    .venv/bin/python benchmarks/verify.py --events 1000000        makes a ledger of 2 GB first, and keeps it
    .venv/bin/python benchmarks/verify.py --profile               show where the time of `verify` goes

Goals, of the processor time of the bare read: `verify` 0.35 in one process and at least 0.24; in two
processes 0.6 of its time on a clock and at least 0.44; `replay` 1.8 and at least 1. `verify` is short of
0.35. Of the time of a record, reading takes an eighth, hashing, parsing, printing and comparing it a quarter,
its texts and ids a sixteenth, its payload a tenth, bodies a tenth, stream, fold and money a fifth, and job
rows a sixteenth. Tried without gain: `orjson` for the payloads, one dictionary per payload instead of a
structure, the expected record as an f-string of its columns instead of parsing and printing it (3.3 instead
of 2.1 microseconds), and compiling with mypyc (the loop of the interpreter takes 12 % of the time;
docs/decisions/0284-what-compiling-does-not-save.md). What helped most: printing records 256 at a time.

docs/decisions/0091-long-ledgers.md and 0211-verify-in-ranges.md say where it goes, and what was tried.
"""

import argparse
import cProfile
import hashlib
import json
import pstats
import resource
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import goals
from big_ledger import big_ledger

from ledger.log.opening import open_ledger
from ledger.log.replay import replay
from ledger.log.verification import verify_ranges
from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.verify import verify

ROUNDS = 3
MEGABYTE = 1 << 10  # ru_maxrss is in KiB
TABLES = (
    "SELECT size, frontier FROM head",
    "SELECT level, number, hash FROM tiles ORDER BY level, number",
    "SELECT commitment, position, field, salt, text FROM private_bodies ORDER BY position",
    "SELECT job_id, version, position, state, profile, video_id, body FROM jobs",
    "SELECT budget, job_id, reserved_usd_micros, settled_usd_micros FROM holds",
    "SELECT sha256, body FROM documents",
)
EVENTS = (
    "SELECT position, event_id, stream, version, type, actor, trace_id, recorded_at, record, payload, leaf "
    "FROM events ORDER BY position"
)


def our_verify(path: Path) -> None:
    """Verify as the command does, in this process."""
    verify_ranges(str(path), (), 1)


def our_verify_in_two(path: Path) -> None:
    """Verify as the command does on two processors."""
    verify_ranges(str(path), (), 2)


def full_verify(path: Path) -> None:
    """Verify as the command does if anything may be wrong."""
    with SqliteSnapshot(path) as tables:
        assert verify(tables).clean


def bare_verify(path: Path) -> None:
    """Read the same rows and take three hashes for each record."""
    sha256 = hashlib.sha256
    node = bytes(32)
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    for row in db.execute(EVENTS):
        leaf = sha256(b"\0" + row[8]).digest()
        node = sha256(b"\1" + node + leaf).digest()
        sha256(row[9]).hexdigest()
    for query in TABLES:
        for _ in db.execute(query):
            pass


def our_replay(path: Path) -> None:
    """Replay as the command does."""
    with open_ledger(str(path)) as ledger:
        assert replay(ledger).drift == []


def bare_replay(path: Path) -> None:
    """Read and parse the same rows."""
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    for record, payload, _ in db.execute("SELECT record, payload, leaf FROM events ORDER BY position"):
        json.loads(record)
        json.loads(payload)
    for (body,) in db.execute("SELECT body FROM jobs"):
        json.loads(body)


SIDES: dict[str, Callable[[Path], None]] = {
    "verify": our_verify,
    "verify, two processes": our_verify_in_two,
    "verify, in full": full_verify,
    "bare read, three hashes": bare_verify,
    "replay": our_replay,
    "bare read, json.loads": bare_replay,
}
PAIRS = [
    ("verify", "bare read, three hashes"),
    ("verify, two processes", "bare read, three hashes"),
    ("verify, in full", "bare read, three hashes"),
    ("replay", "bare read, json.loads"),
]


def main() -> None:
    """Measure all sides, or only one if this process was started for it."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--events", type=int, default=50_000)
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    arguments.add_argument("--profile", action="store_true")
    arguments.add_argument("--one", choices=SIDES, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    path = big_ledger(options.events)
    if options.one:
        _measure(options.one, path)
    elif options.profile:
        _profile(path)
    else:
        _compare(options.events, options.rounds)


def _measure(side: str, path: Path) -> None:
    began, busy = time.perf_counter(), time.process_time()
    SIDES[side](path)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    busy += children.ru_utime + children.ru_stime
    print(json.dumps([seconds, busy, max(own.ru_maxrss, children.ru_maxrss) / MEGABYTE]))


def _profile(path: Path) -> None:
    profiler = cProfile.Profile()
    profiler.enable()
    our_verify(path)
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(18)


def _compare(events: int, rounds: int) -> None:
    found: dict[str, list[list[float]]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            command = [sys.executable, __file__, "--events", str(events), "--one", side]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[side].append(json.loads(printed))
    print(f"{events:,} events, {rounds} processes each, in turn; median (min to max) microseconds per event")
    for ours, peer in PAIRS:
        for side in (ours, peer):
            rates = [measured[0] / events * 1e6 for measured in found[side]]
            memory = max(measured[2] for measured in found[side])
            spread = f"{statistics.median(rates):6.2f} ({min(rates):.2f} to {max(rates):.2f})"
            print(f"  {side:24} {spread}   {memory:.0f} MB at most")
        elapsed, busy = (_median(found[peer], what) / _median(found[ours], what) for what in (0, 1))
        goals.note(ours, peer, elapsed)
        print(f"  ratio of medians {elapsed:.2f}, of processor time {busy:.2f}")


def _median(measured: list[list[float]], what: int) -> float:
    return statistics.median(each[what] for each in measured)


if __name__ == "__main__":
    main()
