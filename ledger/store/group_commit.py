"""Appends of several threads, committed together.

Whoever gets the lock first commits everything that is waiting, its own request and the others' alike;
those then find theirs done. One thread alone pays nothing for it, and sixteen share one disk sync.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")


class Request(Generic[Work, Result]):
    """One caller's work on its way to a commit."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.done = False
        self.result: Result | None = None
        self.error: BaseException | None = None

    def outcome(self) -> Result:
        """Return the result, or raise what went wrong."""
        if self.error is not None:
            raise self.error
        assert self.result is not None  # noqa: S101  # set with `done`
        return self.result


class GroupCommit(Generic[Work, Result]):
    """Hands `commit` all waiting requests at once; `commit` settles each one's result or error."""

    def __init__(self, commit: Callable[[list[Request[Work, Result]]], None]) -> None:
        self._commit = commit
        self._lock = threading.Lock()
        self._waiting: deque[Request[Work, Result]] = deque()

    def run(self, work: Work) -> Result:
        """Return what `work` came to; blocks until its commit is through."""
        request: Request[Work, Result] = Request(work)
        self._waiting.append(request)
        with self._lock:
            if not request.done:
                group = [self._waiting.popleft() for _ in range(len(self._waiting))]
                self._lead(group)
        return request.outcome()

    def _lead(self, group: list[Request[Work, Result]]) -> None:
        try:
            self._commit(group)
        except BaseException as error:  # the others must not wait for ever, whatever happened
            for request in group:
                request.error = request.error or error
            if not isinstance(error, Exception):
                raise
        finally:
            for request in group:
                request.done = True
