import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ledger.store.postgres import PostgresStore


@pytest.fixture(scope="session")
def postgres() -> ModuleType:
    """Return the module `server`: a real PostgreSQL."""
    spec = importlib.util.spec_from_file_location("server", Path(__file__).parent / "server.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def server(postgres: ModuleType, testrun_uid: str) -> Iterator[Any]:
    """Yield this run's PostgreSQL."""
    started = postgres.start(testrun_uid)
    yield started
    postgres.leave(started)


@pytest.fixture
def databases(postgres: ModuleType, server: Any) -> Iterator[Any]:
    """Yield this test's places for ledgers."""
    places = postgres.Databases(server.get_uri())
    yield places
    places.drop()


@pytest.fixture
def url(databases: Any) -> str:
    """Return the URL of an empty place."""
    place: str = databases.url()
    return place


@pytest.fixture
def store(url: str, scribe: Any) -> Iterator[PostgresStore]:
    """Yield a store that holds ``ledger.created`` at position 1."""
    opened = PostgresStore(url)
    scribe.begin(opened)
    yield opened
    opened.close()


@pytest.fixture
def execute(postgres: ModuleType, url: str) -> Any:
    """Return another program that runs SQL in the same place, as the owner of everything."""
    return lambda *statements: postgres.execute(url, *statements)


@pytest.fixture
def clean(postgres: ModuleType, url: str) -> Any:
    """Return the oracle: whether verification finds nothing."""
    return lambda: postgres.findings(url) == []
