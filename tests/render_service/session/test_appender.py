"""Appends of many tasks: made together, refused alone, and durable whoever still waits."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ledger.errors import LedgerUnusable, WrongExpectedVersion
from ledger.events import ExternalRecorded
from ledger.record import Draft
from ledger.store.interface import NEW, Batch
from render_service.session.appender import Recorder
from render_service.session.session import Desk

pytestmark = pytest.mark.anyio


@pytest.fixture
def desk(at: Any) -> Desk:
    made: Desk = at("http://127.0.0.1:9/v1")
    return made


@pytest.fixture
def appends(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many streams each append that reached the ledger was for."""
    sizes: list[int] = []
    append = desk.ledger.append

    def counted(batches: Sequence[Batch], **more: Any) -> Any:
        sizes.append(len(batches))
        return append(batches, **more)

    monkeypatch.setattr(desk.ledger, "append", counted)
    return sizes


def fact(desk: Desk, name: str) -> list[Draft]:
    return [desk.draft(ExternalRecorded(video_id=name))]


async def test_what_gathers_while_an_append_is_under_way_goes_as_one(desk: Desk, appends: list[int]) -> None:
    recorded = await asyncio.gather(
        *(desk.append(f"stream-{n}", NEW, fact(desk, f"fact-{n}")) for n in range(9))
    )
    assert [record.stream for [record] in recorded] == [f"stream-{n}" for n in range(9)]
    assert (sum(appends), len(appends) <= 2) == (9, True)


async def test_a_refused_append_takes_none_of_the_others_with_it(desk: Desk, intact: Any) -> None:
    first, refused, last = await asyncio.gather(
        desk.append("stream-a", NEW, fact(desk, "a")),
        desk.append("stream-b", 7, fact(desk, "b")),
        desk.append("stream-c", NEW, fact(desk, "c")),
        return_exceptions=True,
    )
    assert isinstance(refused, WrongExpectedVersion)
    assert [[record.stream for record in each] for each in (first, last)] == [["stream-a"], ["stream-c"]]  # type: ignore[union-attr]
    assert intact()


async def test_trouble_with_the_store_is_raised_to_every_task_of_a_group(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise LedgerUnusable("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(desk.ledger, "append", full)
        ends = await asyncio.gather(
            *(desk.append(f"stream-{n}", NEW, fact(desk, f"fact-{n}")) for n in range(5)),
            return_exceptions=True,
        )
    assert [str(end) for end in ends] == ["the disk is full"] * 5
    assert await desk.append("stream-0", NEW, fact(desk, "again"))


async def test_an_append_is_made_although_nobody_waits_any_more(desk: Desk) -> None:
    recorder = Recorder(desk.ledger)
    gone = asyncio.create_task(recorder.append([Batch("stream-a", NEW, fact(desk, "a"))]))
    await asyncio.sleep(0)
    gone.cancel()
    await recorder.append([Batch("stream-b", NEW, fact(desk, "b"))])
    assert [record.stream for record in desk.ledger.read()][1:] == ["stream-a", "stream-b"]


async def test_a_job_after_an_append_is_the_job_of_the_ledger(desk: Desk, request_for: Any) -> None:
    from render_service.submission.submit import place  # noqa: PLC0415

    placed = await place(desk, request_for(max_cost_usd_micros=1))
    assert placed.job == desk.ledger.job(placed.job.job_id)
