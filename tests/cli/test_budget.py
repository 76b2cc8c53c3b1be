"""Budgets, on the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora


def test_a_limit_is_set_listed_and_kept(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    ended = sora("budget", "set", "team_film", "--limit", "0.50", "--reason", "agreed")
    assert ended.code == 0
    first = sora("create", "--prompt", "a fox", "--team", "film")
    second = sora("create", "--prompt", "a fox", "--team", "film")
    assert (first.code, second.code) == (0, 3)
    assert second.document["detail_code"] == "BUDGET_EXHAUSTED"
    assert sora("create", "--prompt", "a fox").code == 0
    [left] = sora("budget", "list").document["budgets"]
    assert left == {
        "budget": "team_film",
        "limit_usd_micros": 500_000,
        "held_usd_micros": 400_000,
        "left_usd_micros": 100_000,
    }
    assert sora("verify").code == 0


def test_the_team_may_come_from_the_environment(
    sora: Sora, server: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server()
    sora("budget", "set", "team_film", "--limit", "0")
    monkeypatch.setenv("SORA_LEDGER_TEAM", "film")
    assert sora("create", "--prompt", "a fox").code == 3


def test_a_dry_run_is_denied_what_the_budget_has_not_left_and_records_nothing(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    sora("budget", "set", "all", "--limit", "0", "--period", "month")
    size = len(sora("log").document["records"])
    assert sora("create", "--prompt", "a fox", "--dry-run").code == 3
    assert len(sora("log").document["records"]) == size


def test_a_month_is_shown_by_its_name(sora: Sora) -> None:
    listed = sora("budget", "set", "all", "--limit", "100", "--period", "month").document["budgets"]
    assert [left["budget"].startswith("all__20") for left in listed] == [True]
    assert "100.00 USD" in sora("budget", "list", "--format=text").out


def test_a_batch_is_decided_entry_by_entry_within_the_budget(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    sora("budget", "set", "all", "--limit", "1")
    (folder / "prompts.jsonl").write_text("a fox\nan owl\na hen\n")
    ended = sora("create-batch", "--input", "prompts.jsonl", "--out-dir", "out")
    assert (ended.code, ended.document["counts"]) == (3, {"entries": 3, "denied": 1, "running": 2})
    assert sora("verify").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["set", "all"], "Missing option '--limit'"),
        (["set", "studio", "--limit", "5"], "expected all, team_film"),
        (["set", "all", "--limit", "-5"], "--limit -5: expected dollars"),
        (["set", "all", "--limit", "much"], "--limit much: expected dollars"),
        (["set", "all__month", "--limit", "5"], "give the period with --period"),
        (["list", "all"], "unexpected extra argument (all)"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused_and_nothing_recorded(
    sora: Sora, folder: Path, arguments: list[str], message: str
) -> None:
    ended = sora("budget", *arguments)
    assert ended.code == 2
    assert message in ended.error
    assert not (folder / "ledger.db").exists()


def test_a_team_that_is_no_word_is_refused(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    ended = sora("create", "--prompt", "a fox", "--team", "Film Unit")
    assert ended.code == 2
    assert "expected lower-case letters" in ended.error
