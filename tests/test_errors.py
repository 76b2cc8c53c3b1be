"""Every error raised on purpose has a code of its own, and says whether the same call may be repeated."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import decision
import ledger
import render_service
import sora_adapter
from decision.errors import DecisionError
from ledger.errors import AmbiguousJob, BudgetExceeded, JobNotFound, LedgerUnusable, SoraLedgerError
from render_service.runtime.errors import (
    AnswerSpooled,
    BadInput,
    BudgetGone,
    NotAuthenticated,
    NotPermitted,
    NotReady,
    RequestKeyTaken,
    SessionCeiling,
    StorageFailed,
    TooManyRequests,
)
from sora_adapter.errors import (
    OperationUnsupported,
    ReferenceUnreadable,
    ServerBusy,
    ServerRefused,
    SettingsUnusable,
)
from sora_adapter.polling import PollTimeout

ABOUT_INPUT: tuple[type[SoraLedgerError], ...] = (
    BadInput,
    DecisionError,
    JobNotFound,
    AmbiguousJob,
    BudgetExceeded,
    BudgetGone,
    SessionCeiling,
    NotAuthenticated,
    NotPermitted,
    NotReady,
    TooManyRequests,
    StorageFailed,
    SettingsUnusable,
    OperationUnsupported,
    ReferenceUnreadable,
)
OPTIONAL = "render_service.server.mcp"
SAFE_WITH_THE_SAME_KEY = {
    "ledger_unusable",
    "log_unreachable",
    "not_witnessed",
    "poll_timeout",
    "provider_unavailable",
    "server_busy",
    "server_failed",
    "server_trouble",
    "server_unreachable",
    "too_many_requests",
}


def every_error(base: type[SoraLedgerError] = SoraLedgerError) -> Iterator[type[SoraLedgerError]]:
    for error in base.__subclasses__():
        yield error
        yield from every_error(error)


@pytest.fixture(scope="module")
def errors() -> set[type[SoraLedgerError]]:
    """Import every module of the product, and return its errors."""
    for package in (ledger, decision, sora_adapter, render_service):
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(OPTIONAL):
                import_module(module.name)
    return {error for error in every_error() if not error.__module__.startswith("tests")}


def test_every_code_is_one_errors_own_and_a_word(errors: set[type[SoraLedgerError]]) -> None:
    codes = Counter(error.code for error in errors)
    assert [code for code, times in codes.items() if times > 1] == []
    assert [code for code in codes if not re.fullmatch(r"[a-z]+(_[a-z]+)*", code)] == []


def test_only_what_cannot_pay_twice_may_be_repeated(errors: set[type[SoraLedgerError]]) -> None:
    assert {error.code for error in errors if error.retry != "never"} == SAFE_WITH_THE_SAME_KEY


@pytest.mark.parametrize(
    ("error", "code", "retry"),
    [
        (RequestKeyTaken, "request_key_taken", "never"),
        (LedgerUnusable, "ledger_unusable", "same_key"),
        (AnswerSpooled, "answer_spooled", "never"),
        (PollTimeout, "poll_timeout", "same_key"),
        (ServerBusy, "server_busy", "same_key"),
        (ServerRefused, "server_refused", "never"),
    ],
)
def test_an_errors_code_is_the_name_of_its_class(error: type[SoraLedgerError], code: str, retry: str) -> None:
    assert (error.code, error.retry) == (code, retry)


FOR_PEOPLE = ("render_service/server/console/", "cli/demo/", "sora_adapter/sandbox/")
"""Where errors are shown on a page or by another program's protocol, and no program reads their fields."""


def raised_without_facts(root: Path, names: frozenset[str]) -> Iterator[str]:
    """Yield where an error of these classes is made with a message alone."""
    for package in ("ledger", "decision", "sora_adapter", "render_service", "cli"):
        for path in sorted((root / package).rglob("*.py")):
            where = path.relative_to(root).as_posix()
            if where.startswith(FOR_PEOPLE):
                continue
            for call in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
                    continue
                if call.func.id not in names:
                    continue
                given = {keyword.arg for keyword in call.keywords}
                if not ({"expected", "found"} <= given or None in given):
                    yield f"{where}:{call.lineno} {call.func.id}"


def test_every_error_about_input_says_what_was_expected_and_found_where_it_is_raised() -> None:
    own_words = {"WrongPerson", "BatchInvalid", "PolicyReplaced", "FieldError", "WrongServer"}
    names = {kind.__name__ for base in ABOUT_INPUT for kind in (base, *every_error(base))} - own_words
    made = raised_without_facts(Path(__file__).parents[1], frozenset({*names, "Usage", "BadValue"}))
    assert list(made) == []
