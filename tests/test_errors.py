"""Every error raised on purpose has a code of its own, and says whether the same call may be repeated."""

import re
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

import pytest

import decision
import ledger
import render_service
import sora_adapter
from ledger.errors import LedgerUnusable, SoraLedgerError
from render_service.runtime.errors import AnswerSpooled, RequestKeyTaken
from sora_adapter.errors import ServerBusy, ServerRefused
from sora_adapter.polling import PollTimeout

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
