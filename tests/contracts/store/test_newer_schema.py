"""A process that runs while a newer one upgrades the ledger appends no more."""

import sqlite3
from collections.abc import Callable

import psycopg
import pytest

import ledger.store.postgres.connection as postgres_connection
import ledger.store.sqlite.connection as sqlite_connection
from ledger.errors import LedgerUnusable
from ledger.store.interface import EventStore
from ledger.store.sqlite import SqliteStore
from tests.contracts.store.conftest import Kit
from tests.ledger.scribe import Scribe


@pytest.fixture
def upgrade(store: EventStore, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that upgrades the ledger by one version, as a newer program does."""

    def on_sqlite() -> None:
        newer = sqlite_connection.SCHEMA_VERSION + 1
        db = sqlite3.connect(kit.url("one").removeprefix("sqlite:///"), isolation_level=None)
        db.execute(f"PRAGMA user_version = {newer}")
        db.close()

    def on_postgres() -> None:
        migrations = postgres_connection._migrations()
        number = postgres_connection.SCHEMA_VERSION + 1
        more = (number, f"{number:04}_next", b"CREATE TABLE next (id BIGINT)")
        with monkeypatch.context() as patched, psycopg.connect(kit.url("one"), autocommit=True) as db:
            patched.setattr(postgres_connection, "SCHEMA_VERSION", number)
            patched.setattr(postgres_connection, "_migrations", lambda: [*migrations, more])
            place = store.place  # type: ignore[attr-defined]
            postgres_connection.migrate(db, place, lambda _: None)

    return on_sqlite if isinstance(store, SqliteStore) else on_postgres


def test_an_append_after_an_upgrade_is_refused_and_records_nothing(
    store: EventStore, scribe: Scribe, upgrade: Callable[[], None]
) -> None:
    store.append([scribe.note("a")])
    store.append([scribe.note("a")])  # decided by what the process remembers
    size = store.head().size
    upgrade()
    for _ in range(2):
        with pytest.raises(LedgerUnusable, match=r"its schema is version .* upgrade sora-ledger"):
            store.append([scribe.note("a")])
    assert store.head().size == size
