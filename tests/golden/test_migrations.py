"""A migration keeps every byte of the records; older software refuses what a newer one has migrated."""

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest

from cli.main import run
from ledger.errors import LedgerUnusable
from ledger.job import Job
from ledger.log.opening import open_or_create, open_store
from ledger.record import ActorSource, Authority, Provenance, Record
from ledger.store.filters import JobFilter, RecordFilter, Unreviewed
from ledger.store.sqlite import SqliteStore, connection
from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.verify import verify

V1 = Path(__file__).parent / "v1" / "ledger.db"
EXPECTED: dict[str, Any] = json.loads(V1.with_name("expected.json").read_text(encoding="utf-8"))
KEPT = {
    "events": "SELECT * FROM events ORDER BY position",
    "private_bodies": "SELECT * FROM private_bodies ORDER BY commitment",
    "documents": "SELECT * FROM documents ORDER BY sha256",
    "head": "SELECT * FROM head",
    "jobs": "SELECT job_id, version, position, state, profile, video_id, body FROM jobs ORDER BY job_id",
}
NEWER = connection.SCHEMA_VERSION + 1
NEXT = """
-- A table that follows from the log, as a later version may want one.
CREATE TABLE costs (job_id TEXT PRIMARY KEY, settled_usd_micros INTEGER) WITHOUT ROWID;
INSERT INTO costs SELECT job_id, SUM(settled_usd_micros) FROM holds GROUP BY job_id;
CREATE INDEX events_actor ON events (actor);
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    copyfile(V1, tmp_path / "ledger.db")
    return tmp_path / "ledger.db"


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this software know a migration more."""
    file = tmp_path / "9999_costs.sql"
    file.write_text(NEXT, encoding="utf-8")
    first = connection._migration_files()
    monkeypatch.setattr(connection, "_migration_files", lambda: [*first, file])
    monkeypatch.setattr(connection, "SCHEMA_VERSION", 1 + connection.SCHEMA_VERSION)


def content(path: Path) -> dict[str, list[Any]]:
    db = sqlite3.connect(path)
    found = {name: db.execute(query).fetchall() for name, query in KEPT.items()}
    db.close()
    return found


def migrated(path: Path) -> None:
    SqliteStore(path).close()


def test_a_migration_keeps_every_byte(path: Path, later: None) -> None:
    before = content(path)
    migrated(path)
    assert content(path) == before


def test_a_migrated_ledger_verifies_with_the_root_it_had(path: Path, later: None) -> None:
    migrated(path)
    with SqliteSnapshot(path) as tables:
        report = verify(tables)
    assert (report.findings, report.root) == ([], EXPECTED["root"])


def test_a_migration_is_made_once(path: Path, later: None) -> None:
    migrated(path)
    migrated(path)
    db = sqlite3.connect(path)
    names = [name for (name,) in db.execute("SELECT name FROM _sqlite_migrations ORDER BY name")]
    db.close()
    names_of_all = [
        "0001_initial",
        "0002_turns",
        "0003_answers",
        "0004_vocabulary",
        "0005_vocabulary",
        "0006_vocabulary",
        "0007_vocabulary",
        "0008_deliveries",
        "0009_lists",
        "0010_lineage",
        "0011_reviews",
        "0012_vocabulary",
        "0013_search",
        "0014_vocabulary",
        "0015_rows",
        "0016_blocks",
        "0017_readers",
        "0018_spending",
        "0019_alerts",
        "0020_vocabulary",
        "0021_parts",
        "0022_refusals",
        "9999_costs",
    ]
    assert names == names_of_all


def test_jobs_of_an_older_ledger_are_listed_and_found(path: Path) -> None:
    with SqliteStore(path) as store:
        listed = [found.job for found in store.search("", JobFilter(), 99)]
        assert sorted(job.job_id for job in listed) == sorted(job.job_id for job in store.jobs(JobFilter()))
        prompts = [found.prompt for found in store.search("", JobFilter(), 99) if found.prompt]
        assert [found.prompt for found in store.search(prompts[0], JobFilter(), 99)] == prompts[:1]


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(
    path: Path, later: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "9999_costs.sql").write_text(NEXT + "INSERT INTO nowhere VALUES (1);", encoding="utf-8")
    with pytest.raises(LedgerUnusable, match="nowhere"):
        migrated(path)
    assert content(path) == content(V1)


