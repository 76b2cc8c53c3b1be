"""Costs that could grow with the ledger: an inclusion proof, and ``status JOB``, in a long and a short one.

Both should cost about the same however long the log is. A proof is made and verified in this process, for
positions all over the log; `status` is a whole process. Long and short alternate, and both files are read
once beforehand, so that neither waits for a disk.

    .venv/bin/python benchmarks/size.py                      100,000 events against 10,000
    .venv/bin/python benchmarks/size.py --events 1000000     makes a ledger of 2 GB first, and keeps it
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from big_ledger import PER_JOB, big_ledger, job_id

from ledger.canonical import leaf_hash
from ledger.record import Record
from ledger.store.filters import RecordFilter
from ledger.store.sqlite import SqliteStore
from ledger.tree.merkle import inclusion_proof, verify_inclusion

SHORT = 10_000
ROUNDS = 15
PROOFS = 40
SORA = Path(sys.executable).parent / "sora-ledger"


def main() -> None:
    """Measure both, on both ledgers."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--events", type=int, default=100_000)
    options = arguments.parse_args()
    paths = {size: big_ledger(size) for size in (options.events, SHORT)}
    for path in paths.values():
        _warm(path)
    for name, measure, aim in (("inclusion proof", _proofs, 2.0), ("status JOB", _status, 1.5)):
        found: dict[int, list[float]] = {size: [] for size in paths}
        for turn in range(ROUNDS):
            for size, path in paths.items():
                found[size].append(measure(path, size, turn))
        print(name)
        for size, times in found.items():
            print(f"  {size:>9,} events  {_spread(times)}")
        ratio = statistics.median(found[options.events]) / statistics.median(found[SHORT])
        print(f"  ratio of medians {ratio:.2f} (at most {aim:g})")


def _warm(path: Path) -> None:
    """Have the operating system keep the file in memory."""
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass


def _proofs(path: Path, size: int, turn: int) -> float:
    """Return the mean time of one proof: made from the tree, and verified against the root."""
    with SqliteStore(path, read_only=True) as store:
        edge = store.head()
        length, root = edge.size, edge.root()
        places = [(turn * PROOFS + number) * 7919 % size + 1 for number in range(PROOFS)]
        began = time.perf_counter()
        for position in places:
            row = store.rows(position - 1, 1, RecordFilter())[0]
            proof = inclusion_proof(store, position - 1, length, store.head())
            verify_inclusion(leaf_hash(row.record), position - 1, length, proof, root)
        taken = (time.perf_counter() - began) / PROOFS
        assert Record.from_row(row, {}).position == places[-1]
    return taken


def _status(path: Path, size: int, turn: int) -> float:
    number = (turn * 7919) % (size // PER_JOB)
    command = [str(SORA), "status", "--id", job_id(number), "--ledger", str(path)]
    began = time.perf_counter()
    subprocess.run(command, env=os.environ, check=True, capture_output=True)
    return time.perf_counter() - began


def _spread(seconds: list[float]) -> str:
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    return f"median {middle * 1000:8.3f} ms, min {low * 1000:.3f}, max {high * 1000:.3f}"


if __name__ == "__main__":
    main()
