"""Judge videos: one at a time, with the reviews of others and their agreement, or two side by side.

A review is recorded once, for the person who judged the clip, and leads to the next clip. The side-by-side
page shows the changes between two videos, and all their differences.
"""

import asyncio
import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Literal, get_args

from starlette.datastructures import FormData

from decision.rules.roles import Permission
from ledger.errors import EventIdConflict, JobNotFound
from ledger.events import ReviewRecorded
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.record import Entry
from ledger.store.filters import JobFilter, Unreviewed
from ledger.terms import State, Variant
from render_service.approvals.reviews import (
    HIGHEST,
    REVIEWABLE,
    SCORES,
    NoteAt,
    Verdict,
    agreement,
    clip_ms,
    last_by_person,
    read_note,
    review,
    reviews_in,
)
from render_service.reports.jobs import source_job
from render_service.reports.lineage import Step, steps_between
from render_service.runtime.errors import BadInput
from render_service.runtime.printable import shorten
from render_service.server.console.jobs import find_job
from render_service.server.console.pages import Action, Done, Page, View, Visit, text_of
from render_service.server.console.views.video_files import Media, files, media
from render_service.server.console.views.video_parts import Cost, PrivateText, cost, private
from render_service.server.console.views.waiting import prompt_of, visible_jobs
from render_service.session.event_ids import review_id
from render_service.session.history import JobHistory

LONGEST_TITLE = 60
MOST_TOKENS = 800
"""Words of each prompt that are compared one by one, after a common beginning and end."""

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
    """A parameter of both, in words; null if unknown."""

    name: str
    left: str | None
    right: str | None
    differs: bool


class Change(View):
    """A step from the left video to the right one: its changes."""

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
    """Return two videos; without `left`, `right` is compared with its source."""
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
        title=shorten(words, LONGEST_TITLE) if words else f"Video {job.job_id[-8:]}",
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
    """Return the common and differing words of two prompts; None if that cannot be computed."""
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


COMPARE_PAGE = Page(
    path="/compare", title="Compare", template="compare.html", read=read_comparison, menu=False
)


VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


async def record(visit: Visit, form: FormData) -> Done:
    """Record a review; a form submitted twice is one review."""
    job = await asyncio.to_thread(reviewed_job, visit, visit.part("name"))
    verdict = next((name for name in VERDICTS if name == form.get("verdict")), None)
    if verdict is None:
        raise BadInput("choose a verdict; nothing was recorded")
    scores, notes = _scores(form), text_of(form, "notes") or None
    key = review_id(job.job_id, visit.caller.name, text_of(form, "as_shown"))
    queue = await asyncio.to_thread(unreviewed, visit, which_of(visit), 2)
    try:
        await review(visit.session, job, verdict, scores, notes, _timed(form), event_id=key)
    except EventIdConflict:  # the form was submitted twice
        visit.session.log.info("review.repeated", job_id=job.job_id)
    following = next((waiting for waiting in queue if waiting.job_id != job.job_id), None)
    words = f"Your review of {job.job_id} is recorded: {verdict.replace('_', ' ')}."
    where = "/review" if following is None else f"/review/{following.job_id}"
    return Done(f"{where}?which={which_of(visit).value}", words)


def _scores(form: FormData) -> dict[str, int]:
    """Return the scores that were filled in."""
    scores = {}
    for name in SCORES:
        text = text_of(form, name)
        if text and not (text.isdecimal() and int(text) <= HIGHEST):
            raise BadInput(f"{name.replace('_', ' ')} {text[:20]!r}: expected a number from 0 to {HIGHEST}")
        if text:
            scores[name] = int(text)
    return scores


def _timed(form: FormData) -> list[NoteAt]:
    """Return the complete notes; a note with only a moment or only a text is refused."""
    rows = zip_longest(form.getlist("at"), form.getlist("note"), fillvalue="")
    written = ((str(at).strip(), str(text).strip()) for at, text in rows)
    return [read_note(f"{at}={text}") for at, text in written if at or text]


ACTIONS = (Action("/review/{name}", "/review/{name}", Permission.REVIEW, record),)


MOST_LISTED = 12
MOST_COUNTED = 100


class Note(View):
    """A note about a moment of the clip; `text` is None once it is erased."""

    at_ms: int
    text: str | None


class RecordedReview(View):
    """A review on the record; `is_last` if its author made no later one."""

    reviewer: str
    at: str
    verdict: str
    scores: dict[str, int]
    has_notes: bool
    notes: str | None
    timed_notes: list[Note]
    is_last: bool


class Range(View):
    """The scores of one kind by all reviewers."""

    name: str
    low: int
    mean: int
    high: int


class Clip(View):
    """A finished video, and its reviews; `title` is None once its prompt is erased."""

    job_id: str
    title: str | None
    purpose: str | None
    model: str | None
    size: str | None
    requester: str
    finished_at: str
    verdict: str | None
    media_type: str | None
    has_poster: bool
    duration_ms: int | None
    source_job: str | None
    reviews: list[RecordedReview]
    agreement: str
    ranges: list[Range]
    as_shown: int
    """The version of the job, so that a form submitted twice is one review."""


