"""The one table of exit codes, and which error or job ends with which.

Errors are matched by the packages' own trees; the modules they live in are imported only when there is an
error to match, so that a command that works pays nothing for them.
"""

from enum import IntEnum

from ledger.events import Outcome
from ledger.job import Job, State


class ExitCode(IntEnum):
    """What the process says when it ends."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    DENIED = 3
    RENDER_FAILED = 4
    TIMED_OUT = 5
    UNKNOWN = 6
    LEDGER_UNUSABLE = 7
    SERVER = 8
    INTEGRITY = 10
    AUDIT = 11
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed",
    ExitCode.BAD_INPUT: "usage or bad input; nothing was recorded",
    ExitCode.DENIED: "denied or held; recorded with the reason",
    ExitCode.RENDER_FAILED: "the render failed, or its video was lost",
    ExitCode.TIMED_OUT: "timed out waiting; the render goes on",
    ExitCode.UNKNOWN: "outcome unknown: a video may exist",
    ExitCode.LEDGER_UNUSABLE: "the ledger cannot be used",
    ExitCode.SERVER: "the server is unreachable or refuses",
    ExitCode.INTEGRITY: "verify or replay found something",
    ExitCode.AUDIT: "audit found something",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
}

_BY_STATE = {
    State.DENIED: ExitCode.DENIED,
    State.HELD: ExitCode.DENIED,
    State.REFUSED: ExitCode.DENIED,
    State.FAILED: ExitCode.RENDER_FAILED,
    State.LOST: ExitCode.RENDER_FAILED,
    State.SUBMITTING: ExitCode.UNKNOWN,
    State.UNKNOWN: ExitCode.UNKNOWN,
    State.REJECTED: ExitCode.SERVER,
    State.ABSENT: ExitCode.SERVER,
}


def of_job(job: Job) -> ExitCode:
    """Return the exit code of a command that leaves `job` as it is."""
    if job.outcome is Outcome.REJECTED:
        return ExitCode.SERVER
    return _BY_STATE.get(job.state, ExitCode.DONE)


def of_error(error: Exception) -> ExitCode | None:
    """Return the exit code for an error raised on purpose; None for one that was not."""
    from decision.errors import DecisionError  # noqa: PLC0415
    from ledger import errors as ledger  # noqa: PLC0415
    from render_service import errors as service  # noqa: PLC0415
    from sora_adapter import errors as adapter  # noqa: PLC0415

    table: list[tuple[type[Exception], ExitCode]] = [
        (ledger.JobNotFound, ExitCode.BAD_INPUT),
        (ledger.AmbiguousJob, ExitCode.BAD_INPUT),
        (ledger.LedgerUnusable, ExitCode.LEDGER_UNUSABLE),
        (ledger.LedgerError, ExitCode.FAILED),
        (DecisionError, ExitCode.BAD_INPUT),
        (service.BadInput, ExitCode.BAD_INPUT),
        (service.ServiceError, ExitCode.FAILED),
        (adapter.SettingsUnusable, ExitCode.BAD_INPUT),
        (adapter.ReferenceUnreadable, ExitCode.BAD_INPUT),
        (adapter.PollTimeout, ExitCode.TIMED_OUT),
        (adapter.ServerTrouble, ExitCode.SERVER),
        (adapter.ServerRefused, ExitCode.SERVER),
        (adapter.ServerUnreadable, ExitCode.SERVER),
        (adapter.AdapterError, ExitCode.FAILED),
    ]
    return next((code for kind, code in table if isinstance(error, kind)), None)
