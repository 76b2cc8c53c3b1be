"""The kinds of stores, one after the other: every test of this folder runs on each of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from ledger.store.interface import (
    EventStore,
)
from ledger.store.postgres import PostgresStore
from ledger.store.sqlite import SqliteStore

KINDS = ("sqlite", "postgres")


class Kit(NamedTuple):
    """A kind of store: the same name stands for the same database in `open`, `url` and `findings`."""

    open: Callable[[str], EventStore]
    url: Callable[[str], str]
    findings: Callable[[str], list[tuple[str, int | None]]]


@pytest.fixture
def kits(tmp_path: Path, vocabulary: ModuleType, request: pytest.FixtureRequest) -> Callable[[str], Kit]:
    """Return the kits by the name of their database."""

    def kit(kind: str) -> Kit:
        if kind == "sqlite":
            return Kit(
                open=lambda name: SqliteStore(tmp_path / f"{name}.db"),
                url=lambda name: f"sqlite:///{tmp_path}/{name}.db",
                findings=lambda name: vocabulary.findings(tmp_path / f"{name}.db"),
            )
        postgres, databases = (request.getfixturevalue(name) for name in ("postgres", "databases"))
        return Kit(
            open=lambda name: PostgresStore(databases.url(name)),
            url=databases.url,
            findings=lambda name: postgres.findings(databases.url(name)),
        )

    return kit


@pytest.fixture(params=KINDS)
def kit(kits: Callable[[str], Kit], request: pytest.FixtureRequest) -> Kit:
    """Return one kind of store after the other."""
    return kits(request.param)


@pytest.fixture
def store(kit: Kit, scribe: Any) -> Iterator[EventStore]:
    """Yield a store that holds ``ledger.created`` at position 1."""
    opened = kit.open("one")
    scribe.begin(opened)
    yield opened
    opened.close()


@pytest.fixture
def clean(kit: Kit) -> Callable[[], bool]:
    """Return the oracle: whether verification finds nothing in the store."""
    return lambda: kit.findings("one") == []
