"""The log as it is followed, and as a table for spreadsheets."""

import csv
import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.exit_codes import ExitCode
from ledger.canonical import canonical_json, sha256_hex
from ledger.log.opening import open_ledger, open_or_create, open_store
from ledger.record import ActorSource, Authority, Provenance
from render_service.runtime.printable import escape_formula
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora
from tests.ledger.scribe import Scribe
from tests.ledger.store.postgres.server import Databases

WHO = Provenance("ana", ActorSource.FLAG, Authority.HUMAN, "1" * 32, "2" * 16)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET payload = 7",
        "UPDATE events SET record = 7",
        "UPDATE events SET record = x'ff'",
        "UPDATE private_bodies SET text = x'ff'",
    ],
)
def test_what_cannot_be_read_is_reported_without_repeating_it(
    sora: Sora, denied: str, statement: str
) -> None:
    db = sqlite3.connect("ledger.db", isolation_level=None)
    for trigger in ("private_bodies_no_update", "events_no_update"):
        db.execute(f"DROP TRIGGER {trigger}")
    db.execute(statement)
    db.close()
    ended = sora("log")
    assert (ended.code, ended.data, "`sora-ledger verify`" in ended.error) == (7, "", True)


def test_the_digests_in_payloads_are_the_ones_the_format_describes(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    sora("create", "--prompt", "a fox")
    requested, decided, intended, *_ = [record["payload"] for record in sora("log").document["records"][1:]]
    basis = decided["basis"]
    named = {key: basis[key] for key in ("catalog_sha256", "engine", "inputs", "policy_sha256")}
    assert sha256_hex(canonical_json(named)) == basis["decision_id"]
    fields = "character_ids operation options reference_file_id remix_video_id seconds size".split()
    sent = {key: requested[key] for key in fields} | {
        "prompt": (requested["augmented_prompt"] or requested["prompt"])["commitment"],
        "reference_url": requested["reference_url"],
        "input_reference": requested["input_reference"],
        "source_file": requested["source_file"],
        "model": decided["model"],
    }
    assert sha256_hex(canonical_json(sent)) == intended["request_sha256"]


# --- as a table ---


def test_a_table_has_one_row_per_record(sora: Sora, denied: str) -> None:
    records = sora("log").document["records"]
    table = rows(sora("log", "--csv").out)
    assert [(row["position"], row["type"], row["stream"]) for row in table] == [
        (str(record["position"]), record["type"], record["stream"]) for record in records
    ]
    assert [json.loads(row["payload"]) for row in table] == [record["payload"] for record in records]


def test_a_table_takes_the_filters(sora: Sora, denied: str) -> None:
    table = rows(sora("log", "--csv", "--job", denied, "--limit", "2").out)
    assert [row["stream"] for row in table] == [denied] * 2


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "  =1"])
def test_what_a_spreadsheet_would_run_is_text(text: str) -> None:
    assert escape_formula(text) == f"'{text}"


@given(st.text(min_size=1))
def test_no_cell_begins_like_a_formula(text: str) -> None:
    assert str(escape_formula(text)).lstrip(" ")[:1] not in tuple("=+-@\t\r\n")


def test_what_is_no_formula_stays_as_it_is() -> None:
    assert [escape_formula(cell) for cell in ("a = b", "1-2", 7, None)] == ["a = b", "1-2", 7, None]


def test_a_prompt_that_is_a_formula_reaches_the_table_as_text(sora: Sora, folder: Path) -> None:
    sora("create", "--prompt", '=HYPERLINK("http://x")', "--max-cost", "0.01", "--profile", "sandbox")
    cells = [cell for row in rows(sora("log", "--csv").out) for cell in row.values()]
    assert [cell for cell in cells if cell.lstrip(" ").startswith(("=", "+", "-", "@"))] == []
    assert any("HYPERLINK" in cell for cell in cells)


def test_a_table_in_a_file_is_utf8_that_spreadsheets_know(sora: Sora, denied: str, folder: Path) -> None:
    printed = sora("log", "--csv").out
    ended = sora("log", "--csv", "--out", "log.csv")
    written = (folder / "log.csv").read_bytes()
    assert (ended.code, written[:3]) == (ExitCode.DONE, b"\xef\xbb\xbf")
    assert rows(written[3:].decode()) == rows(printed)


def test_a_table_replaces_no_file(sora: Sora, denied: str, folder: Path) -> None:
    (folder / "log.csv").write_text("mine")
    ended = sora("log", "--csv", "--out", "log.csv")
    assert (ended.code, (folder / "log.csv").read_text()) == (ExitCode.BAD_INPUT, "mine")


@pytest.mark.parametrize(
    "wrong", [["--csv", "--json"], ["--out", "x.csv"], ["--csv", "--follow", "--out", "x.csv"]], ids=" ".join
)
def test_what_does_not_go_together_is_refused(sora: Sora, denied: str, wrong: list[str]) -> None:
    assert sora("log", *wrong).code == ExitCode.BAD_INPUT


# --- followed ---


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return where an empty ledger may begin, one store after the other."""
    url = "ledger.db" if request.param == "sqlite" else request.getfixturevalue("databases").url()
    monkeypatch.setenv("SORA_LEDGER_URL", url)
    return str(url)


@pytest.mark.parametrize("how", [(), ("--follow", "--limit", "4")])
def test_a_record_is_one_line_under_its_day_and_the_header(
    sora: Sora, denied: str, how: tuple[str, ...]
) -> None:
    ended = sora("log", "--format=text", *how)
    header, day, *rest = ended.out.splitlines()
    assert (header.split(), day.endswith(" UTC")) == (["#", "time", "stream", "event", "by", "what"], True)
    lines = [line for line in rest if not line.endswith(" UTC")]  # midnight may have passed
    assert [line.split()[:4:3] for line in lines] == [
        ["1", "ledger.created"],
        ["2", "render.requested"],
        ["3", "render.denied"],
        ["4", "render.closed"],
    ]
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_log_in_which_nothing_is_found_says_so(sora: Sora, denied: str) -> None:
    assert sora("log", "--format=text", "--after", "4").out.splitlines()[1:] == ["(none)"]


def test_what_is_appended_while_the_log_is_followed_is_shown(
    sora: Sora, ledger_url: str, scribe: Scribe
) -> None:
    sora("init")
    store = open_store(ledger_url, read_only=False)
    command = [sys.executable, "-m", "cli", "log", "--follow", "--limit", "3", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as following:
        assert following.stdout
        lines = [following.stdout.readline()]  # it follows from here on
        for _ in range(2):
            store.append([scribe.note()])
            lines.append(following.stdout.readline())
    store.close()
    assert [json.loads(line)["position"] for line in lines] == [1, 2, 3]
    assert following.returncode == 0


def test_following_goes_on_over_a_connection_that_was_killed(
    sora: Sora, databases: Databases, postgres: ModuleType, scribe: Scribe, folder: Path
) -> None:
    url, name = databases.url(), databases.schema()
    kill = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = '{name}'"
    sora("init", "--ledger", url)
    with open_or_create(url, WHO, datetime.now(UTC)) as writing, open_ledger(url) as ledger:
        following = ledger.follow()
        positions = [next(following).position]
        for _ in range(2):
            postgres.execute(databases.server_url, kill)
            writing.append([scribe.note()])
            positions.append(next(following).position)
    assert positions == [1, 2, 3]
