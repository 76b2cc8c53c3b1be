"""Measure the one-change rule on labelled requests: ``python tools/measure_one_change.py [FILE…]``.

Prints a confusion table for each file of ``tests/decision/data`` and for each language and kind in it, what
share of several changes is let through as one, and the processor time per request.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from decision.one_change.verdict import check_single_change

DATA = Path(__file__).parent.parent / "tests" / "decision" / "data"
VERDICTS = ("single", "multiple", "ambiguous", "none")
HEAD = ("set", "requests", "one: one/several/unclear", "several: one/several/unclear", "right", "let through")


def table(files: Sequence[Path]) -> None:
    """Print a line per set."""
    print("{:<34}{:>9}  {:<26}{:<29}{:>6}{:>13}".format(*HEAD))
    spent, requests = 0.0, 0
    for file in files:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for row in rows:
            began = time.process_time()
            verdict = check_single_change(row["prompt"]).verdict
            spent += time.process_time() - began
            requests += 1
            groups[" ".join(filter(None, (row.get("language"), row.get("kind"))))].append(
                (row["changes"], verdict)
            )
            if row.get("language") not in (None, "en"):
                groups["all but English"].append((row["changes"], verdict))
        for name, told in sorted(groups.items()):
            print(_line(f"{file.stem.removeprefix('remix-prompts')} {name}".strip(" -") or "labelled", told))
    print(f"{spent / requests * 1000:.2f} ms of processor time per request, {requests} requests")


def _line(name: str, told: Sequence[tuple[str, str]]) -> str:
    counts = {
        label: [sum(one == (label, verdict) for one in told) for verdict in VERDICTS]
        for label in ("single", "multiple")
    }
    shown = {label: "/".join(map(str, (*own[:2], own[2] + own[3]))) for label, own in counts.items()}
    right = sum(label == verdict for label, verdict in told) / len(told)
    passed = counts["multiple"][0] / max(1, sum(counts["multiple"]))
    return (
        f"{name:<34}{len(told):>9}  {shown['single']:<26}{shown['multiple']:<29}{right:>6.1%}{passed:>13.1%}"
    )


if __name__ == "__main__":
    table([Path(name) for name in sys.argv[1:]] or sorted(DATA.glob("*.jsonl")))
