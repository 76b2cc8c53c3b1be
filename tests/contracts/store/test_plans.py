"""Lists that pages need are read from an index, however many jobs there are."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from ledger.store.filters import JobFilter, Unreviewed
from ledger.store.postgres import PostgresStore
from ledger.store.postgres import reading as of_postgres
from ledger.store.sqlite import SqliteStore
from ledger.store.sqlite import reading as of_sqlite
from ledger.store.sqlite.connection import connect_reading
from ledger.terms import State
from tests.ledger.store.postgres.server import Databases

INDEXES = {"_SOURCE_JOB": "jobs_source_job", "_SOURCE_VIDEO": "jobs_source_video"}


@pytest.mark.parametrize("source", ["source_job", "source_video"])
def test_sqlite_reads_what_was_made_from_a_job_from_an_index(tmp_path: Path, source: str) -> None:
    plan = plan_of(tmp_path, JobFilter(**{source: "job_1"}))
    assert f"INDEX listing_{source} " in plan
    assert "TEMP B-TREE" not in plan


REVIEWS = {Unreviewed.ALL: "jobs_unreviewed", Unreviewed.FINALS: "jobs_unreviewed_finals"}


@pytest.mark.parametrize("which", Unreviewed)
@pytest.mark.parametrize("sees", [{}, {"of_team": "film"}, {"of_actor": "ana", "teamless": True}], ids=str)
def test_sqlite_reads_what_nobody_has_reviewed_from_an_index(
    tmp_path: Path, which: Unreviewed, sees: dict[str, Any]
) -> None:
    plan = plan_of(tmp_path, JobFilter(unreviewed=which, **sees))
    assert f"USING INDEX {REVIEWS[which].replace('jobs', 'listing')}'" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("sees", [{}, {"of_team": "film"}, {"of_actor": "ana", "teamless": True}], ids=str)
def test_sqlite_reads_the_jobs_in_a_state_that_ends_from_the_index_of_states(
    tmp_path: Path, sees: dict[str, Any]
) -> None:
    where = JobFilter(states=(State.HELD, State.APPROVED), **sees)
    assert "USING INDEX jobs_state " in plan_of(tmp_path, where)


def plan_of(folder: Path, where: JobFilter) -> str:
    SqliteStore(folder / "ledger.db").close()
    db = connect_reading(folder / "ledger.db")
    requests: list[str] = []
    db.set_trace_callback(requests.append)
    of_sqlite.jobs(db, where, 10)
    db.set_trace_callback(None)
    plan = str(db.execute(f"EXPLAIN QUERY PLAN {requests[-1]}").fetchall())
    db.close()
    return plan


@pytest.mark.parametrize("which", Unreviewed)
def test_postgresql_reads_what_nobody_has_reviewed_from_an_index(
    databases: Databases, which: Unreviewed
) -> None:
    url: str = databases.url()
    PostgresStore(url).close()
    clause = of_postgres._REVIEWS[which]
    with psycopg.connect(url) as db:
        db.execute("SET enable_seqscan = off")
        plan = str(db.execute(f"EXPLAIN SELECT body FROM jobs WHERE {clause} ORDER BY job_id").fetchall())
    assert REVIEWS[which] in plan


@pytest.mark.parametrize("key", INDEXES)
def test_postgresql_reads_it_from_an_index(databases: Databases, key: str) -> None:
    url: str = databases.url()
    PostgresStore(url).close()
    clause, _ = getattr(of_postgres, key)
    with psycopg.connect(url) as db:
        db.execute("SET enable_seqscan = off")  # a table with few rows is read whole, whatever there is
        plan = str(db.execute(f"EXPLAIN SELECT body FROM jobs WHERE {clause}", (b"a", b"b")).fetchall())
    assert INDEXES[key] in plan
