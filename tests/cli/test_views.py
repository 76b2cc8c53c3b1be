"""What people read: one line each, in words, with every event of the vocabulary."""

import io
from typing import Any

import pytest
from rich.console import Console

from cli.text.jobs import show_job
from cli.text.printable import short
from cli.text.record_words import describe_error, what
from cli.text.tables import columns
from ledger.events import ErrorDetail, StatusObserved
from ledger.job import Job, State
from ledger.private import Private

WHEN = "2026-11-20T14:00:00.000000Z"


def job(**changes: Any) -> Job:
    given = {
        "job_id": "job_01a1fb128a4671c8984dc5a0d6472077",
        "version": 1,
        "position": 2,
        "state": State.RUNNING,
        "created_at": WHEN,
        "updated_at": WHEN,
        "actor": "ana",
        "trace_id": "1" * 32,
        "model": "sora-2",
        "size": "1280x720",
        "seconds": 4,
        "purpose": "draft",
    }
    return Job.model_validate(given | changes)


def shown(show: Any, *values: Any, width: int = 80) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=width, highlight=False, soft_wrap=True), *values)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\n  b\tc", "a b c"), (None, "[erased]"), ("x" * 61, "x" * 59 + "…"), ("", "")],
)
def test_text_is_shown_on_one_line_and_cut(text: str | None, line: str) -> None:
    assert short(text) == line


def test_a_job_is_never_folded_so_that_a_path_can_be_copied() -> None:
    asset = {
        "storage_uri": f"file:///{'long/' * 40}clip.mp4",
        "sha256": "0" * 64,
        "bytes": 7,
        "media_type": "v",
    }
    told = shown(show_job, job(state=State.STORED, assets={"video": asset}), width=60)
    assert asset["storage_uri"] in told


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"progress": 40}, "state   running 40 %"),
        ({"state": State.FAILED, "error_code": "moderation_blocked"}, "state   failed (moderation_blocked)"),
        ({"state": State.DENIED, "detail_code": "SIZE_NOT_OFFERED"}, "state   denied (SIZE_NOT_OFFERED)"),
        ({"reserved_usd_micros": 400_000}, "cost    0.40 USD reserved"),
        ({"settled_usd_micros": 400_000, "cost_basis": "estimated"}, "cost    0.40 USD (estimated)"),
    ],
)
def test_a_job_says_where_it_stands_and_what_it_costs(changes: dict[str, Any], line: str) -> None:
    assert line in shown(show_job, job(**changes)).splitlines()


def test_money_that_is_free_again_is_not_shown_as_reserved() -> None:
    freed = job(state=State.CANCELLED, estimate_usd_micros=400_000, reserved_usd_micros=0)
    assert "reserved" not in shown(show_job, freed)


def test_columns_are_aligned_and_never_folded() -> None:
    told = shown(columns, ("id", "state"), [("a" * 100, "running"), ("b", "lost")], ["cyan", "red"])
    assert [len(line) for line in told.splitlines()] == [107, 109, 106]


def test_no_rows_are_said_to_be_none() -> None:
    assert shown(columns, ("id", "state"), []) == "id  state\n(none)\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ErrorDetail(http_status=429, code="slow_down"), "HTTP 429 slow_down"),
        (ErrorDetail(code="blocked", message=Private.seal("m", "no\nway")), "blocked: no way"),
        (ErrorDetail(), ""),
    ],
)
def test_an_error_is_one_line(error: ErrorDetail, line: str) -> None:
    assert describe_error(error) == line


def test_an_event_is_a_few_words() -> None:
    seen = StatusObserved(video_id="video_1", status="in_progress", progress=40, source="poll")
    assert what(seen) == "in_progress 40 %"
