"""Every error that is raised on purpose has an answer of its own; none reaches a client as an unknown one."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import decision
import ledger
import render_service
import sora_adapter
from ledger.errors import SoraLedgerError
from render_service.server.gateway.errors import refusal_of
from sora_adapter.serving.errors import ApiError

APART = ("render_service.server.mcp", "render_service.server.console")
"""What answers agents and people, in its own way."""

NEVER_ANSWERED = {
    "SoraLedgerError": "only its subclasses are raised",
    "ServiceError": "only its subclasses are raised",
    "NotIntact": "of commands that prove something",
    "LogDisputed": "of `monitor`",
    "LogUnreachable": "of `monitor`",
    "NotWitnessed": "of the commands that publish checkpoints",
    "NotStamped": "of the commands that publish checkpoints",
    "NotSubmitted": "of the Python interface, for its own callers",
}


def modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.startswith(APART):
            yield importlib.import_module(found.name)


def errors() -> list[type[SoraLedgerError]]:
    """Return every class of errors of the product, by its name."""
    defined = {
        kind
        for package in (decision, ledger, render_service, sora_adapter)
        for module in modules(package)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, SoraLedgerError) and kind.__module__ == module.__name__
        if not issubclass(kind, ApiError)  # which is an answer
    }
    return sorted(defined, key=lambda kind: kind.__name__)


def instance(kind: type[SoraLedgerError]) -> SoraLedgerError:
    """Return an error as it is raised, without what its own class wants to know."""
    error = kind.__new__(kind, "words for the operator")
    Exception.__init__(error, "words for the operator")
    for name, value in {"detail": None, "retry_after_ms": None, "retry_after_s": 1.5}.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize("kind", errors(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_product_has_an_answer_that_was_chosen_for_it(kind: type[SoraLedgerError]) -> None:
    refusal = refusal_of(instance(kind))
    expected = kind.__name__ in NEVER_ANSWERED
    assert (refusal.code == "internal_error") is expected
    answered = (refusal.status, refusal.headers["x-should-retry"])
    assert expected or refusal.code == "storage_failed" or refusal.status != 500
    assert answered[1] == "false" or refusal.status in {409, 429, 502, 503}
    names = {"message", "type", "param", "code", "expected", "found", "next", "calls", "retry"}
    assert set(refusal.envelope["error"]) - {"retry_after_s"} == names
    if answered == (503, "true"):
        assert int(refusal.headers["retry-after"]) > 0
