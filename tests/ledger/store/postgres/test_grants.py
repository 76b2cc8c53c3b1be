"""The runtime role: it owns nothing, records everything and rewrites nothing."""

import uuid
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ledger.errors import LedgerUnusable
from ledger.events import PrivateErased
from ledger.store.filters import JobFilter
from ledger.store.interface import Document, Fence, Hold
from ledger.store.postgres import PostgresStore
from ledger.store.postgres.grants import RIGHTS, grants
from ledger.terms import State
from tests.ledger.scribe import Scribe
from tests.ledger.store.postgres.server import Databases

FORBIDDEN = [
    "UPDATE events SET actor = 'x'",
    "DELETE FROM events",
    "TRUNCATE events",
    "DROP TABLE events",
    "ALTER TABLE events DISABLE TRIGGER ALL",
    "DROP TRIGGER events_no_change ON events",
    "DELETE FROM head",
    "INSERT INTO head VALUES (1, 0, '')",
    "UPDATE private_bodies SET text = ''",
    "TRUNCATE private_bodies",
    "DELETE FROM documents",
    "UPDATE documents SET body = ''",
    "DELETE FROM tiles",
    "UPDATE tiles SET hash = ''",
    "DELETE FROM holds",
    "DELETE FROM work",
    "UPDATE sora_ledger_schema SET version = 9",
    "SET session_replication_role = replica",
]


@pytest.fixture
def role(store: PostgresStore, databases: Databases, execute: Callable[..., list[Any]]) -> Iterator[str]:
    """Yield the name of a role that has the grants, and needs to be quoted."""
    name = f"Runtime {uuid.uuid4().hex[:8]}"
    execute(f'CREATE ROLE "{name}" LOGIN', grants(name, schema=databases.schema()))
    yield name
    execute(f'DROP OWNED BY "{name}"', f'DROP ROLE "{name}"')


@pytest.fixture
def as_role(role: str, url: str) -> str:
    return make_conninfo(url, user=role)


@pytest.fixture
def runtime(as_role: str) -> Iterator[PostgresStore]:
    """Yield the ledger as the role opens it."""
    with PostgresStore(as_role) as opened:
        yield opened


def test_the_grants_name_every_table_there_is(
    store: PostgresStore, execute: Callable[..., list[Any]]
) -> None:
    tables = (
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
    )
    assert {name for (name,) in execute(tables)} == RIGHTS.keys()


def test_the_role_records_a_whole_life(
    runtime: PostgresStore, scribe: Scribe, vocabulary: ModuleType, clean: Callable[[], bool]
) -> None:
    scribe.live(runtime, vocabulary.JOB)
    runtime.append([scribe.note() for _ in range(300)], documents=[Document(b"policy")])
    job = runtime.job(vocabulary.JOB)
    assert job
    assert (job.state, clean()) == (State.STORED, True)


def test_the_role_erases(
    runtime: PostgresStore, scribe: Scribe, vocabulary: ModuleType, clean: Callable[[], bool]
) -> None:
    [record] = runtime.append([scribe.batch(vocabulary.JOB, vocabulary.requested())])
    commitments = tuple(runtime.bodies([record.position]))
    runtime.append(
        [scribe.batch("ledger", PrivateErased(commitments=commitments, reason_code="subject_request"))]
    )
    assert (runtime.bodies([record.position]), clean()) == ({}, True)


def test_the_role_works_on_leases(runtime: PostgresStore, scribe: Scribe) -> None:
    runtime.queue.schedule("job_1")
    [lease] = runtime.queue.claim("w1", 60_000)
    lease = runtime.queue.renew(lease, 60_000)
    assert runtime.append([scribe.note()], fence=Fence("job_1", lease.token))
    runtime.queue.release(lease, None)


def test_the_role_swaps_job_rows_and_replaces_holds(runtime: PostgresStore, scribe: Scribe) -> None:
    runtime.append([scribe.reserve("job_1", 5)])
    runtime.append([scribe.settle("job_1", 4)])
    runtime.replace_jobs(runtime.jobs(JobFilter()), at_position=runtime.head().size)
    assert runtime.holds("studio") == [Hold("studio", "job_1", 0, 4)]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_role_may_not_rewrite(
    postgres: ModuleType, databases: Databases, as_role: str, statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        postgres.execute(as_role, statement)


def test_a_role_without_grants_is_told_what_it_lacks(
    store: PostgresStore, url: str, execute: Callable[..., list[Any]]
) -> None:
    name = f"stranger_{uuid.uuid4().hex[:8]}"
    execute(f"CREATE ROLE {name} LOGIN", f"GRANT USAGE ON SCHEMA {store_schema(execute)} TO {name}")
    with pytest.raises(LedgerUnusable, match=r"lacks a right .*: have the database's owner run the grants"):
        PostgresStore(make_conninfo(url, user=name))
    execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def store_schema(execute: Callable[..., list[Any]]) -> str:
    return str(execute("SELECT current_schema()")[0][0])
