from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.ledger import Ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(scribe: Any, path: Path) -> Iterator[Ledger]:
    """Yield a new ledger with its first event, open for writing."""
    with scribe.ledger(path) as opened:
        yield opened
