import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ledger.ledger import Ledger


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def vocabulary() -> ModuleType:
    """Return the module `scribe`: samples of every event."""
    return _load(Path(__file__).parent / "scribe.py")


@pytest.fixture
def scribe(vocabulary: ModuleType) -> Any:
    """Return a fresh `Scribe`."""
    return vocabulary.Scribe()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(scribe: Any, path: Path) -> Iterator[Ledger]:
    """Yield a new ledger with its first event, open for writing."""
    with scribe.ledger(path) as opened:
        yield opened


@pytest.fixture
def check(vocabulary: ModuleType) -> Any:
    """Return the oracle: a function from a ledger's path to code and position of each finding."""
    return vocabulary.findings
