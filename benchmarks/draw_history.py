"""Draw history.csv: the distance of each ratio from its goal, by commit; right of the goal, it is met.

.venv/bin/python benchmarks/draw_history.py
"""

import csv
import math
from collections import defaultdict
from html import escape
from pathlib import Path

WIDTH, ROW, LEFT, RIGHT, TOP = 760, 34, 330, 130, 30
WIDEST = 4.0
"""Ratios further from their goal than this factor are drawn at the edge."""
MET, MISSED, GREY = "#1a7f37", "#b35900", "#6e7781"


def main() -> None:
    """Draw the history beside this file."""
    history = Path(__file__).with_name("history.csv")
    draw(history, history.with_suffix(".svg"))


def draw(history: Path, out: Path) -> None:
    """Draw one row for each ratio: its points on a scale on which the goal is the middle."""
    rows: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    with history.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            rows[line["work"], line["against"]].append(line)
    height = TOP + ROW * len(rows) + 10
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-size="12" '
            'font-family="system-ui, sans-serif">'
        ),
        "<title>Ratios against peers, by commit, and their goals</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<line x1="{middle}" y1="{TOP - 8}" x2="{middle}" y2="{height - 8}" stroke="{GREY}"/>',
        f'<text x="{middle}" y="14" text-anchor="middle" fill="{GREY}">goal; met to the right</text>',
    ]
    for number, ((work, against), lines) in enumerate(rows.items()):
        parts += _row(work, against, lines, TOP + ROW * number + ROW / 2)
    out.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def _row(work: str, against: str, lines: list[dict[str, str]], y: float) -> list[str]:
    """Return a row: the name, a point for each measurement, older ones paler, and the last ratio."""
    last = lines[-1]
    colour = MET if last["met"] == "True" else MISSED
    parts = [
        f'<text x="8" y="{y + 4}">{escape(work)} <tspan fill="{GREY}">/ {escape(against)}</tspan></text>'
    ]
    for age, line in enumerate(reversed(lines)):
        x, opacity = _place(line), max(0.15, 1 - 0.25 * age)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y}" r="{5 if age == 0 else 3}" fill="{colour}" '
            f'fill-opacity="{opacity:.2f}"><title>{escape(line["commit"])}: {line["ratio"]}</title></circle>'
        )
    parts.append(
        f'<text x="{WIDTH - RIGHT + 10}" y="{y + 4}" fill="{colour}">{float(last["ratio"]):.2f} '
        f'<tspan fill="{GREY}">({escape(last["goal"])})</tspan></text>'
    )
    return parts


def _place(line: dict[str, str]) -> float:
    """Return the place of a ratio on the scale: logarithmic, better to the right."""
    factor = float(line["ratio"]) / float(line["goal"].rpartition(" ")[2])
    if line["goal"].startswith("at most"):
        factor = 1 / factor
    share = math.log(min(max(factor, 1 / WIDEST), WIDEST)) / math.log(WIDEST)
    return LEFT + (WIDTH - LEFT - RIGHT) * (0.5 + share / 2)


if __name__ == "__main__":
    main()
