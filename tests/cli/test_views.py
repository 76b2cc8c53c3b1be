"""What people read: one line each, in words, with every event of the vocabulary."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import convert
from rich.console import Console

from cli.commands.assets import print_files
from cli.commands.list import print_page
from cli.commands.setup import print_checkup
from cli.commands.spend import print_spending
from cli.commands.worker import print_queue
from cli.text.jobs import show_job, show_jobs
from cli.text.record_lines import RecordLines
from cli.text.tables import columns
from ledger.events import ErrorDetail, StatusObserved
from ledger.job import Job
from ledger.private import Private
from ledger.terms import State, Status
from render_service.maintenance.setup import CheckResult, Finding
from render_service.reports.record_words import describe_error, what
from render_service.reports.spending import Grouping, Spending, SpentMoney
from render_service.runtime.printable import shorten
from sora_adapter.models import Observation, Page

WHEN = "2026-11-20T14:00:00.000000Z"


def job(**changes: Any) -> Job:
    values = {
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
    return convert(values | changes, Job)


def printed(show: Any, *values: Any, width: int = 80) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=width, highlight=False, soft_wrap=True), *values)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\n  b\tc", "a b c"), (None, "[erased]"), ("x" * 61, "x" * 59 + "…"), ("", "")],
)
def test_text_is_shown_on_one_line_and_cut(text: str | None, line: str) -> None:
    assert shorten(text) == line


def test_a_job_is_never_folded_so_that_a_path_can_be_copied() -> None:
    asset: dict[str, Any] = {
        "storage_uri": f"file:///{'long/' * 40}clip.mp4",
        "sha256": "0" * 64,
        "bytes": 7,
        "media_type": "v",
    }
    text = printed(show_job, job(state=State.STORED, assets={"video": asset}), width=60)
    assert asset["storage_uri"] in text


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
    assert line in printed(show_job, job(**changes)).splitlines()


def test_money_that_is_free_again_is_not_shown_as_reserved() -> None:
    freed = job(state=State.CANCELLED, estimate_usd_micros=400_000, reserved_usd_micros=0)
    assert "reserved" not in printed(show_job, freed)


def test_columns_are_aligned_and_never_folded() -> None:
    text = printed(columns, ("id", "state"), [("a" * 100, "running"), ("b", "lost")], ["cyan", "red"])
    assert [len(line) for line in text.splitlines()] == [107, 109, 106]


def test_a_list_without_rows_says_none() -> None:
    assert printed(columns, ("id", "state"), []) == "id  state\n(none)\n"


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
    event = StatusObserved(video_id="video_1", status="in_progress", progress=40, source="poll")
    assert what(event) == "in_progress 40 %"


def on_a_terminal(show: Any, *values: Any, width: int = 80) -> list[str]:
    """Return the lines that a terminal of this width shows."""
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, highlight=False, soft_wrap=True, force_terminal=True, color_system=None
    )
    show(console, *values)
    return stream.getvalue().splitlines()


def test_jobs_fit_80_columns_with_the_whole_id() -> None:
    jobs = [
        job(state=state, model="sora-2-pro", operation="remix", settled_usd_micros=12_345_678, seconds=12)
        for state in State
    ]
    lines = on_a_terminal(show_jobs, jobs)
    assert max(map(len, lines)) <= 80
    assert all(line.startswith(jobs[0].job_id) for line in lines[1:])
    assert "sora-2-pro 12 s 1280x720 remix" in on_a_terminal(show_jobs, jobs, width=120)[1]


def test_jobs_of_several_years_show_their_dates() -> None:
    old = job(created_at="2025-01-02T14:00:00.000000Z")
    assert [line.split()[2] for line in on_a_terminal(show_jobs, [job(), old])] == [
        "created",
        "2026-11-20",
        "2025-01-02",
    ]


def test_the_log_fits_80_columns() -> None:
    event = StatusObserved(video_id="video_1", status="in_progress", progress=40, source="poll")
    record = SimpleNamespace(
        position=123_456,
        recorded_at=WHEN,
        stream="job_01a1fb128a4671c8984dc5a0d6472077",
        type="submission.intended",
        actor="a" * 40,
        event=event,
    )
    lines = on_a_terminal(lambda console: RecordLines(console).show([record]))  # type: ignore[list-item]
    assert max(map(len, lines)) <= 80


def test_the_queue_fits_80_columns() -> None:
    lease = {"job_id": job().job_id, "holder": "h" * 90, "until_ms": 1_000_000_000_000}
    letter = {
        "delivery_id": "01a1fb12-8a46-71c8-984d-c5a0d6472077",
        "endpoint_id": "we_0123456789abcdef",
        "webhook_type": "approval.requested",
        "cause": "not_accepted",
        "http_status": 503,
        "attempts": 12,
    }
    document = {
        "due": 1,
        "oldest_due_s": 2.0,
        "waiting": 3,
        "leased": 1,
        "leases": [lease],
        "forwarding": [{"destination": "archive", "position": 1, "behind": 2, "is_running": False}],
        "notifications": {"waiting": 2, "dead_letters": [letter]},
    }
    assert max(map(len, on_a_terminal(lambda console: print_queue(document, console)))) <= 80


def test_the_videos_of_a_server_fit_80_columns() -> None:
    video = Observation(
        video_id=f"video_{'0' * 32}",
        status=Status.IN_PROGRESS,
        progress=40,
        model="sora-2-pro",
        size="1792x1024",
        seconds="12",
        prompt=f"Primary request: {'a fox in snow ' * 20}",
    )
    lines = on_a_terminal(print_page, Page((video,), has_more=False, last_id=None), None)
    assert max(map(len, lines)) <= 80
    assert "in_progress 40%  sora-2-pro 12 s  a f" in lines[1]


def test_stored_files_fit_80_columns_and_show_their_place_on_a_wider_terminal() -> None:
    digest = "1d" * 32
    file = {
        "job_id": "job_01a1fb128a4671c8984dc5a0d6472077",
        "what": "spritesheet",
        "bytes": 12_345_678_901,
        "sha256": digest,
        "storage_uri": f"asset:sha256/1d/{digest}.mp4",
    }
    narrow, wide = (on_a_terminal(print_files, [file], 12_345_678_901, width=width) for width in (80, 170))
    assert max(map(len, narrow)) <= 80
    assert narrow[1].startswith("d6472077  spritesheet  12345.68  1d1d1d1d1d1d")
    assert wide[1].startswith(file["job_id"])
    assert wide[1].endswith(file["storage_uri"])


def test_what_doctor_found_is_folded_between_words_on_a_terminal() -> None:
    finding = Finding("ledger", CheckResult.OK, "a sentence that goes beyond the edge of the terminal " * 3)
    lines = on_a_terminal(print_checkup, [finding])
    assert (max(map(len, lines)) <= 80, len(lines)) == (True, 3)
    assert len(printed(print_checkup, [finding]).splitlines()) == 1


@pytest.mark.parametrize("name", ["sora-2", "n" * 90])
def test_spending_fits_80_columns(name: str) -> None:
    part = SpentMoney(name, jobs=7, reserved_usd_micros=1_000_000_000, settled_usd_micros=123_456_789)
    small = SpentMoney("small", jobs=1, settled_usd_micros=1)
    spending = Spending(Grouping.MODEL, [part, small], part, [])
    lines = on_a_terminal(print_spending, spending)
    assert max(map(len, lines)) <= 80
    assert "█" in lines[2]