@pytest.fixture
def newer_schema(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {NEWER}")
    db.close()


@pytest.fixture
def newer_format(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let software that knows a format more begin the ledger."""
    path.unlink()
    who = Provenance("ana", ActorSource.FLAG, Authority.SYSTEM, "1" * 32, "2" * 16)
    with monkeypatch.context() as later:
        later.setattr("ledger.log.opening.FORMAT", 2)
        open_or_create(str(path), who, datetime(2026, 1, 1, tzinfo=UTC)).close()


@pytest.mark.parametrize(
    ("newer", "says"),
    [
        (
            "newer_schema",
            f"its schema is version {NEWER}, this sora-ledger knows up to version {NEWER - 1}: up",
        ),
        ("newer_format", "it has format 2, this sora-ledger knows up to format 1: upgrade"),
    ],
)
@pytest.mark.parametrize("read_only", [True, False], ids=["reading", "writing"])
def test_a_newer_ledger_is_refused_untouched(
    path: Path, request: pytest.FixtureRequest, newer: str, says: str, *, read_only: bool
) -> None:
    request.getfixturevalue(newer)
    before = content(path)
    with pytest.raises(LedgerUnusable, match=says):
        open_store(str(path), read_only=read_only)
    assert content(path) == before


@pytest.mark.parametrize("newer", ["newer_schema", "newer_format"])
@pytest.mark.parametrize("command", ["verify", "log", "replay", "jobs"])
def test_commands_end_with_the_code_of_an_unusable_ledger(
    path: Path, request: pytest.FixtureRequest, newer: str, command: str
) -> None:
    request.getfixturevalue(newer)
    assert run([command, "--ledger", str(path)]) == 7  # docs/exit-codes.md


def test_reading_a_newer_record_ends_with_that_code_too(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = sqlite3.connect(path)
    db.execute("DROP TRIGGER events_no_update")
    db.execute(
        "UPDATE events SET record = replace(record, '\"schema_version\":1', '\"schema_version\":2') "
        "WHERE type = 'output.attached'"
    )
    db.commit()
    db.close()
    assert run(["log", "--ledger", str(path)]) == 7
    assert "output.attached was recorded in schema version 2" in capsys.readouterr().err


def test_jobs_of_an_older_ledger_are_found_by_whose_they_are(path: Path) -> None:
    with SqliteStore(path) as store:
        rows = store.jobs(JobFilter())
        found = {job.job_id for actor in {job.actor for job in rows} for job in _of(store, actor)}
    assert (len(found), found) == (len(rows), {job.job_id for job in rows})


def test_an_older_ledger_answers_the_same_before_it_is_migrated_and_after(path: Path) -> None:
    with SqliteStore(path, read_only=True) as store:
        before = answers(store)
    migrated(path)
    with SqliteStore(path, read_only=True) as store:
        assert answers(store) == before
    assert all(before)


def answers(store: SqliteStore) -> list[list[Any]]:
    """Return what is found by type, by trace, by source and in the queues of reviewers."""
    records = [Record.from_row(row, {}) for row in store.rows(0, 1_000, RecordFilter())]
    jobs = list(store.all_jobs())
    where = [
        *(JobFilter(unreviewed=which) for which in Unreviewed),
        *(JobFilter(source_job=job.source_job) for job in jobs if job.source_job),
        *(JobFilter(source_video=job.remix_video_id) for job in jobs if job.remix_video_id),
    ]
    return [
        *(store.rows(0, 1_000, RecordFilter(type=type_)) for type_ in {record.type for record in records}),
        *(store.rows(0, 9, RecordFilter(trace_id=trace)) for trace in {one.trace_id for one in records}),
        [job.job_id for each in where for job in store.jobs(each)],
        [store.tally()],
    ]


def test_an_older_ledger_with_a_damaged_row_is_migrated_too(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("UPDATE jobs SET body = x'ff' WHERE job_id = (SELECT MIN(job_id) FROM jobs)")
    db.commit()
    db.close()
    migrated(path)
    with SqliteSnapshot(path) as tables:
        assert "JOB_ROW" in {finding.code for finding in verify(tables).findings}


def _of(store: SqliteStore, actor: str) -> list[Job]:
    return store.jobs(JobFilter(of_actor=actor, teamless=True))
