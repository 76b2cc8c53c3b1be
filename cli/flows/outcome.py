"""The end of a command for an unsuccessful job: the exit code of its state, and the way out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cli.exit_codes import ExitCode, code_of_error, code_of_job
from cli.failures import Failure
from cli.invocation import Invocation, say
from ledger.job import Job
from ledger.terms import State

if TYPE_CHECKING:
    from render_service.batches.item import Member


_WAYS_OUT = {
    State.REFUSED: "it was rejected; `sora-ledger show {id}` says by whom and why",
    State.FAILED: "the server failed to render it ({code}); `sora-ledger show {id}` shows its message",
    State.LOST: "its video is no longer available; render it again",
    State.ABANDONED: "it was given up; `sora-ledger show {id}` says why",
    State.SUBMITTING: "a submission is under way or was cut off, so a video may exist: "
    "`sora-ledger reconcile {id}` looks for it; nothing is sent again",
}

_WITH_A_KEY = (
    "the same command with the same --request-key tries again",
    "this request is closed: to request it again, use another --request-key",
)


def end(inv: Invocation, job: Job, *, explained: bool = False) -> None:
    """Exit with the job's code unless it is 0, after an error that names the way out, unless `explained`."""
    code = code_of_job(job)
    if code is ExitCode.DONE:
        return
    because = "" if explained else f": {explain_outcome(inv, job, *_WITH_A_KEY)}"
    may_send = job.state in {State.ABSENT, State.REJECTED} and job.outcome is None and job.request_key
    from render_service.submission.result import shortfall  # loads the decision rules; few jobs need it

    with inv.ledger() as ledger:
        lacks = shortfall(ledger, job)
    Failure(
        f"job_{job.state}",
        code,
        f"{job.job_id} is {job.state}{because}",
        retry="same_key" if may_send else "never",
        param=lacks.param,
        expected=lacks.expected,
        found=lacks.found,
        next=lacks.commands,
    ).report()
    raise click.exceptions.Exit(code)


def explain_outcome(inv: Invocation, job: Job, again: str, over: str) -> str:
    """Return why `job` is in its state and what to do: `again` if it may be resent, else `over`."""
    if job.state in _WAYS_OUT:
        return _WAYS_OUT[job.state].format(id=job.job_id, code=job.error_code or "no code")
    from render_service.session.event_ids import RETRY
    from render_service.submission import result  # loads the decision rules; few jobs need it

    with inv.ledger() as ledger:
        if job.state is State.DENIED:
            return result.denial(ledger, job)
        if job.state in {State.HELD, State.APPROVED}:
            return result.held_for(ledger, job)
        problem = result.submission_trouble(ledger, job, inv.settings.profiles_file)
    own_key = job.request_key is not None and not job.request_key.startswith(RETRY)
    if job.state not in {State.ABSENT, State.REJECTED} or not own_key:
        return str(problem)
    if job.outcome is None:
        return f"{problem}; {again}"
    return f"{problem}; {over}"


_AGAIN = "--resume tries again"
_OVER = "it is closed: to request it again, use another batch"


def code_of(member: "Member") -> ExitCode:
    """Return the exit code of one entry."""
    if member.job.state is State.LOST:
        return code_of_job(member.job)
    if member.error is not None:
        return code_of_error(member.error) or ExitCode.FAILED
    return code_of_job(member.job)


def trouble_of(inv: Invocation, member: "Member", *, queued: bool = False) -> str | None:
    """Return why an entry has no video; None if it has one, or was `queued` on purpose."""
    if member.error is not None:
        return str(member.error)
    if member.has_failed:
        return explain_outcome(inv, member.job, _AGAIN, _OVER)
    was_left = member.job.state is State.DECIDED and not queued
    return "not sent, because another failed (--fail-fast); --resume continues" if was_left else None


def say_troubles(members: "Sequence[Member]", troubles: Sequence[str | None]) -> None:
    """Print the entries without a video, by line."""
    for member, trouble in zip(members, troubles, strict=True):
        if trouble is not None:
            job, line = member.job, member.planned.entry.line
            say(f"Error: line {line}: {job.job_id} is {job.state}: {trouble}")
