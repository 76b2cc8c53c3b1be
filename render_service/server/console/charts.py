"""Charts as inline SVG. Colours and fonts come from classes: the content policy forbids style attributes.

Every chart has a title for screen readers, and a page shows the same facts in a table or list next to it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from decision.money import usd_digits
from render_service.runtime.printable import shorten

# --- lineage ---

WIDTH = 620
NODE_HEIGHT = 34
LABEL_HEIGHT = 24
GAP = 6
INDENT = 30
RAIL = 16
"""Distance of the line to a node's children from the node's left edge."""

MOST_INDENTS = 8
LETTER_PX, BOLD_PX = 6.6, 7.6
"""Width of most letters of the chart's font; texts are cut to fit, as SVG does not cut them."""


@dataclass(frozen=True)
class Node:
    """A box of a lineage: its texts, its link, and the line to it from the node `source`, an index.

    `kind` is the class of its mark. `edge` is written next to the line, `more` below it.
    """

    words: str
    href: str | None = None
    kind: str = "quiet"
    state: str = ""
    source: int | None = None
    edge: str = ""
    more: str | None = None
    more_href: str | None = None
    is_current: bool = False


@dataclass
class _Placed:
    node: Node
    indent: int
    top: int
    bottom: int = 0


def lineage(nodes: Sequence[Node], title: str, above: str | None = None) -> Markup:
    """Return a drawing of `nodes`, each after its source: a chain runs straight down, siblings are indented.

    `above` describes the first node's source, if that is not drawn.
    """
    placed = _place(nodes, LABEL_HEIGHT if above else 0)
    height = max(_end(box) for box in placed) + 2
    parts: list[Markup] = []
    if above:
        parts.append(_text(RAIL + 12, 14, above, "edge-label", WIDTH - RAIL - 12))
        parts.append(Markup('<path class="edge dashed" d="M%s 4V%s"/>') % (RAIL, LABEL_HEIGHT))
    parts += [_edge(placed, box) for box in placed if box.node.source is not None]
    parts += [part for box in placed for part in _box(box)]
    box = f"0 0 {WIDTH} {height}"
    return Markup(
        '<svg class="chart lineage" role="group" aria-label="%s" viewBox="%s" width="%s" height="%s">%s</svg>'
    ) % (title, box, WIDTH, height, Markup("").join(parts))


def _place(nodes: Sequence[Node], top: int) -> list[_Placed]:
    siblings = [sum(other.source == index for other in nodes) for index in range(len(nodes))]
    placed: list[_Placed] = []
    for node in nodes:
        indent = 0
        if node.source is not None:
            is_only = siblings[node.source] == 1 and nodes[node.source].more is None
            indent = placed[node.source].indent + (0 if is_only else 1)
            top += LABEL_HEIGHT
        placed.append(_Placed(node, min(indent, MOST_INDENTS), top))
        top += NODE_HEIGHT + (LABEL_HEIGHT if node.more else 0) + GAP
    return placed


def _end(box: _Placed) -> int:
    return box.top + NODE_HEIGHT + (LABEL_HEIGHT if box.node.more else 0)


def _edge(placed: Sequence[_Placed], box: _Placed) -> Markup:
    """Return the line to a node from its source, and what it says."""
    assert box.node.source is not None  # checked by the caller
    source = placed[box.node.source]
    left = source.indent * INDENT + RAIL
    own = box.indent * INDENT
    begin = source.top + NODE_HEIGHT
    if box.indent == source.indent:
        path = f"M{left} {begin}V{box.top}"
        at = left + 12
    else:
        middle = box.top + NODE_HEIGHT // 2
        path = f"M{left} {begin}V{middle - 6}q0 6 6 6H{own}"
        at = own + 4
    label = _text(at, box.top - 8, box.node.edge, "edge-label", WIDTH - at)
    return Markup('<path class="edge" d="%s"/>') % (path,) + label


