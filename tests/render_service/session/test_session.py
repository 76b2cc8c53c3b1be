"""Appends of many tasks: made together, refused alone, and durable whoever still waits."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from decision.request.request import RenderRequest
from ledger.errors import LedgerUnusable, WrongExpectedVersion
from ledger.events import ExternalRecorded
from ledger.record import Draft
from ledger.store.interface import ANY, NEW, AppendCall, Batch
from render_service.session.session import Append, Session, append_each

pytestmark = pytest.mark.anyio


@pytest.fixture
def session(at: Callable[[str], Session]) -> Session:
    made: Session = at("http://127.0.0.1:9/v1")
    return made


@pytest.fixture
def appends(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many streams each append that reached the ledger was for."""
    sizes: list[int] = []
    append, append_each = session.ledger.append, session.ledger.append_each

    def counted(batches: Sequence[Batch], **more: Any) -> Any:
        sizes.append(len(batches))
        return append(batches, **more)

    def counted_each(calls: Sequence[AppendCall]) -> Any:
        sizes.append(len(calls))
        return append_each(calls)

    monkeypatch.setattr(session.ledger, "append", counted)
    monkeypatch.setattr(session.ledger, "append_each", counted_each)
    return sizes


def fact(session: Session, name: str) -> list[Draft]:
    return [session.draft(ExternalRecorded(video_id=name))]


async def test_what_gathers_while_an_append_is_under_way_goes_as_one(
    session: Session, appends: list[int]
) -> None:
    recorded = await asyncio.gather(
        *(session.append(f"stream-{n}", NEW, fact(session, f"fact-{n}")) for n in range(9))
    )
    assert [record.stream for [record] in recorded] == [f"stream-{n}" for n in range(9)]
    assert (sum(appends), len(appends) <= 2) == (9, True)


async def test_a_refused_append_takes_none_of_the_others_with_it(
    session: Session, intact: Callable[[], bool]
) -> None:
    first, refused, last = await asyncio.gather(
        session.append("stream-a", NEW, fact(session, "a")),
        session.append("stream-b", 7, fact(session, "b")),
        session.append("stream-c", NEW, fact(session, "c")),
        return_exceptions=True,
    )
    assert isinstance(refused, WrongExpectedVersion)
    assert [[record.stream for record in each] for each in (first, last)] == [["stream-a"], ["stream-c"]]
    assert intact()


async def test_trouble_with_the_store_is_raised_to_every_task_of_a_group(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise LedgerUnusable("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(session.ledger, "append", full)
        broken.setattr(session.ledger, "append_each", full)
        ends = await asyncio.gather(
            *(session.append(f"stream-{n}", NEW, fact(session, f"fact-{n}")) for n in range(5)),
            return_exceptions=True,
        )
    assert [str(end) for end in ends] == ["the disk is full"] * 5
    assert await session.append("stream-0", NEW, fact(session, "again"))


async def test_an_append_is_made_although_nobody_waits_any_more(session: Session) -> None:
    gone = asyncio.create_task(session.append("stream-a", NEW, fact(session, "a")))
    await asyncio.sleep(0)
    gone.cancel()
    await session.append("stream-b", NEW, fact(session, "b"))
    assert [record.stream for record in session.ledger.read()][1:] == ["stream-a", "stream-b"]


async def test_a_job_after_an_append_is_the_job_of_the_ledger(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    from render_service.submission.submit import place  # noqa: PLC0415

    placed = await place(session, request_for(max_cost_usd_micros=1))
    assert placed.job == session.ledger.job(placed.job.job_id)


async def test_of_tasks_that_expect_the_same_version_one_is_recorded(session: Session) -> None:
    outcomes = await asyncio.gather(
        *(session.append("stream-a", NEW, fact(session, f"fact-{n}")) for n in range(9)),
        return_exceptions=True,
    )
    assert [isinstance(outcome, WrongExpectedVersion) for outcome in outcomes].count(False) == 1


async def test_what_expects_a_version_sees_what_gathered_before_it(session: Session) -> None:
    written = Append(AppendCall([Batch("stream-a", ANY, fact(session, "a"))]))
    conditional = Append(AppendCall([Batch("stream-a", NEW, []), Batch("stream-b", NEW, fact(session, "b"))]))
    first, second = append_each(session.ledger, [written, conditional])
    assert not isinstance(first, Exception)
    assert isinstance(second, WrongExpectedVersion)
