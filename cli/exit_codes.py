"""The one table of exit codes, and which error or job ends with which.

Errors are matched by the packages' own trees; the modules they live in are imported only when there is an
error or a job to match, so that ``--help`` and a Ctrl-C in the first instant pay nothing for them.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ledger.job import Job


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
    ExitCode.INTEGRITY: "a check of the record found something",
    ExitCode.AUDIT: "audit found something",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
}

OF_STATE = {
    "denied": ExitCode.DENIED,
    "held": ExitCode.DENIED,
    "approved": ExitCode.DENIED,
    "refused": ExitCode.DENIED,
    "failed": ExitCode.RENDER_FAILED,
    "lost": ExitCode.RENDER_FAILED,
    "abandoned": ExitCode.RENDER_FAILED,
    "submitting": ExitCode.UNKNOWN,
    "unknown": ExitCode.UNKNOWN,
    "rejected": ExitCode.SERVER,
    "absent": ExitCode.SERVER,
}
"""By `ledger.job.State`; a state that is not here is no trouble."""

WORST_FIRST = (
    ExitCode.LEDGER_UNUSABLE,
    ExitCode.UNKNOWN,
    ExitCode.SERVER,
    ExitCode.FAILED,
    ExitCode.BAD_INPUT,
    ExitCode.RENDER_FAILED,
    ExitCode.TIMED_OUT,
    ExitCode.DENIED,
    ExitCode.DONE,
)
"""In which order the ends of many jobs count: what needs a person soonest comes first."""


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the code of a command that ended in all of these."""
    return min(codes, key=WORST_FIRST.index, default=ExitCode.DONE)


def of_job(job: "Job") -> ExitCode:
    """Return the exit code of a command that leaves `job` as it is."""
    return OF_STATE.get(job.state.value, ExitCode.DONE)


def of_error(error: Exception) -> ExitCode | None:
    """Return the exit code for an error raised on purpose; None for one that was not."""
    from decision.errors import DecisionError  # noqa: PLC0415
    from ledger import errors as ledger  # noqa: PLC0415
    from render_service.runtime import errors as service  # noqa: PLC0415
    from sora_adapter import errors as adapter  # noqa: PLC0415

    table: list[tuple[type[Exception], ExitCode]] = [
        (ledger.JobNotFound, ExitCode.BAD_INPUT),
        (ledger.AmbiguousJob, ExitCode.BAD_INPUT),
        (ledger.LedgerUnusable, ExitCode.LEDGER_UNUSABLE),
        (ledger.LedgerError, ExitCode.FAILED),
        (DecisionError, ExitCode.BAD_INPUT),
        (service.BadInput, ExitCode.BAD_INPUT),
        (service.NotApproved, ExitCode.DENIED),
        (service.MayBeOurs, ExitCode.UNKNOWN),
        (service.NotIntact, ExitCode.INTEGRITY),
        (service.ServiceError, ExitCode.FAILED),
        (adapter.SettingsUnusable, ExitCode.BAD_INPUT),
        (adapter.ReferenceUnreadable, ExitCode.BAD_INPUT),
        (adapter.OperationUnsupported, ExitCode.BAD_INPUT),
        (adapter.PollTimeout, ExitCode.TIMED_OUT),
        (adapter.ServerTrouble, ExitCode.SERVER),
        (adapter.ServerRefused, ExitCode.SERVER),
        (adapter.ServerUnreadable, ExitCode.SERVER),
        (adapter.AdapterError, ExitCode.FAILED),
    ]
    return next((code for kind, code in table if isinstance(error, kind)), None)
