"""Measure the one-change rule on labelled requests.

``python tools/measure_one_change.py [--encoder] [FILE…]``

With ``--encoder``, the encoder of the extra ``one-change`` reads them, and its probability is shown.

Each file of ``tests/decision/data`` is a set by one writer, or names the writer of each request. Prints for
each set, and for each language, kind and named writer in it, a confusion table, the share of several changes
that pass as one, and the processor time per request. Then how well its probability of several changes is
calibrated: for example, how many of the requests with a probability of 20 to 30 % do ask for several. ``gap``
is the mean difference of the two over all requests of the set.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from decision.one_change import encoder
from decision.one_change.verdict import RemixVerdict, chance_of_several, check_single_change

DATA = Path(__file__).parent.parent / "tests" / "decision" / "data"
VERDICTS = ("single", "multiple", "ambiguous", "none")
HEAD = (
    "set",
    "requests",
    "one: one/several/unclear",
    "several: one/several/unclear",
    "right",
    "let through",
    "ms",
)
BINS = 10
Readers = tuple[Callable[[str], RemixVerdict], Callable[[str], float | None]]
BY_WORDS: Readers = (check_single_change, chance_of_several)
BY_ENCODER: Readers = (encoder.check_by_encoder, encoder.chance_by_encoder)


class Answer(NamedTuple):
    """The label of a request, its verdict, the probability of several changes, and the time taken."""

    label: str
    verdict: str
    chance: float | None
    spent_s: float


def print_tables(files: Sequence[Path], readers: Readers) -> None:
    """Print the tables of all sets."""
    sets = {_name(file): _groups(file, readers) for file in files}
    print("{:<34}{:>9}  {:<26}{:<30}{:>6}{:>13}{:>7}".format(*HEAD))
    for name, groups in sets.items():
        for group, answers in sorted(groups.items()):
            print(_line(f"{name} {group}".strip(), answers))
    percents = "".join(f"{start * BINS:>3}-{start * BINS + BINS:<5}" for start in range(BINS))
    print("\nrequests, and of these several in %, by the chance of several changes in %")
    print(f"{'set':<34}{percents}gap")
    for name, groups in sets.items():
        for group, answers in sorted(groups.items()):
            print(_reliability(f"{name} {group}".strip(), answers))


def _name(file: Path) -> str:
    return file.stem.removeprefix("remix-prompts").strip("-") or "asked-for"


def _groups(file: Path, readers: Readers) -> dict[str, list[Answer]]:
    groups: dict[str, list[Answer]] = defaultdict(list)
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        began = time.process_time()
        verdict = readers[0](row["prompt"]).verdict
        spent_s = time.process_time() - began
        answer = Answer(row["changes"], verdict, readers[1](row["prompt"]), spent_s)
        own = " ".join(filter(None, (row.get("language"), row.get("kind"))))
        groups[own].append(answer)
        if row.get("language") not in (None, "en"):
            own = "all but English"
            groups[own].append(answer)
        if writer := row.get("writer"):
            groups[f"{own} by {writer}"].append(answer)
    return groups


def _line(name: str, answers: Sequence[Answer]) -> str:
    counts = {
        label: [sum((one.label, one.verdict) == (label, verdict) for one in answers) for verdict in VERDICTS]
        for label in ("single", "multiple")
    }
    shown = {label: "/".join(map(str, (*own[:2], own[2] + own[3]))) for label, own in counts.items()}
    right = sum(one.label == one.verdict for one in answers) / len(answers)
    passed = counts["multiple"][0] / max(1, sum(counts["multiple"]))
    ms = sum(one.spent_s for one in answers) / len(answers) * 1000
    table = f"{name:<34}{len(answers):>9}  {shown['single']:<26}{shown['multiple']:<30}"
    return f"{table}{right:>6.1%}{passed:>13.1%}{ms:>7.2f}"


def _reliability(name: str, answers: Sequence[Answer]) -> str:
    """Return, per tenth of probability, the number of requests, and how many of them are several."""
    weighed = [
        (one.chance, one.label == "multiple")
        for one in answers
        if one.chance is not None and one.label in ("single", "multiple")
    ]
    cells, gap = [], 0.0
    for number in range(BINS):
        own = [pair for pair in weighed if min(BINS - 1, int(pair[0] * BINS)) == number]
        several = sum(is_several for _, is_several in own)
        gap += abs(sum(chance for chance, _ in own) - several)
        cells.append(f"{len(own):>4}:{several * 100 // len(own):<4}" if own else f"{'-':>4}{'':<5}")
    return f"{name:<34}{''.join(cells)}{gap / max(1, len(weighed)):.3f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the one-change rule on labelled requests.")
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="labelled requests; all sets if none is named"
    )
    parser.add_argument(
        "--encoder", action="store_true", help="read them with the encoder of the extra one-change"
    )
    options = parser.parse_args()
    if missing := [str(file) for file in options.files if not file.is_file()]:
        parser.error(f"no such file: {', '.join(missing)}")
    if options.encoder:
        encoder.check_by_encoder("Make it rain.")  # load it before anything is timed
    print_tables(options.files or sorted(DATA.glob("*.jsonl")), BY_ENCODER if options.encoder else BY_WORDS)