class InQueue(View):
    """Another clip in the queue."""

    job_id: str
    title: str | None
    has_poster: bool


class Review(View):
    """The page: a clip, and its queue; no clip if nothing is left to judge."""

    which: str
    clip: Clip | None
    may_review: bool
    newer: str | None
    older: str | None
    queue: list[InQueue]
    waiting: int
    """The number of clips without a review, counted up to a hundred."""

    scores: tuple[str, ...] = SCORES
    highest: int = HIGHEST


def read(visit: Visit) -> Review:
    """Read the queue, and the clip at its head."""
    which = which_of(visit)
    head = next(iter(unreviewed(visit, which, 1)), None)
    return _page(visit, which, head)


def read_one(visit: Visit) -> Review:
    """Read one clip; it may have been reviewed before."""
    job = reviewed_job(visit, visit.part("name"))
    return _page(visit, which_of(visit), job)


def count(visit: Visit) -> int:
    """Return the number of finals that wait for a review, up to a hundred."""
    return len(unreviewed(visit, Unreviewed.FINALS, MOST_COUNTED))


def which_of(visit: Visit) -> Unreviewed:
    """Return the queue in the address: all clips, unless it says finals."""
    return Unreviewed.FINALS if visit.query("which") == Unreviewed.FINALS else Unreviewed.ALL


def reviewed_job(visit: Visit, name: str) -> Job:
    """Return the job with the id `name` if it has a video; `JobNotFound` if the reader may not see one."""
    job = visit.session.ledger.store.job(name)
    if job is None or not visit.may_see(job) or job.state not in REVIEWABLE:
        raise JobNotFound(f"{name[:64]!r} is not the id of a finished video that you may see")
    return job


def unreviewed(visit: Visit, which: Unreviewed, limit: int, *, before: str | None = None) -> list[Job]:
    """Return clips without a review, newest first; those requested before the job `before`."""
    where = JobFilter(unreviewed=which, before=before)
    return visible_jobs(visit.session, visit.caller, where, limit)


def _page(visit: Visit, which: Unreviewed, job: Job | None) -> Review:
    queue = unreviewed(visit, which, MOST_COUNTED)
    others = [waiting for waiting in queue if job is None or waiting.job_id != job.job_id]
    older = newer = None
    if job is not None:
        older = next(iter(unreviewed(visit, which, 1, before=job.job_id)), None)
        after = JobFilter(unreviewed=which, after=job.job_id, oldest_first=True)
        newer = next(iter(visible_jobs(visit.session, visit.caller, after, 1)), None)
    return Review(
        which=which.value,
        clip=_clip(visit, job) if job is not None else None,
        may_review=visit.may(Permission.REVIEW),
        newer=newer.job_id if newer else None,
        older=older.job_id if older else None,
        queue=[_in_queue(visit, other_job) for other_job in others[:MOST_LISTED]],
        waiting=len(queue),
    )


def _clip(visit: Visit, job: Job) -> Clip:
    history = JobHistory.of(visit.session.ledger, job)
    earlier = reviews_in(history)
    agreed = agreement(earlier)
    last = {review.record.position for review in last_by_person(earlier).values()}
    video = job.assets.get(Variant.VIDEO)
    return Clip(
        job_id=job.job_id,
        title=prompt_of(visit.session, job),
        purpose=job.purpose,
        model=job.model,
        size=job.size,
        requester=job.actor,
        finished_at=job.updated_at,
        verdict=job.verdict,
        media_type=video.media_type if video else None,
        has_poster=Variant.THUMBNAIL in job.assets,
        duration_ms=clip_ms(history, job),
        source_job=job.source_job,
        reviews=[_row(review, is_last=review.record.position in last) for review in reversed(earlier)],
        agreement=agreed.words,
        ranges=[
            Range(name=name, low=low, mean=mean, high=high)
            for name, (low, mean, high) in agreed.scores.items()
        ],
        as_shown=job.version,
    )


def _row(review: Entry[ReviewRecorded], *, is_last: bool) -> RecordedReview:
    event = review.event
    return RecordedReview(
        reviewer=review.record.actor,
        at=review.record.recorded_at,
        verdict=event.verdict,
        scores=dict(event.scores),
        has_notes=event.notes is not None,
        notes=_text(event.notes),
        timed_notes=[Note(at_ms=note.at_ms, text=note.text.text) for note in event.timed_notes],
        is_last=is_last,
    )


def _text(private: Private | None) -> str | None:
    return private.text if private else None


def _in_queue(visit: Visit, job: Job) -> InQueue:
    return InQueue(
        job_id=job.job_id, title=prompt_of(visit.session, job), has_poster=Variant.THUMBNAIL in job.assets
    )


PAGES = (
    Page("/review", "Review", "review.html", read, permission=Permission.REVIEW, count=count),
    Page("/review/{name}", "Review", "review.html", read_one, menu=False),
)
