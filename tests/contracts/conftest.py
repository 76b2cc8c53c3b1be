import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


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
    return _load(Path(__file__).parents[1] / "ledger" / "scribe.py")


@pytest.fixture
def scribe(vocabulary: ModuleType) -> Any:
    """Return a fresh `Scribe`."""
    return vocabulary.Scribe()


@pytest.fixture
def check(vocabulary: ModuleType) -> Any:
    """Return the oracle: a function from a ledger's path to code and position of each finding."""
    return vocabulary.findings


@pytest.fixture(scope="session")
def postgres() -> ModuleType:
    """Return the module `server`: a real PostgreSQL."""
    return _load(Path(__file__).parents[1] / "ledger" / "postgres" / "server.py")


@pytest.fixture(scope="session")
def server(postgres: ModuleType, testrun_uid: str) -> Iterator[Any]:
    """Yield this run's PostgreSQL."""
    started = postgres.start(testrun_uid)
    yield started
    postgres.leave(started)


@pytest.fixture
def databases(postgres: ModuleType, server: Any) -> Iterator[Any]:
    """Yield this test's places for ledgers on PostgreSQL."""
    places = postgres.Databases(server.get_uri())
    yield places
    places.drop()
