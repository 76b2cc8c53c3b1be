"""The doctor looks at everything a render needs, says what to fix, and never prints a key."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora
from tests.conftest import Faults

CHECKS = ["profile", "key", "server", "clock", "ledger", "storage", "sandbox"]
KEY = "sk-test-0123456789"


def findings(ended: Any) -> dict[str, dict[str, Any]]:
    return {finding["check"]: finding for finding in ended.document["findings"]}


def test_a_healthy_setup_is_reported_as_healthy(
    sora: Sora, server: Callable[..., SandboxServer], denied: str
) -> None:
    server()
    ended = sora("doctor")
    assert (ended.code, ended.document["healthy"]) == (0, True)
    assert [finding["check"] for finding in ended.document["findings"]] == CHECKS
    assert {finding["found"] for finding in ended.document["findings"]} == {"ok"}


def test_a_newcomer_is_told_how_to_begin(sora: Sora, folder: Path) -> None:
    ended = sora("doctor")
    found = findings(ended)
    assert (ended.code, found["key"]["found"], found["server"]["found"]) == (1, "wrong", "skipped")
    assert "--profile sandbox" in found["key"]["fix"]
    assert "no ledger yet" in found["ledger"]["says"]
    assert not (folder / "ledger.db").exists()


def test_the_sandbox_profile_needs_nothing_and_leaves_nothing(sora: Sora, folder: Path) -> None:
    assert sora("doctor", "--profile", "sandbox").code == 0
    assert list(folder.iterdir()) == []


def test_a_key_is_never_printed(
    sora: Sora, server: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server(api_key="another")
    for arguments in (["--json"], ["--format=text"]):
        ended = sora("doctor", *arguments)
        assert (ended.code, KEY in ended.out + ended.err) == (1, False)


def test_a_key_that_is_no_key_is_not_printed_either(
    sora: Sora, server: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server()
    monkeypatch.setenv("OPENAI_API_KEY", "my secret with spaces")
    ended = sora("doctor")
    assert (ended.code, "secret" in ended.out + ended.err) == (1, False)


def test_a_wrong_key_says_which_variable_to_set(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server(api_key="another")
    found = findings(sora("doctor"))["server"]
    assert (found["found"], "OPENAI_API_KEY" in f"{found['says']} {found['fix']}") == ("wrong", True)


def test_an_unreachable_server_is_reported(sora: Sora, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    found = findings(sora("doctor"))
    assert (found["server"]["found"], found["clock"]["found"]) == ("wrong", "skipped")
    assert found["server"]["fix"]


def test_a_server_that_cannot_list_is_asked_for_a_video_that_is_none(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    assert findings(sora("doctor", "--profile", "litellm"))["server"]["found"] == "ok"


def test_a_switched_off_server_is_reported_with_the_way_out(
    sora: Sora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found = findings(sora("doctor", "--profile", "openai"))["key"]
    assert (found["found"], "switched its Videos API off" in found["says"]) == ("wrong", True)


@pytest.mark.parametrize(("minutes", "message"), [(5, "300 s ahead of"), (-5, "300 s behind")])
def test_a_clock_that_is_off_is_reported_with_the_difference(
    sora: Sora,
    server: Callable[..., SandboxServer],
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
    message: str,
) -> None:
    server()
    shifted = timedelta(minutes=minutes, microseconds=-1)
    monkeypatch.setattr(
        "render_service.maintenance.setup.utc_now",
        lambda: datetime.now(UTC).replace(microsecond=0) + shifted,
    )
    found = findings(sora("doctor"))["clock"]
    assert found["found"] == "wrong"
    assert abs(int(found["says"].split()[0]) - 300) <= 2
    assert message.split(" s ")[1] in found["says"]


def test_a_ledger_that_is_none_is_reported(sora: Sora, folder: Path) -> None:
    (folder / "ledger.db").write_text("no database, but text " * 9)
    found = findings(sora("doctor", "--profile", "sandbox"))["ledger"]
    assert (found["found"], "it is not a SQLite database" in found["says"]) == ("wrong", True)


def test_an_unknown_kind_of_ledger_is_reported(sora: Sora, folder: Path) -> None:
    ended = sora("doctor", "--dry-run", "--profile", "sandbox", "--ledger", "mysql://host/ledger")
    found = findings(ended)["ledger"]
    assert (ended.code, found["found"]) == (1, "wrong")
    assert found["says"].startswith("ledger URL mysql://…: expected sqlite:///")


def test_a_ledger_folder_that_is_a_file_is_reported(sora: Sora, folder: Path) -> None:
    (folder / "file").write_text("")
    ended = sora("doctor", "--profile", "sandbox", "--ledger", "file/ledger.db")
    assert (ended.code, "is not a folder" in findings(ended)["ledger"]["says"]) == (1, True)


def test_a_full_disk_is_reported_before_it_is_full(sora: Sora, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render_service.maintenance.setup.LEAST_FREE_BYTES", 1 << 60)
    found = findings(sora("doctor", "--profile", "sandbox"))["storage"]
    assert (found["found"], "make room" in found["fix"]) == ("wrong", True)


def test_an_unknown_profile_is_reported_with_the_known_ones(sora: Sora) -> None:
    ended = sora("doctor", "--profile", "nonsense")
    assert (ended.code, "no server profile is called 'nonsense'" in findings(ended)["profile"]["says"]) == (
        1,
        True,
    )


def test_a_dry_look_asks_no_server(
    sora: Sora, server: Callable[..., SandboxServer], faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", faults.base_url)
    ended = sora("doctor", "--dry-run")
    assert (ended.code, faults.asked, findings(ended)["server"]["found"]) == (0, [], "skipped")


def test_a_person_reads_what_to_do_after_an_arrow(sora: Sora) -> None:
    text = sora("doctor", "--format=text").out
    assert "wrong   key      OPENAI_API_KEY is not set." in text
    assert "→ 1. Get a key" in text


def test_the_findings_can_be_written_to_a_file(sora: Sora, folder: Path) -> None:
    sora("doctor", "--profile", "sandbox", "--json-out", "findings")
    assert json.loads((folder / "findings.json").read_text())["healthy"] is True
