"""Ledgers in both stores, opened by several processes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from render_service.api.sessions import open_session
from render_service.runtime.settings import read_settings
from render_service.runtime.telemetry import Log, Trace
from render_service.session.session import Session

TRACE = Trace("1" * 32, "2" * 16)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the place of a new ledger, in each of the stores."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    place: str = request.getfixturevalue("databases").url()
    return place


@pytest.fixture
def process(url: str, tmp_path: Path) -> Iterator[Callable[[], Session]]:
    """Open the ledger as another process does."""
    opened = []

    def begin() -> Session:
        values = {"SORA_LEDGER_ACTOR": "ana", "SORA_LEDGER_ASSETS": str(tmp_path / "assets")}
        settings = read_settings(ledger=url, profile="sandbox", environment=values, folder=tmp_path)
        opened.append(open_session(settings, TRACE, Log(TRACE, quiet=True)))
        return opened[-1]

    yield begin
    for session in opened:
        session.ledger.close()
