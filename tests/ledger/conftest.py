from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ledger.log.bundle import Scope
from ledger.log.ledger import Ledger
from tests.ledger.office import Office, outcome
from tests.ledger.scribe import Scribe


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(scribe: Scribe, path: Path) -> Iterator[Ledger]:
    """Yield a new ledger with its first event, open for writing."""
    with scribe.ledger(path) as opened:
        yield opened


@pytest.fixture
def office(copied_ledgers: None, ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> Office:
    made = Office(ledger, scribe, vocabulary)
    made.activate(made.policy)  # 2
    return made


@pytest.fixture
def found(
    ledger: Ledger, path: Path, check: Callable[..., list[tuple[str, int | None]]], tmp_path: Path
) -> Callable[[], list[tuple[str, int | None]]]:
    """Return what `verify` finds, which the checker of bundles has to find in a bundle of everything too."""

    def look() -> list[tuple[str, int | None]]:
        in_ledger: list[tuple[str, int | None]] = check(path)
        in_bundle = [(item.code, item.position) for item in outcome(ledger, tmp_path, Scope()).findings]
        assert in_bundle == [item for item in in_ledger if item[0] != "DOCUMENT_MISSING"]
        return in_ledger

    return look
