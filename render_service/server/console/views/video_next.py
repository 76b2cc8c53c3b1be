"""The next steps of a job: who can take which from its page, and when its video is expected."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from starlette.datastructures import FormData

from decision.rules.roles import Permission, roles_with
from ledger.events import AssetLost, RenderDenied, SubmissionUnknown
from ledger.job import Job
from ledger.record import timestamp
from ledger.terms import State, Variant
from render_service.adoption.server_library import delete
from render_service.approvals.approvers import takes_signature
from render_service.reports.record_words import describe_error
from render_service.rules.measurements import is_under_way
from render_service.runtime.errors import BadInput, NotReady
from render_service.server.console.jobs import find_job, hides_words
from render_service.server.console.pages import PREFIX, Action, Done, View, Visit, text_of
from render_service.session.history import JobHistory
from render_service.settlement.overdue import give_up
from render_service.settlement.settle import fetch
from render_service.submission.fix_commands import ways_out, who_can
from render_service.submission.resume import cancel, resume
from sora_adapter.errors import AdapterError, ContentExpired, ContentGone, loggable


class Next(View):
    """The state of a job in a sentence or two, who can take the next step, and the steps.

    `href` is a console page with the step, `steps` are further options, in the words of the decision.
    """

    words: str
    who: str | None = None
    href: str | None = None
    link: str | None = None
    steps: tuple[str, ...] = ()


class Expected(View):
    """The expected time of a video: half of such renders took `median_seconds`, nine of ten `p90_seconds`."""

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


_SIGNED = "The approval must be signed with a key that the policy names for the approver."


def is_final(job: Job) -> bool:
    """Return whether `job` no longer changes by itself: an ended job is closed soon after."""
    return job.outcome is not None


def expected(visit: Visit, job: Job) -> Expected | None:
    """Return when the video of `job` is expected; None if it is not in progress, or data is lacking."""
    if not is_under_way(job):
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
    """Return a link for people who may use the page it leads to."""
    return {"href": PREFIX + path, "link": words} if visit.may(permission) else {}


def people(visit: Visit, permission: Permission) -> str:
    """Return who has `permission`: the roles in the policy in force that grant it."""
    roles = roles_with(visit.session.policy.roles_in_force, permission)
    return f"a person with the role {' or '.join(roles)}" if roles else "nobody: no role permits it"


def _requester(job: Job) -> str:
    return f"{job.actor}, who requested it"


def _held(visit: Visit, job: Job, history: JobHistory) -> Next:
    hold = history.hold
    assert hold is not None  # a held job always has its hold
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
        steps=("Workers look for it automatically; if they cannot tell, a person decides what happened.",),
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
        steps=("Change the part that the server objects to, then make a new request.",),
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
    """Return the server's last words, as far as this person may read them."""
    errors = (getattr(record.event, "error", None) for record in reversed(history.records))
    error = next(filter(None, errors), None)
    if error is None:
        return ""
    if hides_words(visit, error):
        return " (it refused this gateway's own key or account)"
    words = describe_error(error)
    return f" ({words})" if words else ""


PAGE = "/videos/{name}"
LONGEST_REASON = 2_000


async def _job(visit: Visit) -> Job:
    return await asyncio.to_thread(find_job, visit, visit.part("name"))


def _reason(form: FormData) -> str | None:
    text = text_of(form, "reason")
    if len(text) > LONGEST_REASON:
        raise BadInput(f"the reason has {len(text):,} characters, at most {LONGEST_REASON:,} are recorded")
    return text or None


@contextmanager
def _at_server(visit: Visit, doing: str) -> Iterator[None]:
    """Describe the result of a call to the server; only operators see its words, which may quote its key."""
    try:
        yield
    except AdapterError as error:
        visit.session.log.warning("console.server_failed", doing=doing, **loggable(error))
        because = f": {error}" if visit.may(Permission.OPERATE) else "; the log of this server says why"
        raise NotReady(f"the server did not {doing}, so nothing was recorded{because}") from error


def _done(job: Job, message: str) -> Done:
    return Done(f"/videos/{job.job_id}", message)


async def cancel_job(visit: Visit, form: FormData) -> Done:
    """Withdraw a job that was not sent."""
    job = await cancel(visit.session, await _job(visit), _reason(form))
    return _done(job, "The request was cancelled, and its reservation released.")


async def delete_video(visit: Visit, form: FormData) -> Done:
    """Delete a video at its server."""
    job = await _job(visit)
    with _at_server(visit, "delete the video"):
        job = await delete(visit.session, job, _reason(form))
    return _done(job, "The video was deleted at the server.")


async def resume_job(visit: Visit, _: FormData) -> Done:
    """Resubmit a job that is known to have created nothing."""
    job = await _job(visit)
    with _at_server(visit, "take the request"):
        placed = await resume(visit.session, job)
    return _done(placed.job, f"The request was sent again: it is {placed.job.state} now.")


async def give_up_job(visit: Visit, form: FormData) -> Done:
    """Close a job whose render never ends."""
    reason = _reason(form)
    if reason is None:
        raise BadInput("a reason is required: it explains the spending in the record")
    job = await give_up(visit.session, await _job(visit), reason)
    return _done(job, "The render was given up; its estimate counts as spent.")


async def fetch_pictures(visit: Visit, _: FormData) -> Done:
    """Store the thumbnail and the spritesheet, if the server has them."""
    job = await _job(visit)
    missing = [variant for variant in (Variant.THUMBNAIL, Variant.SPRITESHEET) if variant not in job.assets]
    fetched, gone = list[str](), list[str]()
    for variant in missing:
        try:
            with _at_server(visit, f"send the {variant}"):
                job = await fetch(visit.session, job, variant)
        except NotReady as refused:
            if not isinstance(refused.__cause__, ContentExpired | ContentGone) and not fetched:
                raise
            gone.append(variant.value)
        else:
            fetched.append(variant.value)
    if not fetched:
        raise NotReady(
            f"the server no longer has the {' and the '.join(gone) or 'files'}; nothing was recorded"
        )
    return _done(job, f"Stored: the {' and the '.join(fetched)}.")


ACTIONS = (
    Action(f"{PAGE}/cancel", PAGE, Permission.REQUEST, cancel_job),
    Action(f"{PAGE}/delete", PAGE, Permission.REQUEST, delete_video),
    Action(f"{PAGE}/resume", PAGE, Permission.REQUEST, resume_job),
    Action(f"{PAGE}/give-up", PAGE, Permission.OPERATE, give_up_job),
    Action(f"{PAGE}/fetch", PAGE, Permission.READ, fetch_pictures),
)
