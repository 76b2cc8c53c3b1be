"""The base class of every error raised on purpose, and the errors of the ledger, drawn as a tree.

LedgerError
├── AppendRefused            nothing was recorded; the caller's decision was wrong or out of date
│   ├── EventIdConflict      these event ids belong to other events
│   ├── StaleFence           the lease was released, expired or went to another holder
│   ├── WrongExpectedVersion another append to the stream came first
│   ├── IllegalTransition    the job's state does not allow this step
│   ├── BudgetExceeded       the budget's limit would be exceeded
│   └── RecordTooLarge       a record or payload over its limit
├── LedgerUnusable           the store cannot serve: missing, foreign, newer, read-only, full, busy
│   └── NewerFormat          its first record names a format this version does not know
├── JobNotFound              no job has this id
└── AmbiguousJob             several jobs have this prefix
"""

import re
from typing import Any, ClassVar, Literal

Retry = Literal["never", "same_key"]
"""Whether a call may be repeated: never as it is, or as it is under the same request key."""

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class SoraLedgerError(Exception):
    """Base class of every error that sora-ledger raises on purpose.

    `code` names the error for programs: the name of its class, such as ``request_key_taken``. `retry` says
    whether the same call may be made again. Both are constants of the class.
    """

    code: ClassVar[str] = "sora_ledger_error"
    retry: ClassVar[Retry] = "never"

    def __init_subclass__(cls, **settings: Any) -> None:
        """Derive the code from the name of the class."""
        super().__init_subclass__(**settings)
        cls.code = _WORD.sub("_", cls.__name__).lower()


class LedgerError(SoraLedgerError):
    """Base class of the ledger's errors."""


class AppendRefused(LedgerError):
    """The append was refused as a whole; nothing of it was recorded."""


class EventIdConflict(AppendRefused):
    """Some event ids belong to events with other content, or only some of them are recorded."""


class StaleFence(AppendRefused):
    """The fence is not that of a live lease: it was released, it expired, or another worker holds the job."""


class WrongExpectedVersion(AppendRefused):
    """The stream is not at the version that the caller's decision was based on."""


class IllegalTransition(AppendRefused):
    """The table of transitions does not allow this step."""


class BudgetExceeded(AppendRefused):
    """A hold would exceed the limit of its budget."""


class RecordTooLarge(AppendRefused):
    """A record exceeds 65,535 bytes, or a payload its limit."""


class LedgerUnusable(LedgerError):
    """The store cannot be opened, read or written; the message says why and what to do."""

    retry: ClassVar[Retry] = "same_key"


class NewerFormat(LedgerUnusable):
    """The ledger has a later format than this version knows, as its first record says."""

    retry: ClassVar[Retry] = "never"


class JobNotFound(LedgerError):
    """No job of the ledger has this id, video id or id prefix."""


class AmbiguousJob(LedgerError):
    """Several jobs match this name."""
