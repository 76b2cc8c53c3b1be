"""The ledger's errors, drawn as a tree.

LedgerError
├── AppendRefused            nothing was recorded; the caller decided something wrong or too late
│   ├── EventIdConflict      these event ids stand for something else already
│   ├── StaleFence           the lease was released, ran out or went to another holder
│   ├── WrongExpectedVersion somebody appended to the stream in between
│   ├── IllegalTransition    the job cannot go there from where it is
│   ├── BudgetExceeded       the money is not there
│   └── RecordTooLarge       a record or payload over its limit
├── LedgerUnusable           the store cannot serve: missing, foreign, newer, read-only, full, busy
│   └── NewerFormat          what its first record says this software does not know
├── JobNotFound              no job has this id
└── AmbiguousJob             several jobs have this prefix
"""


class LedgerError(Exception):
    """Whatever the ledger raises on purpose."""


class AppendRefused(LedgerError):
    """The append was refused as a whole; nothing of it was recorded."""


class EventIdConflict(AppendRefused):
    """Some of the event ids are taken by events with other content, or only some of them are present."""


class StaleFence(AppendRefused):
    """The fence is not that of a live lease: it was released, ran out, or another worker holds the job."""


class WrongExpectedVersion(AppendRefused):
    """The stream is not at the version the caller decided on."""


class IllegalTransition(AppendRefused):
    """The table of transitions has no such step."""


class BudgetExceeded(AppendRefused):
    """A hold would take its budget over the limit."""


class RecordTooLarge(AppendRefused):
    """A record is over 65,535 bytes, or a payload over its limit."""


class LedgerUnusable(LedgerError):
    """The store cannot be opened, read or written; the message says why and what to do."""


class NewerFormat(LedgerUnusable):
    """The first record says that the ledger is of a format later than the one known here."""


class JobNotFound(LedgerError):
    """No job, video or prefix of that name is in the ledger."""


class AmbiguousJob(LedgerError):
    """Several jobs answer to that name."""
