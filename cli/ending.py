"""How a command ends on a job that is not as it was asked for: the code of its state, and the way out."""

import click

from cli.exit_codes import ExitCode, of_job
from cli.invocation import Invocation, say
from ledger.job import Job, State

_WAYS_OUT = {
    State.APPROVED: "it needs one more approval: `sora-ledger approve {id}`, by somebody who has not yet",
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
    say(f"Error: {job.job_id} is {job.state}{because}")
    raise click.exceptions.Exit(code)


def way_out(inv: Invocation, job: Job, again: str, over: str) -> str:
    """Say why `job` stands where it does and what now: `again` where it may be sent, `over` where not."""
    if job.state in _WAYS_OUT:
        return _WAYS_OUT[job.state].format(id=job.job_id, code=job.error_code or "no code")
    from render_service.asking.placed import denial, held_for, submission_trouble  # noqa: PLC0415

    with inv.ledger() as ledger:
        if job.state is State.DENIED:
            return denial(ledger, job)
        if job.state is State.HELD:
            return held_for(ledger, job)
        said = submission_trouble(ledger, job, inv.settings.profiles_file)
    if job.state not in {State.ABSENT, State.REJECTED} or job.request_key is None:
        return str(said)
    if job.outcome is None:
        return f"{said}; {again}"
    return f"{said}; {over}"
