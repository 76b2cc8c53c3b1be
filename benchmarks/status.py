"""How long ``sora-ledger status`` of a finished job takes, against importing click and pydantic's BaseModel.

Both sides are whole processes, alternated; the aim is a ratio of at most 3.

    .venv/bin/python benchmarks/status.py
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15
BIN = Path(sys.executable).parent
AIM = 3.0


def main() -> None:
    """Make a ledger with one finished job, then measure."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "SORA_LEDGER_URL": f"sqlite:///{folder}/ledger.db",
            "SORA_LEDGER_PROFILE": "sandbox",
            "SORA_SANDBOX_SECONDS": "0",
        }
        made = [BIN / "sora-ledger", "create-and-poll", "--prompt", "A bench", "--json-out", f"{folder}/made"]
        subprocess.run(made, env=environment, check=True, capture_output=True)
        status = [str(BIN / "sora-ledger"), "status", "--id", "job_0"]
        floor = [sys.executable, "-c", "import click; from pydantic import BaseModel"]
        ours: list[float] = []
        peers: list[float] = []
        for _ in range(ROUNDS):
            ours.append(_seconds(status, environment))
            peers.append(_seconds(floor, environment))
        pragmas = "read-only connection, query_only = ON, busy_timeout = 30000"
        print(f"sora-ledger status, {ROUNDS} runs each, alternating; {pragmas}")
        print(f"  status       {_spread(ours)}")
        print(f"  imports only {_spread(peers)}")
        ratio = statistics.median(ours) / statistics.median(peers)
        print(f"  ratio of medians {ratio:.2f} (aim: at most {AIM:g})")


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def _spread(seconds: list[float]) -> str:
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    return f"median {middle * 1000:6.1f} ms, min {low * 1000:6.1f}, max {high * 1000:6.1f}"


if __name__ == "__main__":
    main()
