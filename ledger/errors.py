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
import shlex
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

Retry = Literal["never", "after_s", "same_key"]
"""Whether a call may be repeated: never as it is; or as it is, under the same request key, now or later."""

PARAMS = frozenset(
    "prompt model size seconds purpose team project profile fields augment options request_key "
    "declare_change max_cost_usd_micros deadline_minutes promotes attested seed loop characters "
    "character_id reference_url reference_file_id input_reference source variant".split()
)
"""The fields of a request with which the message about them begins."""

_WORD = re.compile(r"(?<!^)(?=[A-Z])")
_COMMAND = re.compile(r"`(sora-ledger [^`]+)`")
_BEGINNING = re.compile(r"(?P<param>[a-z_]+)(?: (?P<found>\S+) (?:is|are) (?:offered by no|not|no)\b|[ :])")
_EXPECTED = re.compile(
    r"(?:\bexpected|\bmust be(?:gin with)?|\((?:offered|known|possible|permitted|choose)[^:)]*:) "
    r"(?P<expected>.+?)(?:,? (?:but )?found\b|; |\)|$)"
)
_FOUND = re.compile(r"\bfound (?P<found>.+?)(?:[;)]|, (?!.*found)|$)")


def error_facts(
    code: str,
    message: str,
    *,
    retry: Retry = "never",
    retry_after_s: float | None = None,
    param: str | None = None,
    commands: Sequence[str] = (),
) -> dict[str, Any]:
    """Return an error as every door of sora-ledger answers it: command line, gateway, MCP and Python.

    Messages name the thing, what was expected, what was found and the next command, in a wording from which
    these can be read again. `next` has the `commands` and those of the message, each as its arguments.
    """
    begins, wants = _BEGINNING.match(message), _EXPECTED.search(message)
    named = begins["param"] if begins and begins["param"] in PARAMS else None
    had = _FOUND.search(message)
    following = dict.fromkeys([*commands, *_COMMAND.findall(message)])
    facts = {
        "code": code,
        "message": message,
        "param": param or named,
        "expected": wants["expected"] if wants else None,
        "found": had["found"] if had else begins["found"] if begins and named else None,
        "next": [argv_of(command) for command in following],
        "retry": retry,
    }
    return facts if retry_after_s is None else facts | {"retry_after_s": max(1, round(retry_after_s + 0.5))}


def argv_of(command: str) -> list[str]:
    """Return a command as the arguments of a process; a quote in a message may be unbalanced."""
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


class SoraLedgerError(Exception):
    """Base class of every error that sora-ledger raises on purpose.

    `code` names the error for programs: the name of its class, such as ``request_key_taken``. `retry` says
    whether the same call may be made again. Both are constants of the class. `document` has what the message
    says, for programs.
    """

    code: ClassVar[str] = "sora_ledger_error"
    retry: ClassVar[Retry] = "never"
    retry_after_s: float | None = None

    def __init_subclass__(cls, **settings: Any) -> None:
        """Derive the code from the name of the class."""
        super().__init_subclass__(**settings)
        cls.code = _WORD.sub("_", cls.__name__).lower()

    @property
    def document(self) -> dict[str, Any]:
        """The error as a JSON document, the same as the other doors answer."""
        facts = error_facts(self.code, str(self), retry=self.retry, retry_after_s=self.retry_after_s)
        return {"error": facts}


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
