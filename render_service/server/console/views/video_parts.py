"""The parts of a video's page that come from its records: events, costs, people, and what happens next.

The latter says who can do something about it, and when a video that is not ready is expected.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from decision.rules.roles import Permission, roles_with
from ledger.events import (
    AssetLost,
    CostSettled,
    RenderClosed,
    RenderDecided,
    RenderDenied,
    ReviewRecorded,
    SubmissionUnknown,
    TimedNote,
)
from ledger.job import Job
from ledger.private import Private
from ledger.record import Record, timestamp
from ledger.terms import Outcome, State
from render_service.approvals.approvers import takes_signature
from render_service.reports.answers import HOW, answers
from render_service.reports.record_words import describe_error, what
from render_service.rules.measurements import under_way
from render_service.server.console.jobs import hides_words
from render_service.server.console.pages import PREFIX, View, Visit
from render_service.session.history import JobHistory
from render_service.submission.fix_commands import ways_out, who_can

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
"""How an event is marked in the timeline; the others are neutral."""

_VERDICTS = {"approved": "good", "rejected": "bad", "changes_requested": "attention"}
_ABOUT_GATEWAY = "the server refused this gateway's own key or account; an operator can read its words"


class PrivateText(View):
    """Text that may have been erased: then it is null."""

    text: str | None


def private(text: Private | None) -> PrivateText | None:
    """Return text as a page shows it; None where there never was any."""
    return None if text is None else PrivateText(text=text.text)


class EventLine(View):
    """One record of a job: when, what, in a few words, and by whom."""

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
    """What a job was estimated to cost, what is reserved now, and what was booked in the end.

    `difference_usd_micros` is what it cost more than estimated. `basis` says where the booked cost is from.
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
    """What a person said to a request: who, how they were identified, and when."""

    said: str
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
            said=one.said,
            actor=one.record.actor,
            how=one.how,
            is_proven=one.is_proven,
            comment=private(
                getattr(one.record.event, "comment", None) or getattr(one.record.event, "why", None)
            ),
            at=one.record.recorded_at,
            position=one.record.position,
        )
        for one in answers_found
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


class Next(View):
    """Where a job stands in a sentence or two, who can take the next step, and the steps.

    `href` is a page of the console that has the step, `steps` are more ways, in the words of the decision.
    """

    words: str
    who: str | None = None
    href: str | None = None
    link: str | None = None
    steps: tuple[str, ...] = ()


class Expected(View):
    """When a video should be there: half of such renders took `median_seconds`, nine of ten `p90_seconds`."""

    at: str
    median_seconds: int
    p90_seconds: int
    is_late: bool


_SAME_FOR_ALL: Mapping[State, Next] = {
    State.REQUESTED: Next(words="It is being decided."),
    State.SUBMITTING: Next(
        words="It is being sent to the server. If the answer is lost, the ledger finds out what happened; "
        "nothing is sent twice. Nobody needs to do anything.",
    ),
    State.COMPLETED: Next(words="It is rendered; the file is being downloaded and checked."),
    State.CANCELLED: Next(words="It was withdrawn before it was sent, so it cost nothing."),
}


_SIGNED = "The approval has to be signed with a key that the policy names for the approver."


def is_final(job: Job) -> bool:
    """Return whether nothing more happens to `job` by itself: what ended is closed soon after."""
    return job.outcome is not None


def expected(visit: Visit, job: Job) -> Expected | None:
    """Return when the video of `job` is expected; None if it is not under way, or too little was measured."""
    if not under_way(job):
        return None
    measured = visit.session.measuring.expected_of(job, visit.now)
    if measured is None:
        return None
    begun = datetime.fromisoformat(job.created_at)
    return Expected(
        at=timestamp(begun + timedelta(seconds=measured.p50_seconds)),
        median_seconds=measured.p50_seconds,
        p90_seconds=measured.p90_seconds,
        is_late=begun + timedelta(seconds=measured.p90_seconds) < visit.now,
    )


