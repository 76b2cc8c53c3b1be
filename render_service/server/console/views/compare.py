"""Two videos side by side: what was changed, and everything in which they differ."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Literal

from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.terms import State
from render_service.reports.jobs import source_job
from render_service.reports.lineage import Step, steps_between
from render_service.runtime.printable import short
from render_service.server.console.jobs import find_job
from render_service.server.console.pages import Page, View, Visit
from render_service.server.console.views.video_files import Media, files, media
from render_service.server.console.views.video_parts import Cost, PrivateText, cost, private
from render_service.session.history import JobHistory

LONGEST_TITLE = 60
MOST_TOKENS = 800
"""Words of each prompt that are compared one by one, after what both begin and end with."""

_TOKENS = re.compile(r"\s+|\w+|[^\w\s]")


class Side(View):
    """One of the two videos."""

    job_id: str
    title: str
    state: State
    operation: str
    actor: str
    created_at: str
    verdict: str | None
    media: Media
    prompt: PrivateText | None
    cost: Cost


class Row(View):
    """A parameter of both, in words; null where it is not known."""

    name: str
    left: str | None
    right: str | None
    differs: bool


class Change(View):
    """A step from the left video to the right one: what it changed."""

    operation: str
    aspects: tuple[str, ...]
    words: str | None
    erased: bool


class Piece(View):
    """A part of the prompts: of both, of the left one only, or of the right one only."""

    of: Literal["both", "left", "right"]
    text: str


class CompareView(View):
    """Two videos; either may be missing, if it was not named.

    `changes` are the steps from left to right, none if the right one was not made from the left one.
    `prompt_diff` is null if a prompt was erased or is too long, or if they are the same.
    """

    left: Side | None
    right: Side | None
    left_name: str
    right_name: str
    changes: tuple[Change, ...]
    rows: tuple[Row, ...]
    prompt_diff: tuple[Piece, ...] | None
    same_prompt: bool


def read_comparison(visit: Visit) -> CompareView:
    """Return two videos; without `left`, the source of `right` is compared with it."""
    ledger = visit.session.ledger
    left_name, right_name = visit.query("left"), visit.query("right")
    right = find_job(visit, right_name) if right_name else None
    left = find_job(visit, left_name) if left_name else _source(visit, right)
    sides = [_side(ledger, job) if job else None for job in (left, right)]
    texts = [side.prompt.text if side and side.prompt else None for side in sides]
    return CompareView(
        left=sides[0],
        right=sides[1],
        left_name=left_name or (left.job_id if left else ""),
        right_name=right_name or "",
        changes=tuple(map(_change, _steps(visit, left, right))),
        rows=_rows(left, right) if left and right else (),
        prompt_diff=diff(texts[0], texts[1]),
        same_prompt=texts[0] is not None and texts[0] == texts[1],
    )


def _source(visit: Visit, right: Job | None) -> Job | None:
    source = source_job(visit.session.ledger, right) if right else None
    return source if source and visit.may_see(source) else None


def _steps(visit: Visit, left: Job | None, right: Job | None) -> Sequence[Step]:
    if left is None or right is None:
        return ()
    return steps_between(visit.session.ledger, left, right, visit.may_see) or ()


def _change(step: Step) -> Change:
    return Change(operation=step.operation, aspects=step.aspects, words=step.words, erased=step.erased)


def _side(ledger: Ledger, job: Job) -> Side:
    history = JobHistory.of(ledger, job)
    began = history.requested or history.adopted
    prompt = private(began.prompt) if began else None
    words = prompt.text if prompt else None
    return Side(
        job_id=job.job_id,
        title=short(words, LONGEST_TITLE) if words else f"Video {job.job_id[-8:]}",
        state=job.state,
        operation=job.operation.value if job.operation else "adopted",
        actor=job.actor,
        created_at=job.created_at,
        verdict=job.verdict,
        media=media(job, history, files(job, history)),
        prompt=prompt,
        cost=cost(job, history),
    )


def _rows(left: Job, right: Job) -> tuple[Row, ...]:
    named = {
        "Model": ("model", "requested_model"),
        "Size": ("size",),
        "Purpose": ("purpose",),
        "Server": ("profile",),
        "Team": ("team",),
        "Project": ("project",),
        "Requested by": ("actor",),
        "Last review": ("verdict",),
    }
    values = {name: tuple(_first(job, fields) for job in (left, right)) for name, fields in named.items()} | {
        "Length": tuple(f"{job.seconds} s" if job.seconds else None for job in (left, right))
    }
    order = ["Model", "Size", "Length", *(name for name in named if name not in {"Model", "Size"})]
    return tuple(
        Row(
            name=name, left=values[name][0], right=values[name][1], differs=values[name][0] != values[name][1]
        )
        for name in order
        if any(values[name])
    )


def _first(job: Job, fields: Sequence[str]) -> str | None:
    return next((str(value) for field in fields if (value := getattr(job, field))), None)


def diff(left: str | None, right: str | None) -> tuple[Piece, ...] | None:
    """Return what two prompts have in common and what not, word by word; None if that cannot be told."""
    if left is None or right is None or left == right:
        return None
    before, after = _TOKENS.findall(left), _TOKENS.findall(right)
    begin = _common(before, after)
    end = _common(before[begin:][::-1], after[begin:][::-1])
    middle = before[begin : len(before) - end], after[begin : len(after) - end]
    if any(len(tokens) > MOST_TOKENS for tokens in middle):
        return None
    pieces = [Piece(of="both", text="".join(before[:begin]))]
    for kind, a, b, c, d in SequenceMatcher(None, *middle, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(Piece(of="both", text="".join(middle[0][a:b])))
            continue
        pieces += [
            Piece(of="left", text="".join(middle[0][a:b])),
            Piece(of="right", text="".join(middle[1][c:d])),
        ]
    pieces.append(Piece(of="both", text="".join(before[len(before) - end :])))
    return tuple(piece for piece in pieces if piece.text)


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    pairs = zip(left, right, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


PAGE = Page(path="/compare", title="Compare", template="compare.html", read=read_comparison, menu=False)
