"""Alerts as an operator sets them up: `worker`, `serve` and `audit --alert` with a file."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Sora
from tests.forks import Forks
from tests.receiver import Receiver, receiving


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def file(folder: Path, there: Receiver, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a file with one target, and name it."""
    file = folder / "alerts.toml"
    file.write_text(f'version = 1\n[[webhook]]\nname = "there"\nurl = "{there.url}"\n')
    monkeypatch.setenv("SORA_LEDGER_PRIVATE_ENDPOINTS", "allow")
    monkeypatch.setenv("SORA_LEDGER_ALERTS", str(file))
    monkeypatch.setenv("SORA_LEDGER_PROFILE", "sandbox")
    monkeypatch.setenv("SORA_SANDBOX_SECONDS", "0")
    return file


def titles(there: Receiver) -> list[str]:
    return [one.event["title"] for one in there.received]


def test_a_worker_tells_of_a_budget_before_it_ends(sora: Sora, file: Path, there: Receiver) -> None:
    assert sora("budget", "set", "all", "--limit", "0.40", "--reason", "agreed").code == 0
    assert sora("create", "--prompt", "a fox runs", "--queue").code == 0
    assert there.received == []
    for _ in range(2):
        assert sora("worker", "--drain", "--interval", "0.2", "--grace", "0").code == 0
    assert titles(there) == ["The budget all is at 100 %"]


def test_serve_tells_of_a_budget(sora: Sora, folder: Path, file: Path, there: Receiver, forks: Forks) -> None:
    assert sora("budget", "set", "all", "--limit", "0.40", "--reason", "agreed").code == 0
    assert sora("create", "--prompt", "a fox runs", "--queue").code == 0
    process = forks.popen(["serve", "--port", "0", "--no-work", "--json"], folder, dict(os.environ))
    try:
        there.wait_for(1)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert titles(there) == ["The budget all is at 100 %"]


def test_audit_tells_of_its_findings_once(
    sora: Sora, file: Path, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sora("create-and-poll", "--prompt", "a fox runs", "--poll-interval", "0.05").code == 0
    assert sora("audit", "--alert").code == 0
    assert there.received == []
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("SORA_LEDGER_ASSETS", "other-assets")
        assert sora("create", "--prompt", "an owl", "--ledger", "other.db").code == 0
    for _ in range(2):
        assert sora("audit", "--alert").code == 11
    assert titles(there) == ["Audit finding VIDEO_UNCLAIMED"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SORA_LEDGER_ALERTS": ""}, "--alert: set SORA_LEDGER_ALERTS to a file of alerts"),
        ({"SORA_LEDGER_ALERTS": "nowhere.toml"}, "file of alerts nowhere.toml: cannot be read"),
        ({"SORA_LEDGER_PRIVATE_ENDPOINTS": "refuse"}, "target there: expected a URL (https)"),
    ],
)
def test_what_cannot_be_sent_is_reported(
    sora: Sora,
    file: Path,
    there: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    message: str,
) -> None:
    assert sora("create", "--prompt", "a fox runs", "--queue").code == 0
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    command = ["audit", "--alert"] if "ALERTS" in next(iter(change)) else ["worker", "--drain"]
    ended = sora(*command)
    assert (ended.code, message in ended.error) == (2, True)
    assert there.received == []
