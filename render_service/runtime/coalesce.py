"""Process the items of many tasks in groups: while one group is processed, the next items gather.

A single item never waits for others. If a group fails, the error is raised in every task that waits for one
of its items, so that no task waits forever.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Coalescer(Generic[T, R]):
    """Passes items to `work` in groups, one group at a time and in order; for one event loop.

    `work` returns the outcome of each item, in order; an exception among them is raised in the task that
    waits for that item. A group has at most `most` items, and gathers for `gather_s` seconds.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]],
        *,
        most: int | None = None,
        gather_s: float | None = None,
    ) -> None:
        self._work = work
        self._most = most
        self._gather_s = gather_s
        self._waiting: list[tuple[T, asyncio.Future[R] | None]] = []
        self._working: asyncio.Task[None] | None = None
        self._unheard: Exception | None = None

    async def do(self, item: T) -> R:
        """Return the outcome of `item`; it is processed even if the caller is cancelled meanwhile."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._is_idle:
            self._working = asyncio.create_task(self._run())
        return await done

    def put(self, item: T) -> None:
        """Queue `item` without waiting for it; `finish` raises its error, if any."""
        self._waiting.append((item, None))
        if self._is_idle:
            self._working = asyncio.create_task(self._run())

    async def finish(self) -> None:
        """Wait until all items are processed; raises the first error that no task waited for."""
        if self._working is not None:
            await self._working
        if self._unheard is not None:
            unheard, self._unheard = self._unheard, None
            raise unheard

    @property
    def _is_idle(self) -> bool:
        return self._working is None or self._working.done()

    async def _run(self) -> None:
        while self._waiting:
            if self._gather_s is not None:
                await asyncio.sleep(self._gather_s)
            group = self._waiting[: self._most]
            del self._waiting[: self._most]
            try:
                outcomes: Sequence[R | Exception] = await self._work([item for item, _ in group])
            except Exception as error:  # noqa: BLE001  # raised in the tasks that wait for them
                outcomes = [error] * len(group)
            except BaseException:  # cancelled as the loop ends: no task may wait forever
                for _, done in (*group, *self._waiting):
                    if done is not None:
                        done.cancel()
                raise
            for (_, done), outcome in zip(group, outcomes, strict=True):
                self._settle(done, outcome)

    def _settle(self, done: asyncio.Future[R] | None, outcome: R | Exception) -> None:
        if done is None:
            if isinstance(outcome, Exception):
                self._unheard = self._unheard or outcome
        elif done.done():  # its caller was cancelled; the work was done anyway
            return
        elif isinstance(outcome, Exception):
            done.set_exception(outcome)
        else:
            done.set_result(outcome)