def next_of(visit: Visit, job: Job, history: JobHistory) -> Next:
    """Return the next step for `job`."""
    if job.state in {State.REJECTED, State.ABSENT} and job.outcome is not None:
        return _closed(visit, job, history)
    same = _SAME_FOR_ALL.get(job.state)
    return same if same is not None else _NEXT[job.state](visit, job, history)


def _link(visit: Visit, permission: Permission, path: str, words: str) -> dict[str, str]:
    """Return a link for those who may use the page that it leads to."""
    return {"href": PREFIX + path, "link": words} if visit.may(permission) else {}


def people(visit: Visit, permission: Permission) -> str:
    """Return who has `permission`: the roles of the policy in force that give it."""
    roles = roles_with(visit.session.policy.roles_in_force, permission)
    return f"a person with the role {' or '.join(roles)}" if roles else "nobody: no role permits it"


def _requester(job: Job) -> str:
    return f"{job.actor}, who requested it"


def _held(visit: Visit, job: Job, history: JobHistory) -> Next:
    hold = history.hold
    assert hold is not None  # a job is held by its hold
    approvals = len(history.approvals_since(hold.record))
    needed = hold.event.approvals_needed
    so_far = f" {approvals} of {needed} approved so far." if needed > 1 or approvals else ""
    rules = ", ".join(hold.event.reason_codes)
    return Next(
        words=f"It waits for approval by the policy's rule {rules}, and nothing is sent before.{so_far}",
        who=f"{people(visit, Permission.APPROVE)}, other than {job.actor}",
        href=f"{PREFIX}/inbox/{job.job_id}",
        link="Open the request",
        steps=(_SIGNED,) if takes_signature(history.first, hold.event, visit.session.policy) else (),
    )


def _refused(visit: Visit, job: Job, history: JobHistory) -> Next:
    answer = history.answers[-1] if history.answers else None
    by = f" by {answer.record.actor}" if answer else ""
    comment = answer.event.comment.text if answer and answer.event.comment else None
    because = f": “{comment}”" if comment else ""
    return Next(
        words=f"It was refused{by}{because}. This job is closed, and nothing was sent.",
        who=_requester(job),
        **_link(visit, Permission.REQUEST, "/new", "Make a new request"),
        steps=("Change the render so that an approver accepts it.",),
    )


def _denied(visit: Visit, job: Job, history: JobHistory) -> Next:
    denied = history.all_of(RenderDenied)[-1].event
    needed = who_can(denied)
    return Next(
        words="The policy denied it before anything was sent, so it cost nothing. This job is closed.",
        who=_requester(job) if needed is Permission.REQUEST else people(visit, needed),
        **_link(visit, Permission.REQUEST, "/new", "Make a new request"),
        steps=tuple(ways_out(denied)),
    )


def _decided(_: Visit, job: Job, __: JobHistory) -> Next:
    return Next(
        words="It is allowed and waits for a worker, which submits it as soon as limits and slots permit. "
        f"Nobody needs to do anything; until then, {job.actor} can cancel it.",
    )


def _rejected(visit: Visit, job: Job, history: JobHistory) -> Next:
    reason = _last_error(visit, history)
    return Next(
        words=f"The server did not accept the request{reason}, so nothing was created "
        "and nothing was billed.",
        who=_requester(job),
        steps=("Submit it again once the reason is gone; the decision still holds.",),
    )


def _unknown(visit: Visit, _: Job, history: JobHistory) -> Next:
    lost = history.last_of(SubmissionUnknown)
    how = f" ({lost.event.lost})" if lost else ""
    return Next(
        words=f"The server's answer was lost{how}, so a video may exist and may be billed. Its money stays "
        "reserved, and nothing is sent again, until the video is found or its absence is proven.",
        who=people(visit, Permission.OPERATE),
        **_link(visit, Permission.OPERATE, "/operations", "Open operations"),
        steps=("Workers look for it by themselves; if they cannot tell, a person decides what happened.",),
    )


def _absent(_: Visit, job: Job, __: JobHistory) -> Next:
    return Next(
        words="It is established that the server created nothing, so nothing was billed.",
        who=_requester(job),
        steps=("Submit it again, or cancel it.",),
    )


