"""What approve and reject share: the key, the answer, and its output."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from cli.text.decisions import show_ruling
from cli.text.jobs import show_job, show_submitting
from ledger.job import Job, State
from render_service.evidence.keys import read_signer
from render_service.runtime.documents import counted
from render_service.submission.preview import ruling_document

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.tree.checkpoint import Signer
    from render_service.approvals.approvals import Answered
    from render_service.session.session import Session

    Answer = Callable[[Session, Job, Signer | None], Coroutine[Any, Any, Answered]]


def read_key(key: Path | None) -> "Signer | None":
    """Return the signing key in a file, None without one."""
    if key is None:
        return None

    return read_signer(key)


def answer_and_show(
    inv: Invocation, name: str, key: Path | None, answer: "Answer", *, silent: bool = False
) -> Job:
    """Answer for the job called `name`, signed with `key` if there is one; return the job after it.

    The result is emitted, unless the job was allowed and `silent` leaves that to the caller.
    """
    signer = read_key(key)

    async def follow(session: "Session") -> "Answered":
        return await answer(session, await session.job(name), signer)

    answered = inv.session(follow)
    job, ruling = answered.job, answered.ruling
    if silent and job.state is State.DECIDED:
        return job
    decision = ruling_document(ruling, job_id=job.job_id, draft=job.source_job) if ruling else None
    document = inv.job_document(job) | {"decision": decision, "approvals_needed": answered.needed}
    inv.emit(document, lambda console: _text(console, answered))
    if ruling and job.state in {State.DENIED, State.HELD}:
        again = (
            "denied" if job.state is State.DENIED else "held again, since it would not be what was approved"
        )
        say(f"Error: {job.job_id} was approved, and {again} when it was decided anew")
        raise click.exceptions.Exit(ExitCode.DENIED)
    return job


def _text(console: "Console", answered: "Answered") -> None:
    job = answered.job
    if answered.ruling:
        show_ruling(console, answered.ruling, job_id=job.job_id, draft=job.source_job)
    show_job(console, job)
    if answered.needed:
        console.print(f"{counted(answered.needed, 'more approval')} needed")
    if job.state is State.DECIDED:
        show_submitting(console, job)
