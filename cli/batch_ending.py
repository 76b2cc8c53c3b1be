"""How the entries of a batch ended: the code of each, and the way out for those without a video."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.ending import way_out
from cli.exit_codes import ExitCode, of_error, of_job
from cli.invocation import Invocation, say
from ledger.job import State

if TYPE_CHECKING:
    from render_service.batches.member import Member

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
