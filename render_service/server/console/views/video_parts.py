"""The parts of a video's page that come from its records: events, costs, people."""

from ledger.events import CostSettled, RenderClosed, RenderDecided, ReviewRecorded, TimedNote
from ledger.job import Job
from ledger.private import Private
from ledger.record import Record
from ledger.terms import Outcome
from render_service.reports.answers import HOW, answers
from render_service.reports.record_words import what
from render_service.server.console.jobs import hides_words
from render_service.server.console.pages import View, Visit
from render_service.session.history import JobHistory

_KINDS = {
    "asset.stored": "good",
    "approval.granted": "good",
    "render.decided": "good",
    "render.denied": "bad",
    "approval.refused": "bad",
    "submission.rejected": "bad",
    "asset.lost": "bad",
    "render.held": "attention",
    "submission.unknown": "attention",
    "decision.overridden": "attention",
    "private.erased": "attention",
    "submission.intended": "working",
    "submission.accepted": "working",
    "status.observed": "working",
}
"""The marks of events in the timeline; the others are neutral."""

_VERDICTS = {"approved": "good", "rejected": "bad", "changes_requested": "attention"}
_ABOUT_GATEWAY = "the server refused this gateway's own key or account; an operator can read its message"


class PrivateText(View):
    """Text that may be erased: then it is null."""

    text: str | None


def private(text: Private | None) -> PrivateText | None:
    """Return text in the page's format; None if there never was any."""
    return None if text is None else PrivateText(text=text.text)


class EventLine(View):
    """One record of a job: its time, its event in a few words, and its actor."""

    position: int
    at: str
    type: str
    words: str
    actor: str
    identified_by: str
    authority: str
    kind: str


def timeline(visit: Visit, history: JobHistory) -> tuple[EventLine, ...]:
    """Return the records of a job in order."""
    return tuple(_line(visit, record) for record in history.records)


def _line(visit: Visit, record: Record) -> EventLine:
    error = getattr(record.event, "error", None)
    return EventLine(
        position=record.position,
        at=record.recorded_at,
        type=record.type,
        words=_ABOUT_GATEWAY if hides_words(visit, error) else what(record.event),
        actor=record.actor,
        identified_by=HOW[record.envelope.actor_source],
        authority=record.envelope.authority,
        kind=_kind(record),
    )


def _kind(record: Record) -> str:
    event = record.event
    if isinstance(event, RenderClosed):
        return "good" if event.outcome is Outcome.STORED else ""
    if isinstance(event, ReviewRecorded):
        return _VERDICTS[event.verdict]
    return _KINDS.get(record.type, "")


class Hold(View):
    """Money that a job holds or held in one budget."""

    budget: str
    usd_micros: int


class Cost(View):
    """A job's estimated cost, its current reservation, and the final cost.

    `difference_usd_micros` is the final cost minus the estimate. `basis` is the source of the final cost.
    """

    estimate_usd_micros: int | None
    reserved_usd_micros: int
    settled_usd_micros: int | None
    difference_usd_micros: int | None
    basis: str | None
    settled_by: str | None
    budgets: tuple[Hold, ...]


def cost(job: Job, history: JobHistory) -> Cost:
    """Return the money of a job."""
    decided, settled = history.last_of(RenderDecided), history.last_of(CostSettled)
    return Cost(
        estimate_usd_micros=decided.event.cost_usd_micros if decided else None,
        reserved_usd_micros=job.reserved_usd_micros,
        settled_usd_micros=job.settled_usd_micros,
        difference_usd_micros=settled.event.difference_usd_micros if settled else None,
        basis=job.cost_basis,
        settled_by=settled.event.settled_by if settled else None,
        budgets=tuple(Hold(budget=name, usd_micros=micros) for name, micros in job.budgets.items()),
    )


class Answered(View):
    """A person's answer to a request: who, their identification, and when."""

    answer: str
    actor: str
    how: str
    is_proven: bool
    comment: PrivateText | None
    at: str
    position: int


class Moment(View):
    """A note of a review about a moment of the video."""

    at_ms: int
    text: PrivateText


class Reviewed(View):
    """A review: the verdict, the scores and the notes of one person."""

    verdict: str
    scores: dict[str, int]
    notes: PrivateText | None
    moments: tuple[Moment, ...]
    actor: str
    at: str
    position: int


def answered(visit: Visit, history: JobHistory) -> tuple[Answered, ...]:
    """Return the approvals, refusals and overrides of a job, and its request if that is signed."""
    answers_found = answers(visit.session.ledger, history)
    return tuple(
        Answered(
            answer=answer.verb,
            actor=answer.record.actor,
            how=answer.how,
            is_proven=answer.is_proven,
            comment=private(
                getattr(answer.record.event, "comment", None) or getattr(answer.record.event, "why", None)
            ),
            at=answer.record.recorded_at,
            position=answer.record.position,
        )
        for answer in answers_found
    )


def reviewed(history: JobHistory) -> tuple[Reviewed, ...]:
    """Return the reviews of a job, the last one first."""
    return tuple(
        Reviewed(
            verdict=entry.event.verdict,
            scores=entry.event.scores,
            notes=private(entry.event.notes),
            moments=tuple(map(_moment, entry.event.timed_notes)),
            actor=entry.record.actor,
            at=entry.record.recorded_at,
            position=entry.record.position,
        )
        for entry in reversed(history.all_of(ReviewRecorded))
    )


def _moment(note: TimedNote) -> Moment:
    return Moment(at_ms=note.at_ms, text=PrivateText(text=note.text.text))
