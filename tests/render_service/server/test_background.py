"""Work beside the server begins again when it fails, and has stopped when the server has."""

import asyncio

import pytest

from render_service.runtime.telemetry import Log, Trace
from render_service.server import background
from render_service.server.background import working

LOG = Log(Trace("1" * 32, "2" * 16), quiet=True)


@pytest.mark.anyio
async def test_work_that_fails_begins_again_and_the_rest_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE_S", 0.01)
    begun, recovered = 0, asyncio.Event()

    async def fails_twice(stop: asyncio.Event) -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise OSError("the disk is away")
        recovered.set()
        await stop.wait()

    async with asyncio.timeout(30), working([fails_twice], asyncio.Event(), LOG):
        await recovered.wait()
    assert begun == 3


@pytest.mark.anyio
async def test_the_end_waits_for_what_work_hands_back() -> None:
    stop, begun, handed_back = asyncio.Event(), asyncio.Event(), []

    async def hands_back(told: asyncio.Event) -> None:
        begun.set()
        await told.wait()
        await asyncio.sleep(0)
        handed_back.append("a lease")

    async with asyncio.timeout(30), working([hands_back], stop, LOG):
        await begun.wait()
    assert (stop.is_set(), handed_back) == (True, ["a lease"])


@pytest.mark.anyio
async def test_work_that_is_told_to_stop_in_its_pause_does_not_begin_again() -> None:
    begun: list[None] = []
    failed = asyncio.Event()

    async def fails(_: asyncio.Event) -> None:
        begun.append(None)
        failed.set()
        raise OSError("the disk is away")

    async with asyncio.timeout(30), working([fails], asyncio.Event(), LOG):
        await failed.wait()
    assert len(begun) == 1
