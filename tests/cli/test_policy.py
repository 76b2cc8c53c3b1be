"""Bringing a policy, on the command line."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora


@pytest.fixture
def team(sora: Sora, folder: Path) -> Path:
    file = folder / "team.toml"
    packaged = sora("policy", "show", "--packaged", "policy").out
    ours = packaged.replace('name = "default"', 'name = "team"')
    file.write_text(ours.replace("require_attestation = false", "require_attestation = true"))
    return file


def test_the_packaged_files_are_there_to_begin_from(sora: Sora) -> None:
    assert "[weights]" in sora("policy", "show", "--packaged", "policy").out
    assert "usd_micros_per_second" in sora("policy", "show", "--packaged", "catalog").out


def test_show_tells_what_decides_without_a_ledger_too(sora: Sora) -> None:
    shown = sora("policy", "show")
    assert (shown.code, shown.document["policy"]["name"], shown.document["activated"]) == (0, "default", None)


def test_check_changes_nothing(sora: Sora, team: Path, folder: Path) -> None:
    checked = sora("policy", "check", str(team))
    assert (checked.code, checked.document["policy"]["name"]) == (0, "team")
    assert not (folder / "ledger.db").exists()


def test_an_activated_policy_decides_and_is_shown_with_who_and_why(
    sora: Sora, team: Path, server: Callable[..., SandboxServer]
) -> None:
    server()
    assert sora("policy", "activate", str(team), "--reason", "we attest now").code == 0
    denied = sora("create", "--prompt", "a fox")
    assert (denied.code, denied.document["detail_code"]) == (3, "ATTESTATION_MISSING")
    shown = sora("policy", "show").document
    assert (shown["activated"]["actor"], shown["activated"]["why"]) == ("ana", "we attest now")
    assert "activated by ana (environment)" in sora("policy", "show", "--format=text").out
    assert sora("verify").code == 0


def test_what_each_activation_changed_is_listed_and_a_file_is_compared_before(
    sora: Sora, team: Path, folder: Path
) -> None:
    stricter = folder / "stricter.toml"
    stricter.write_text(team.read_text().replace("cost_weight = 1\n", "cost_weight = 3\n"))
    sora("policy", "activate", str(team), "--reason", "we attest now")
    compared = sora("policy", "diff", str(stricter)).document["changes"]
    assert compared == [{"setting": "weights.cost_weight", "before": "1", "after": "3"}]
    sora("policy", "activate", str(stricter), "--reason", "money")
    listed = sora("policy", "list").document["activations"]
    assert [each["activated"]["why"] for each in listed] == ["money", "we attest now"]
    assert listed[0]["changes"] == compared
    assert {"setting": "name", "before": "default", "after": "team"} in listed[1]["changes"]
    text = sora("policy", "list", "--format=text").out
    assert "  weights.cost_weight: 1 → 3\n" in text
    assert sora("policy", "diff", str(stricter), "--format=text").out == "no setting differs\n"


def test_a_policy_that_was_edited_where_it_is_kept_decides_nothing(
    sora: Sora, team: Path, server: Callable[..., SandboxServer]
) -> None:
    server()
    sora("policy", "activate", str(team), "--reason", "we attest now")
    db = sqlite3.connect("ledger.db", isolation_level=None)
    edited = """replace(body, '"require_attestation":true', '"require_attestation":false')"""
    db.execute(f"UPDATE documents SET body = CAST({edited} AS BLOB)")
    db.close()
    ended = sora("create", "--prompt", "a fox")
    assert (ended.code, "is not the one that was recorded" in ended.error) == (7, True)
    assert [found["code"] for found in sora("verify").document["findings"]] == ["DOCUMENT"]


def test_a_dry_run_decides_by_the_active_policy(
    sora: Sora, team: Path, server: Callable[..., SandboxServer]
) -> None:
    server()
    sora("policy", "activate", str(team), "--reason", "we attest now")
    assert sora("create", "--prompt", "a fox", "--dry-run").code == 3


def test_a_catalog_that_is_activated_is_what_can_be_asked_for(
    sora: Sora, team: Path, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    catalog = folder / "prices.toml"
    packaged = sora("policy", "show", "--packaged", "catalog").out
    catalog.write_text(packaged.replace('"sora-2"', '"sora-3"'))
    assert (
        sora("policy", "activate", str(team), "--catalog", str(catalog), "--reason", "it is here").code == 0
    )
    ended = sora("create", "--prompt", "a fox", "--model", "sora-2", "--attest")
    assert ended.code == 2
    assert "sora-3" in ended.error


def test_a_rule_that_can_never_match_is_a_warning(sora: Sora, team: Path) -> None:
    team.write_text(f'{team.read_text()}\n[[approvals]]\ncode = "NEVER"\nmodels = ["sora-9"]\n')
    checked = sora("policy", "check", str(team))
    assert checked.code == 0
    assert checked.document["warnings"] == [
        "approval rule NEVER: the catalog has none of its models (sora-9)"
    ]
    assert "warning: approval rule NEVER" in checked.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check"], "Missing argument 'FILE'"),
        (["activate", "team.toml"], "say why"),
        (["show", "team.toml"], "unexpected extra argument (team.toml)"),
        (["check", "team.toml", "--packaged", "policy"], "No such option"),
        (["check", "missing.toml"], "cannot be read"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused(
    sora: Sora, team: Path, arguments: list[str], message: str
) -> None:
    ended = sora("policy", *arguments)
    assert ended.code == 2
    assert message in ended.error
