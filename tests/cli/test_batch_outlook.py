"""A batch says beforehand what it costs, and while it runs how long it takes, row by row in order."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len

from cli.main import run
from cli.text.decisions import time_left
from ledger.terms import State
from render_service.rules.measurements import Duration
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora, Terminal

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
BATCH = ("create-batch", "--input", "prompts.jsonl", "--out-dir", "out")


@pytest.fixture
def prompts(folder: Path) -> Path:
    rows = [{"prompt": f"a fox in snow, take {take}", "seconds": "4"} for take in range(3)]
    path = folder / "prompts.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def member(state: State, age_s: int, expected: Duration | None) -> Any:
    began = (NOW - timedelta(seconds=age_s)).isoformat()
    return SimpleNamespace(
        job=SimpleNamespace(state=state, outcome=None, created_at=began), expected=expected
    )


def lines_of(text: str) -> list[str]:
    """Return what a terminal shows, without colours; a line that is drawn again counts each time."""
    return [
        line for part in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines() for line in part.split("\r")
    ]


@pytest.mark.parametrize("width", [60, 80])
def test_every_table_of_a_batch_fits_the_terminal_in_any_script(
    sora: Sora,
    server: Callable[..., SandboxServer],
    folder: Path,
    terminal: Callable[..., tuple[Terminal, Terminal]],
    monkeypatch: pytest.MonkeyPatch,
    width: int,
) -> None:
    server()
    long = "猫が雪の中を歩いている、とても長い日本語のプロンプトで、表の幅を試すためのものです"
    (folder / "prompts.jsonl").write_text(f"{long}\nMickey Mouse dances\n{'a fox in deep snow ' * 9}\n")
    monkeypatch.setenv("COLUMNS", str(width))
    out, err = terminal()
    run([*BATCH, "--dry-run"])
    run([*BATCH, "--poll", "--poll-interval", "0.05"])
    run(["jobs"])
    run(["jobs", "--tree"])
    run(["find", "猫"])
    text = out.getvalue()
    tables = [line for line in lines_of(text) if ".json" in line or "sora-2" in line or "猫" in line]
    assert tables
    assert max(map(cell_len, tables)) <= width
    live = [line for line in lines_of(err.getvalue()) if ".json" in line or "expected" in line]
    assert max(map(cell_len, live)) <= width
    assert re.search(r"^line +state +% +expected +file", "\n".join(live), re.MULTILINE)


def test_a_dry_run_says_of_each_denied_entry_why_and_what_to_do(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path
) -> None:
    server()
    prompts.write_text("a fox\nMickey Mouse dances\n")
    text = sora(*BATCH, "--dry-run", "--format", "text").out
    assert "line 2: the prompt contains terms that the policy does not allow, by its rule" in text
    assert '→ leave out "Mickey Mouse"' in text


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([], "time left unknown"),
        ([(State.RUNNING, 10, 40), (State.RUNNING, 10, 90)], "about 80 s left"),
        ([(State.RUNNING, 10, 40), (State.STORED, 10, 90)], "about 30 s left"),
        ([(State.RUNNING, 10, None), (State.RUNNING, 10, 90)], "time left unknown"),
        ([(State.RUNNING, 100, 40), (State.RUNNING, 100, 90)], "longer than usual"),
        ([(State.STORED, 100, 40), (State.DENIED, 100, 90)], "done"),
    ],
)
def test_the_batch_is_done_with_its_slowest_render(members: list[Any], words: str) -> None:
    entries = [
        member(state, age, None if took is None else Duration(took, took, 5)) for state, age, took in members
    ]
    assert time_left(entries, 2, NOW) == words


def test_a_dry_run_has_the_total_and_what_would_be_denied(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path
) -> None:
    server()
    ended = sora(*BATCH, "--dry-run")
    assert ended.document["counts"] == {"entries": 3, "allowed": 3, "denied": 0, "held": 0}
    assert ended.document["cost_usd_micros"] == 1_200_000
    assert "3 entries: 3 allowed; 1.20 USD in total" in sora(*BATCH, "--dry-run", "--format", "text").out


def test_a_dry_run_counts_the_budget_once_for_all_entries(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path
) -> None:
    server()
    sora("budget", "set", "all", "--limit", "0.90")
    ended = sora(*BATCH, "--dry-run")
    assert (ended.code, ended.document["counts"]["denied"]) == (3, 1)
    assert ended.document["cost_usd_micros"] == 800_000
    assert sora(*BATCH).document["counts"] == {"entries": 3, "running": 2, "denied": 1}


def test_an_override_that_the_policy_does_not_allow_is_refused_for_its_entry(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path
) -> None:
    server()
    sora("budget", "set", "all", "--limit", "0.90")
    options = (*BATCH, "--override", "BUDGET_EXHAUSTED", "--reason", "the client pays")
    ended = sora(*options)
    [denied] = [job for job in ended.document["jobs"] if job["state"] == "denied"]
    assert ended.code == 3
    assert denied["override_refused"]
    assert denied["override_refused"] in ended.error


def test_the_table_has_every_row_in_order_from_the_beginning(
    sora: Sora,
    server: Callable[..., SandboxServer],
    prompts: Path,
    terminal: Callable[..., tuple[Terminal, Terminal]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server()
    monkeypatch.setenv("COLUMNS", "120")
    _, err = terminal()
    sora(*BATCH, "--poll", "--poll-interval", "0.05")
    text = err.getvalue()
    assert "3 entries: 3 deciding; time left unknown" in text
    rows = [text.rindex(f"00{number}-a-fox-in-snow") for number in (1, 2, 3)]
    assert rows == sorted(rows)


def test_a_denied_entry_is_reported_with_the_words_to_leave_out(
    sora: Sora, server: Callable[..., SandboxServer], prompts: Path
) -> None:
    server()
    prompts.write_text("Mickey Mouse dances\n")
    assert 'leave out "Mickey Mouse"' in sora(*BATCH).error
