"""The goals of the benchmarks: each notes its measured ratios, and `make bench` prints them in one table.

A ratio is ours against a peer, as the benchmark prints it: more is better where the goal is `at least`.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

FIGURES = "BENCH_FIGURES"
"""The environment variable that names the file of figures; without it they are only printed."""


class Goal(NamedTuple):
    """The goal of a ratio; `at_most` for a time, else for a rate."""

    ratio: float
    at_most: bool = False

    def is_met(self, measured: float) -> bool:
        """Whether the measured ratio reaches the goal."""
        return measured <= self.ratio if self.at_most else measured >= self.ratio

    def __str__(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {self.ratio:g}"


GOALS: dict[tuple[str, str], Goal] = {
    ("single appends, 1 thread", "bare sqlite3"): Goal(0.7),
    ("single appends, 1 thread", "eventsourcing"): Goal(1.0),
    ("single appends, 16 threads", "eventsourcing"): Goal(3.0),
    ("batches of 1000", "bare sqlite3"): Goal(0.55),
    ("batches of 1000", "eventsourcing"): Goal(0.38),
    ("PostgreSQL, 1 writer", "eventsourcing"): Goal(1.6),
    ("PostgreSQL, 8 writers", "eventsourcing"): Goal(3.5),
    ("4 workers", "procrastinate"): Goal(0.8),
    ("verify", "bare read, three hashes"): Goal(0.24),
    ("verify, two processes", "bare read, three hashes"): Goal(0.44),
    ("replay", "bare read, json.loads"): Goal(1.0),
    ("create-batch", "bare AsyncOpenAI loop"): Goal(1.3, at_most=True),
    ("status", "imports only"): Goal(1.5, at_most=True),
    ("show", "imports only"): Goal(1.5, at_most=True),
    ("jobs", "imports only"): Goal(1.5, at_most=True),
    ("checkpoint, three witnesses", "300 ms more"): Goal(1.0, at_most=True),
    ("settle a clip with a manifest", "not read"): Goal(1.1, at_most=True),
    ("webhooks", "signature only"): Goal(0.55),
    ("POST, 16 clients", "pass-through"): Goal(0.4),
    ("POST, 16 clients", "LiteLLM"): Goal(3.0),
    ("GET, 16 clients", "pass-through"): Goal(0.7),
    ("GET, 16 clients", "LiteLLM"): Goal(5.0),
}
"""By the work and the peer. A pair without a goal is printed, but is not in the table."""


def note(work: str, peer: str, ratio: float) -> None:
    """Add a measured ratio to the figures of this run, if it has a goal and they are kept."""
    path = os.environ.get(FIGURES)
    if path and (work, peer) in GOALS:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"work": work, "against": peer, "ratio": round(ratio, 3)}) + "\n")
