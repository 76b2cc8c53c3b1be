"""The only table of exit codes, by error and by job state.

Errors and jobs are matched by name, so that ``--help`` and an early Ctrl-C import nothing for them.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ledger.job import Job


class ExitCode(IntEnum):
    """The exit code of the process."""

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
    ExitCode.TIMED_OUT: "timed out waiting; the render continues",
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
"""By `ledger.terms.State`; any other state ends with 0."""

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
"""Priority of the codes of many jobs: the one that needs a person soonest comes first."""


def choose_worst(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the exit code of a command whose jobs ended with `codes`."""
    return min(codes, key=WORST_FIRST.index, default=ExitCode.DONE)


def code_of_job(job: "Job") -> ExitCode:
    """Return the exit code of a command whose job is in this state."""
    return OF_STATE.get(job.state.value, ExitCode.DONE)


OF_ERROR = {
    "ledger.errors.JobNotFound": ExitCode.BAD_INPUT,
    "ledger.errors.AmbiguousJob": ExitCode.BAD_INPUT,
    "ledger.errors.LedgerUnusable": ExitCode.LEDGER_UNUSABLE,
    "ledger.errors.LedgerError": ExitCode.FAILED,
    "decision.errors.DecisionError": ExitCode.BAD_INPUT,
    "render_service.runtime.errors.BadInput": ExitCode.BAD_INPUT,
    "render_service.runtime.errors.NotApproved": ExitCode.DENIED,
    "render_service.runtime.errors.NotMarked": ExitCode.DENIED,
    "render_service.runtime.errors.MayBeOurs": ExitCode.UNKNOWN,
    "render_service.runtime.errors.LogUnreachable": ExitCode.SERVER,
    "render_service.runtime.errors.NotIntact": ExitCode.INTEGRITY,
    "render_service.runtime.errors.NotStamped": ExitCode.SERVER,
    "render_service.runtime.errors.NotWitnessed": ExitCode.SERVER,
    "render_service.runtime.errors.ServiceError": ExitCode.FAILED,
    "sora_adapter.errors.SettingsUnusable": ExitCode.BAD_INPUT,
    "sora_adapter.errors.ReferenceUnreadable": ExitCode.BAD_INPUT,
    "sora_adapter.errors.OperationUnsupported": ExitCode.BAD_INPUT,
    "sora_adapter.polling.PollTimeout": ExitCode.TIMED_OUT,
    "sora_adapter.errors.ServerTrouble": ExitCode.SERVER,
    "sora_adapter.errors.ServerRefused": ExitCode.SERVER,
    "sora_adapter.errors.ServerUnreadable": ExitCode.SERVER,
    "sora_adapter.errors.AdapterError": ExitCode.FAILED,
}
"""By the name of an error's class, the most specific first, so that nothing is imported to end a command."""


def code_of_error(error: Exception) -> ExitCode | None:
    """Return the exit code for an error raised on purpose; None for any other."""
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)
    return next((OF_ERROR[name] for name in names if name in OF_ERROR), None)
