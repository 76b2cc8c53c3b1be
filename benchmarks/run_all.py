"""Run the benchmarks, and end with one table: work, peer, ratio, goal, met or not.

Figures depend on the machine and its other load, so they are compared within a run; the history shows where a
change moved one.

    .venv/bin/python benchmarks/run_all.py                   all, one after the other
    .venv/bin/python benchmarks/run_all.py status batch      some of them
    .venv/bin/python benchmarks/run_all.py --json            the table as JSON on stdout, the rest on stderr
    .venv/bin/python benchmarks/run_all.py --keep            add the figures to history.csv; draw it
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from draw_history import draw
from goals import FIGURES, GOALS

HERE = Path(__file__).parent
HISTORY = HERE / "history.csv"
COLUMNS = ("commit", "measured_on", "work", "against", "ratio", "goal", "met")
SCRIPTS: dict[str, tuple[str, ...]] = {
    "append": (),
    "postgres": (),
    "status": (),
    "batch": (),
    "webhooks": (),
    "half_requests": (),
    "provenance": (),
    "worker": ("--jobs", "5000", "--rounds", "1"),
    "verify": (),
    "size": (),
    "witnesses": (),
    "gateway": (),
    "console_live": (),
    "console": (),
}


def main() -> None:
    """Run, compare with the goals, print; exit with 1 if a benchmark failed."""
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(SCRIPTS)}")
    reader.add_argument("--json", action="store_true", help="print the table as JSON")
    reader.add_argument("--keep", action="store_true", help="add the figures to history.csv")
    chosen = reader.parse_args()
    if unknown := set(chosen.names) - SCRIPTS.keys():
        reader.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    failed, figures = run(
        [name for name in SCRIPTS if name in (chosen.names or SCRIPTS)], as_json=chosen.json
    )
    print(json.dumps({"figures": figures, "failed": failed}, indent=2) if chosen.json else table(figures))
    if failed and not chosen.json:
        print(f"\nfailed: {', '.join(failed)}")
    if chosen.keep:
        keep(figures)
    sys.exit(bool(failed))


def run(names: list[str], *, as_json: bool) -> tuple[list[str], list[dict[str, Any]]]:
    """Run the benchmarks; return those that failed, and the others' ratios with their goals."""
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder) / "figures"
        noted.touch()
        for name in names:
            command = [sys.executable, str(HERE / f"{name}.py"), *SCRIPTS[name]]
            environment = os.environ | {FIGURES: str(noted)}
            out = sys.stderr if as_json else None
            if subprocess.run(command, env=environment, stdout=out, check=False).returncode:
                failed.append(name)
        figures = [json.loads(line) for line in noted.read_text(encoding="utf-8").splitlines()]
    for figure in figures:
        goal = GOALS[figure["work"], figure["against"]]
        figure |= {"goal": str(goal), "met": goal.is_met(figure["ratio"])}
    return failed, figures


def table(figures: list[dict[str, Any]]) -> str:
    """Return the table as text."""
    rows = [("work", "against", "ratio", "goal", "met")]
    rows += [
        (each["work"], each["against"], f"{each['ratio']:.2f}", each["goal"], "yes" if each["met"] else "no")
        for each in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n" + "\n".join(line.rstrip() for line in lines)


def keep(figures: list[dict[str, Any]]) -> None:
    """Add the figures to the history under the current commit, and draw it."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()
    today = datetime.now(UTC).date().isoformat()
    is_new = not HISTORY.exists()
    with HISTORY.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows({"commit": commit, "measured_on": today, **each} for each in figures)
    draw(HISTORY, HISTORY.with_suffix(".svg"))


if __name__ == "__main__":
    main()