def _box(box: _Placed) -> Iterable[Markup]:
    node, left = box.node, box.indent * INDENT
    width = WIDTH - left - 2
    room = width - 40 - (len(node.state) + 2) * LETTER_PX
    room *= LETTER_PX / BOLD_PX if node.is_current else 1
    inside = Markup("").join(
        [
            Markup('<rect x="%s" y="%s" width="%s" height="%s" rx="5"/>')
            % (left + 1, box.top + 1, width, NODE_HEIGHT - 2),
            Markup('<circle class="mark %s" cx="%s" cy="%s" r="4.5"/>')
            % (node.kind, left + RAIL, box.top + NODE_HEIGHT // 2),
            _text(left + 30, box.top + 21, node.words, "words", room),
            Markup('<text class="state" x="%s" y="%s" text-anchor="end">%s</text>')
            % (left + width - 10, box.top + 21, node.state),
        ]
    )
    name = "node current" if node.is_current else "node"
    if node.href:
        yield Markup('<a class="%s" href="%s">%s</a>') % (name, node.href, inside)
    else:
        yield Markup('<g class="%s">%s</g>') % (name, inside)
    if node.more:
        at, line = left + RAIL + 12, box.top + NODE_HEIGHT + 16
        words = _text(at, line, node.more, "edge-label", WIDTH - at)
        yield Markup('<path class="edge dashed" d="M%s %sv%s"/>') % (
            left + RAIL,
            box.top + NODE_HEIGHT,
            LABEL_HEIGHT - 4,
        )
        yield Markup('<a href="%s">%s</a>') % (node.more_href, words) if node.more_href else words


def _text(x: float, y: float, words: str, name: str, room: float) -> Markup:
    """Return one line of text that is cut to `room` pixels."""
    cut = shorten(words, max(8, int(room / LETTER_PX)))
    return Markup('<text class="%s" x="%s" y="%s">%s</text>') % (name, x, y, cut)


# --- bars ---

BARS_HEIGHT = 150
BARS_LEFT = 56
BARS_BOTTOM = 22
MOST_LABELS = 6
LEAST_BARS = 14
"""Few bars are drawn no wider than if there were this many."""

NICE = (1, 2, 5)


class Bar(NamedTuple):
    """A bar of stacked amounts in micro-dollars, from the bottom up."""

    words: str
    amounts: tuple[int, ...]


def bars(drawn: Sequence[Bar], title: str) -> Markup:
    """Return a bar chart of money with an axis whose marks are round amounts; empty if nothing was spent."""
    top = max((sum(bar.amounts) for bar in drawn), default=0)
    if not top:
        return Markup("")
    mark = _nice(top)
    most = -(-top // mark) * mark
    room = (WIDTH - BARS_LEFT) / max(len(drawn), LEAST_BARS)
    parts = [_mark(amount, most) for amount in range(0, most + 1, mark)]
    every = -(-len(drawn) // MOST_LABELS)
    for index, bar in enumerate(drawn):
        x = BARS_LEFT + index * room
        parts += _stack(bar, x, room, most)
        if index % every == 0:
            parts.append(
                Markup('<text x="{:.1f}" y="{}">{}</text>').format(
                    x, BARS_HEIGHT + BARS_BOTTOM - 6, bar.words[-10:]
                )
            )
    return Markup('<svg class="chart bars" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, BARS_HEIGHT + BARS_BOTTOM, title, Markup("").join(parts)
    )


def _nice(top: int) -> int:
    """Return a round step that divides `top` into two to five parts."""
    step = 1
    while True:
        for factor in NICE:
            if top <= 5 * factor * step:
                return factor * step
        step *= 10


def _mark(amount: int, most: int) -> Markup:
    y = BARS_HEIGHT - (BARS_HEIGHT - 12) * amount / most
    return Markup(
        '<path class="grid" d="M{} {:.1f}H{}"/><text x="{}" y="{:.1f}" text-anchor="end">${}</text>'
    ).format(BARS_LEFT, y, WIDTH, BARS_LEFT - 6, y + 4, usd_digits(amount))


def _stack(bar: Bar, x: float, room: float, most: int) -> Iterable[Markup]:
    """Yield the parts of a bar, each with its amount as a tooltip."""
    bottom = float(BARS_HEIGHT)
    width = max(1.0, room * 0.8)
    for kind, amount in enumerate(bar.amounts, 1):
        height = (BARS_HEIGHT - 12) * amount / most
        bottom -= height
        if amount:
            yield Markup(
                '<rect class="s{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                "<title>{}: ${}</title></rect>"
            ).format(kind, x, bottom, width, height, bar.words, usd_digits(amount))
