"""How a command ends on a job that is not as it was asked for: the code of its state, and the way out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cli.exit_codes import ExitCode, of_error, of_job
from cli.failures import Failure
from cli.invocation import Invocation, say
from ledger.job import Job, State
from render_service.submission.result import denial, held_for, submission_trouble

if TYPE_CHECKING:
    from render_service.batches.item import Member


_WAYS_OUT = {
    State.REFUSED: "somebody refused it; `sora-ledger show {id}` says who, and why",
    State.FAILED: "the server failed to render it ({code}); `sora-ledger show {id}` has its words",
    State.LOST: "its video can no longer be had; render it again",
    State.ABANDONED: "somebody gave it up; `sora-ledger show {id}` says why",
    State.SUBMITTING: "a submission is under way or was cut off, so a video may exist: "
    "`sora-ledger reconcile {id}` looks for it; nothing is sent again",
}

_WITH_A_KEY = (
    "the same command with the same --request-key tries again",
    "this request is closed: to ask again, take another --request-key",
)


def end(inv: Invocation, job: Job, *, told: bool = False) -> None:
    """Exit with the job's code, after a line that says the way out where it is not 0 and was not `told`."""
    code = of_job(job)
    if code is ExitCode.DONE:
        return
    because = "" if told else f": {way_out(inv, job, *_WITH_A_KEY)}"
    Failure(code.name.lower(), code, f"{job.job_id} is {job.state}{because}").report()
    raise click.exceptions.Exit(code)


def way_out(inv: Invocation, job: Job, again: str, over: str) -> str:
    """Say why `job` stands where it does and what now: `again` where it may be sent, `over` where not."""
    if job.state in _WAYS_OUT:
        return _WAYS_OUT[job.state].format(id=job.job_id, code=job.error_code or "no code")

    with inv.ledger() as ledger:
        if job.state is State.DENIED:
            return denial(ledger, job)
        if job.state in {State.HELD, State.APPROVED}:
            return held_for(ledger, job)
        said = submission_trouble(ledger, job, inv.settings.profiles_file)
    if job.state not in {State.ABSENT, State.REJECTED} or job.request_key is None:
        return str(said)
    if job.outcome is None:
        return f"{said}; {again}"
    return f"{said}; {over}"


_AGAIN = "--resume tries again"
_OVER = "it is closed: to ask again, put it into another batch"


def code_of(member: "Member") -> ExitCode:
    """Return the exit code of one entry."""
    if member.job.state is State.LOST:
        return of_job(member.job)
    if member.error is not None:
        return of_error(member.error) or ExitCode.FAILED
    return of_job(member.job)


def trouble_of(inv: Invocation, member: "Member", *, queued: bool = False) -> str | None:
    """Say what kept an entry from its video; None if nothing did, or it was `queued` on purpose."""
    if member.error is not None:
        return str(member.error)
    if member.has_failed:
        return way_out(inv, member.job, _AGAIN, _OVER)
    was_left = member.job.state is State.DECIDED and not queued
    return "not sent, because another failed (--fail-fast); --resume goes on" if was_left else None


def say_troubles(members: "Sequence[Member]", troubles: Sequence[str | None]) -> None:
    """List the entries that did not come to a video, by line."""
    for member, trouble in zip(members, troubles, strict=True):
        if trouble is not None:
            job, line = member.job, member.planned.entry.line
            say(f"Error: line {line}: {job.job_id} is {job.state}: {trouble}")
