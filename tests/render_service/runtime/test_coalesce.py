"""Work of many tasks goes in groups, and none of them waits for ever."""

import asyncio
from collections.abc import Sequence

import pytest

from render_service.runtime.coalesce import Coalescer

pytestmark = pytest.mark.anyio


class Work:
    """Doubles numbers, refuses negative ones, and notes its groups; each waits until `go` is set."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self.trouble: BaseException | None = None

    async def __call__(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.groups.append(list(items))
        self.begun.set()
        await self.go.wait()
        if self.trouble is not None:
            raise self.trouble
        return [ValueError(f"{item} is negative") if item < 0 else 2 * item for item in items]


@pytest.fixture
async def work() -> Work:
    return Work()


async def test_items_that_come_while_a_group_is_under_way_go_as_one(work: Work) -> None:
    coalescer = Coalescer[int, int](work)
    work.go.clear()
    first = asyncio.create_task(coalescer.do(1))
    await work.begun.wait()
    others = [asyncio.create_task(coalescer.do(number)) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    work.go.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
    assert work.groups == [[1], [2, 3, 4]]


async def test_a_group_has_no_more_items_than_it_may(work: Work) -> None:
    coalescer = Coalescer[int, int](work, most=2)
    assert await asyncio.gather(*map(coalescer.do, range(5))) == [0, 2, 4, 6, 8]
    assert work.groups == [[0, 1], [2, 3], [4]]


async def test_what_is_put_while_a_group_gathers_goes_with_it(work: Work) -> None:
    coalescer = Coalescer[int, int](work, gather_s=0.01)
    coalescer.put(1)
    await asyncio.sleep(0)
    coalescer.put(2)
    await coalescer.finish()
    assert work.groups == [[1, 2]]


async def test_one_refused_item_is_raised_to_its_task_alone(work: Work) -> None:
    coalescer = Coalescer[int, int](work)
    one, refused, other = await asyncio.gather(*map(coalescer.do, (1, -2, 3)), return_exceptions=True)
    assert ((one, other), str(refused)) == ((2, 6), "-2 is negative")


async def test_trouble_with_a_group_reaches_every_task_and_the_next_group_is_tried(work: Work) -> None:
    coalescer = Coalescer[int, int](work)
    work.trouble = OSError("the disk is full")
    ends = await asyncio.gather(*map(coalescer.do, (1, 2, 3)), return_exceptions=True)
    assert [str(end) for end in ends] == ["the disk is full"] * 3
    work.trouble = None
    assert await coalescer.do(4) == 8


async def test_an_item_is_worked_on_although_its_task_is_cancelled(work: Work) -> None:
    coalescer = Coalescer[int, int](work)
    gone = asyncio.create_task(coalescer.do(1))
    await asyncio.sleep(0)
    gone.cancel()
    assert await coalescer.do(2) == 4
    assert [item for group in work.groups for item in group] == [1, 2]


async def test_an_error_that_no_task_waits_for_is_raised_at_the_end_and_once(work: Work) -> None:
    coalescer = Coalescer[int, int](work)
    coalescer.put(-1)
    with pytest.raises(ValueError, match="-1 is negative"):
        await coalescer.finish()
    await coalescer.finish()


async def test_no_task_waits_for_work_that_is_cancelled(work: Work) -> None:
    coalescer = Coalescer[int, int](work)
    work.go.clear()
    first = asyncio.create_task(coalescer.do(1))
    await work.begun.wait()
    second = asyncio.create_task(coalescer.do(2))
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task(), first, second}:
        if "Coalescer" in repr(task):
            task.cancel()
    ends = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 2
