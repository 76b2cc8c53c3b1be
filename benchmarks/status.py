"""Duration of ``status``, ``show`` and ``jobs``, against importing click and pydantic's BaseModel.

All are whole processes, alternated, on a ledger with one finished job; the aim is a ratio of at most 1.5.
Processor time is printed too, since a busy machine affects it less.

`jobs` executes 1.38 times as many instructions as the imports (cachegrind: 582 and 422 million), after 1.45
(610): the pattern of words that prompts are searched by is compiled when a text is searched. Left for later:
structures of msgspec in place of data classes for the filters of jobs and records, and for what an append is
decided on (another 26 million).

Where the time went before, of 100 of the processor that the imports take: Python itself 11, click 30,
msgspec and the classes of events 24, everything else (command line, settings, the ledger's modules, opening
and reading) 57; `show` adds its words for records. pydantic is not loaded (`tests/test_imports.py`).

    .venv/bin/python benchmarks/status.py
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import goals

ROUNDS = 15
BIN = Path(sys.executable).parent
FLOOR = "imports only"
COMPILES_NOTHING = "PYTHONDONTWRITEBYTECODE"
"""Unset for the commands: each would recompile a checkout; an installed wheel is compiled once."""
AIM = goals.GOALS["status", FLOOR].ratio


class Took(NamedTuple):
    """The time of a process: wall time and processor time."""

    wall_ms: float
    processor_ms: float


def main() -> None:
    """Make a ledger with one finished job, then measure."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != COMPILES_NOTHING} | {
            "SORA_LEDGER_URL": f"sqlite:///{folder}/ledger.db",
            "SORA_LEDGER_PROFILE": "sandbox",
            "SORA_SANDBOX_SECONDS": "0",
        }
        made = [BIN / "sora-ledger", "create-and-poll", "--prompt", "A bench", "--json-out", f"{folder}/made"]
        subprocess.run(made, env=environment, check=True, capture_output=True)
        commands = {
            name: [str(BIN / "sora-ledger"), *arguments]
            for name, arguments in {
                "status": ("status", "--id", "job_0"),
                "show": ("show", "job_0"),
                "jobs": ("jobs",),
            }.items()
        } | {FLOOR: [sys.executable, "-c", "import click; from pydantic import BaseModel"]}
        runs: dict[str, list[Took]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                runs[name].append(_run(command, environment))
    print(f"{ROUNDS} runs each, alternating; read-only connection, query_only = ON, busy_timeout = 30000")
    for name, took in runs.items():
        goals.note(name, FLOOR, _ratio(runs, name))
        walls = [each.wall_ms for each in took]
        spread = f"median {statistics.median(walls):6.1f} ms, min {min(walls):6.1f}, max {max(walls):6.1f}"
        compared = "" if name == FLOOR else f"; ratio {_ratio(runs, name):.2f} (aim: at most {AIM:g})"
        worked = "" if name == FLOOR else f", processor {_ratio(runs, name, worked=True):.2f}"
        print(f"  {name:<13}{spread}{compared}{worked}")


def _ratio(runs: dict[str, list[Took]], name: str, *, worked: bool = False) -> float:
    """Return the median time of a command divided by that of the imports."""
    ours, floor = (
        statistics.median(each.processor_ms if worked else each.wall_ms for each in runs[side])
        for side in (name, FLOOR)
    )
    return ours / floor


def _run(command: list[str], environment: dict[str, str]) -> Took:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(wall * 1000, processor * 1000)


if __name__ == "__main__":
    main()
