"""How long a render takes is told from what this ledger measured, and is unknown without data."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest
from msgspec import structs

from ledger.log.opening import open_or_create
from ledger.record import draft
from ledger.store.interface import ANY, Batch
from render_service import SyncRenderDesk
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora, Terminal

WORDS = "about 40 s, 9 of 10 within 60 s (of 6 renders here)"
UNKNOWN = "unknown (fewer than 5 renders of this model, size and length so far)"


@pytest.fixture
def measured(folder: Path, vocabulary: ModuleType) -> Path:
    """Record six renders at the profile `custom` that took 20 to 60 seconds."""
    who, began = vocabulary.provenance(), datetime(2026, 1, 1, tzinfo=UTC)
    with open_or_create(str(folder / "ledger.db"), who, began) as ledger:
        for number, took in enumerate((20, 30, 40, 50, 50, 60), 1):
            begin, *rest = vocabulary.life()
            events = [structs.replace(begin, profile="custom"), *rest]
            times = [began, *[began + timedelta(seconds=took)] * len(rest)]
            drafts = [draft(event, who, at) for event, at in zip(events, times, strict=True)]
            ledger.append([Batch(f"job_{number:032x}", ANY, drafts)])
    return folder


def test_a_decision_says_how_long_the_render_takes(
    sora: Sora, server: Callable[..., SandboxServer], measured: Path
) -> None:
    server()
    ended = sora("decide", "--prompt", "a fox in snow")
    assert ended.document["expected"] == {"p50_seconds": 40, "p90_seconds": 60, "renders": 6}
    assert f"expected: {WORDS}" in sora("decide", "--prompt", "a fox in snow", "--format", "text").out


def test_a_new_render_says_how_long_it_takes(
    sora: Sora, server: Callable[..., SandboxServer], measured: Path
) -> None:
    server()
    ended = sora("create", "--prompt", "a fox in snow")
    assert ended.document["expected"] == {"p50_seconds": 40, "p90_seconds": 60, "renders": 6}
    assert f"expected: {WORDS}" in sora("create", "--prompt", "a fox in snow", "--format", "text").out


def test_another_shape_is_unknown(sora: Sora, server: Callable[..., SandboxServer], measured: Path) -> None:
    server()
    options = ("--prompt", "a fox in snow", "--seconds", "8")
    assert sora("create", *options).document["expected"] is None
    assert f"expected: {UNKNOWN}" in sora("decide", *options, "--format", "text").out


def test_a_denied_request_expects_nothing(
    sora: Sora, server: Callable[..., SandboxServer], measured: Path
) -> None:
    server()
    denied = ("create", "--prompt", "a fox in snow", "--max-cost", "0")
    assert sora(*denied).document["expected"] is None
    assert "expected:" not in sora(*denied, "--format", "text").out


def test_the_progress_bar_has_the_expected_time(
    sora: Sora,
    server: Callable[..., SandboxServer],
    measured: Path,
    terminal: Callable[..., tuple[Terminal, Terminal]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server()
    job = sora("create", "--prompt", "a fox in snow").document["job_id"]
    monkeypatch.setenv("COLUMNS", "160")
    _, err = terminal()
    sora("poll", job, "--poll-interval", "0.05")
    assert "expected: about 40 s, 9 of 10 within 60 s" in err.getvalue()


def test_a_narrow_progress_bar_keeps_its_bar_and_its_time(
    sora: Sora,
    server: Callable[..., SandboxServer],
    measured: Path,
    terminal: Callable[..., tuple[Terminal, Terminal]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server()
    job = sora("create", "--prompt", "a fox in snow").document["job_id"]
    monkeypatch.setenv("COLUMNS", "60")
    _, err = terminal()
    sora("poll", job, "--poll-interval", "0.05")
    assert "expected: about 40 s" in err.getvalue()
    assert "9 of 10" not in err.getvalue()
    assert "━━━━" in err.getvalue()


def test_a_desk_says_how_long_a_render_takes(server: Callable[..., SandboxServer], measured: Path) -> None:
    server()
    with SyncRenderDesk() as desk:
        job = desk.create("a fox in snow")
        expected = desk.expected(job.job_id)
        assert expected is not None
        assert (expected.p50_seconds, expected.p90_seconds) == (40, 60)
        assert desk.expected(desk.create("a fox in snow", seconds=8).job_id) is None