def _running(visit: Visit, job: Job, _: JobHistory) -> Next:
    progress = f" {job.progress} % done." if job.progress else ""
    return Next(
        words=f"The server is rendering it.{progress} Nobody needs to do anything; if it never ends, "
        f"{people(visit, Permission.OPERATE)} can give it up.",
    )


def _stored(visit: Visit, job: Job, __: JobHistory) -> Next:
    if job.verdict is None:
        return Next(
            words="The video is stored and checked. Nobody has reviewed it yet.",
            who=people(visit, Permission.REVIEW),
            **_link(visit, Permission.REVIEW, f"/review/{job.job_id}", "Review it"),
        )
    sentence = job.verdict.replace("_", " ")
    return Next(words=f"The video is stored and checked; the last review says {sentence}.")


def _failed(visit: Visit, job: Job, history: JobHistory) -> Next:
    return Next(
        words=f"The server could not render it{_last_error(visit, history)}. "
        "The estimate counts as spent, because servers may bill for failures.",
        who=_requester(job),
        **_link(visit, Permission.REQUEST, "/new", "Make a new request"),
        steps=("Change what the server objects to, then make a new request.",),
    )


def _lost(visit: Visit, job: Job, history: JobHistory) -> Next:
    gone = history.last_of(AssetLost)
    words = {
        "expired": "It was rendered, but it expired at the server before its file was stored.",
        "gone": "The server no longer has the video, and its file was not stored in time.",
        "deleted": "The video was deleted at the server before its file was stored.",
        "damaged": "The stored file was damaged, and the server no longer has the video.",
    }
    return Next(
        words=words[gone.event.cause if gone else "gone"],
        who=_requester(job),
        **_link(visit, Permission.REQUEST, "/new", "Make a new request"),
        steps=("Render it again. If the video turns up, it is still stored.",),
    )


def _abandoned(visit: Visit, job: Job, history: JobHistory) -> Next:
    given_up = history.by_people[-1] if history.by_people else None
    by = f" by {given_up.record.actor}" if given_up else ""
    return Next(
        words=f"It was given up{by}, and its estimate counts as spent. If the video turns up, it is stored.",
        who=_requester(job),
        **_link(visit, Permission.REQUEST, "/new", "Make a new request"),
    )


def _deleted(_: Visit, job: Job, __: JobHistory) -> Next:
    rest = "; its record and its stored file stay here" if job.assets else "; its record stays here"
    return Next(words=f"The video was deleted at the server{rest}.")


def _closed(visit: Visit, job: Job, history: JobHistory) -> Next:
    words = {
        State.REJECTED: f"The server did not accept it{_last_error(visit, history)}, so nothing was billed.",
        State.ABSENT: "It is established that the server created nothing, so nothing was billed.",
    }
    return Next(
        words=f"{words[job.state]} This job is closed.",
        who=_requester(job),
        **_link(visit, Permission.REQUEST, "/new", "Make a new request"),
    )


_NEXT: Mapping[State, Callable[[Visit, Job, JobHistory], Next]] = {
    State.HELD: _held,
    State.APPROVED: _held,
    State.REFUSED: _refused,
    State.DENIED: _denied,
    State.DECIDED: _decided,
    State.REJECTED: _rejected,
    State.UNKNOWN: _unknown,
    State.ABSENT: _absent,
    State.RUNNING: _running,
    State.STORED: _stored,
    State.FAILED: _failed,
    State.LOST: _lost,
    State.ABANDONED: _abandoned,
    State.DELETED: _deleted,
}


def _last_error(visit: Visit, history: JobHistory) -> str:
    """Return what the server said last, as far as this person may read it."""
    errors = (getattr(record.event, "error", None) for record in reversed(history.records))
    error = next(filter(None, errors), None)
    if error is None:
        return ""
    if hides_words(visit, error):
        return " (it refused this gateway's own key or account)"
    words = describe_error(error)
    return f" ({words})" if words else ""
