from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from ledger.store.postgres import PostgresStore
from tests.ledger.scribe import Scribe


@pytest.fixture
def server(postgres_server: Any) -> Any:
    """Return this run's PostgreSQL."""
    return postgres_server


@pytest.fixture
def url(databases: Any) -> str:
    """Return the URL of an empty place."""
    place: str = databases.url()
    return place


@pytest.fixture
def store(url: str, scribe: Scribe) -> Iterator[PostgresStore]:
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
