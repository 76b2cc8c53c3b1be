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
│   ├── NotAReplica          what is to be its replica is another ledger
│   └── NewerFormat          its first record names a format this version does not know
├── JobNotFound              no job has this id
└── AmbiguousJob             several jobs have this prefix
"""

import re
import shlex
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypedDict, Unpack

Retry = Literal["never", "after_s", "same_key"]
"""Whether to repeat the call: never unchanged; or unchanged, under the same request key, now or later."""


class Facts(TypedDict, total=False):
    """The error's details for programs, next to its message; see `SoraLedgerError`."""

    param: object
    expected: object
    found: object
    instead: object


_WORD = re.compile(r"(?<!^)(?=[A-Z])")
_COMMAND = re.compile(r"`(sora-ledger [^`…]+)`")


def error_facts(
    code: str,
    message: str,
    *,
    retry: Retry = "never",
    retry_after_s: float | None = None,
    commands: Sequence[Sequence[str]] = (),
    **facts: Unpack[Facts],
) -> dict[str, Any]:
    """Return an error in the form that every interface uses: command line, gateway, MCP and Python.

    `next` has the `commands` and the ones in backticks in the message, each as a list of arguments; a command
    with a “…” is a template. The value found comes from outside, so a command in it must not be run.
    """
    found = _text(facts.get("found"))
    own_words = message.replace(found, "") if found and "`" in found else message
    named = [argv_of(command) for command in _COMMAND.findall(own_words)]
    document = {
        "code": code,
        "message": message,
        "param": _text(facts.get("param")),
        "expected": _text(facts.get("expected")),
        "found": found,
        "next": [list(argv) for argv in dict.fromkeys(map(tuple, [*commands, *named]))],
        "retry": retry,
    }
    if retry_after_s is None:
        return document
    return document | {"retry_after_s": max(1, round(retry_after_s + 0.5))}


def _text(fact: object) -> str | None:
    return None if fact is None else str(fact)


def argv_of(command: str) -> list[str]:
    """Return a command as the arguments of a process; a quote in a message may be unbalanced."""
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


class SoraLedgerError(Exception):
    """Base class of every error that sora-ledger raises on purpose.

    `code` identifies the error for programs: the name of its class, such as ``request_key_taken``. `retry`
    says whether the same call may be made again. The message is for people; `param`, `expected` and `found`
    say the same to programs, `instead` is a value for `param` that would be accepted, and `commands` are
    further commands to run next, beyond those in the message. `document` is the error in the form that every
    interface returns.
    """

    code: str = "sora_ledger_error"
    retry: ClassVar[Retry] = "never"
    retry_after_s: float | None = None
    param: str | None = None
    expected: str | None = None
    found: str | None = None
    instead: str | None = None
    commands: Sequence[Sequence[str]] = ()

    def __init__(self, message: str = "", **facts: Unpack[Facts]) -> None:
        super().__init__(message)
        for name, fact in facts.items():
            setattr(self, name, _text(fact))

    def __init_subclass__(cls, **settings: Any) -> None:
        """Derive the code from the name of the class."""
        super().__init_subclass__(**settings)
        cls.code = _WORD.sub("_", cls.__name__).lower()

    @property
    def facts(self) -> dict[str, Any]:
        """The error's details for programs."""
        return error_facts(
            self.code,
            str(self),
            retry=self.retry,
            retry_after_s=self.retry_after_s,
            param=self.param,
            expected=self.expected,
            found=self.found,
            commands=self.commands,
        )

    @property
    def document(self) -> dict[str, Any]:
        """The error as a JSON document, the same in every interface."""
        return {"error": self.facts}


class LedgerError(SoraLedgerError):
    """Base class of the ledger's errors."""


class AppendRefused(LedgerError):
    """The append was refused as a whole; nothing of it was recorded."""

    expected = "the state that was decided on"
    found = "a later one"


class EventIdConflict(AppendRefused):
    """Some event ids belong to events with other content, or only some of them are recorded."""


class StaleFence(AppendRefused):
    """The fence's lease is not live: it was released, it expired, or another worker holds the job."""


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

    expected = "a ledger that can be read and written"
    found = "one that cannot be at the moment"
    retry: ClassVar[Retry] = "same_key"


class NewerFormat(LedgerUnusable):
    """The ledger's first record declares a later format than this version knows."""

    retry: ClassVar[Retry] = "never"


class NotAReplica(LedgerUnusable):
    """The database meant to be a replica of the ledger holds another one."""

    retry: ClassVar[Retry] = "never"


class JobNotFound(LedgerError):
    """No job of the ledger has this id, video id or id prefix."""


class AmbiguousJob(LedgerError):
    """Several jobs match this name."""
