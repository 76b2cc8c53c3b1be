"""Appends of several threads, committed together.

Who comes while nobody is committing leads: it commits everything that is waiting, its own request and the
others' alike. Who comes meanwhile waits, and one of those leads next; the others are woken once, when theirs
is done. Threads that append again and again come back a moment after they were woken, so a leader gives as
many as shared the commit before a part of the time that one took. One thread alone pays nothing for any of
it, and sixteen share one disk sync.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")

PATIENCE = 0.25
"""How long a leader waits for the others, in times of the commit before."""


class Request(Generic[Work, Result]):
    """One caller's work on its way to a commit."""

    __slots__ = ("done", "error", "result", "turn", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.done = False
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.turn = threading.Lock()  # free once this request is done, or is to lead
        self.turn.acquire()

    def outcome(self) -> Result:
        """Return the result, or raise what went wrong."""
        if self.error is not None:
            raise self.error
        assert self.result is not None  # set with `done`
        return self.result


class GroupCommit(Generic[Work, Result]):
    """Hands `commit` all waiting requests at once; `commit` settles each one's result or error."""

    def __init__(self, commit: Callable[[list[Request[Work, Result]]], None]) -> None:
        self._commit = commit
        self._changing = threading.Condition(threading.Lock())  # never held during a commit
        self._waiting: list[Request[Work, Result]] = []
        self._leader: Request[Work, Result] | None = None
        self._last_size = 1
        self._last_s = 0.0

    def run(self, work: Work) -> Result:
        """Return what `work` came to; blocks until its commit is through."""
        request: Request[Work, Result] = Request(work)
        try:
            with self._changing:
                self._waiting.append(request)
                self._leader = self._leader or request
                leads = self._leader is request
                if len(self._waiting) == self._last_size:
                    self._changing.notify()
            if not leads:
                request.turn.acquire()
            if not request.done:
                self._lead()
        except BaseException:
            self._withdraw(request)
            raise
        return request.outcome()

    def _gather(self, group: list[Request[Work, Result]]) -> None:
        """Move what is waiting into `group`, after a moment in which more may come."""
        with self._changing:
            self._changing.wait_for(
                lambda: len(self._waiting) >= self._last_size, timeout=PATIENCE * self._last_s
            )
            group += self._waiting
            self._waiting.clear()

    def _lead(self) -> None:
        """Commit what is waiting; Ctrl-C at any line leaves nobody waiting for this group."""
        group: list[Request[Work, Result]] = []
        started = time.perf_counter()
        try:
            self._gather(group)
            started = time.perf_counter()
            self._commit(group)
        except BaseException as error:  # the others must not wait for ever, whatever happened
            for request in group:
                request.error = request.error or error
            if not isinstance(error, Exception):
                raise
        finally:
            for request in group:
                request.done = True
            with self._changing:
                self._waiting[:] = [request for request in self._waiting if not request.done]
                self._last_size, self._last_s = len(group), time.perf_counter() - started
                self._hand_over()
            for request in group:
                request.turn.release()

    def _hand_over(self) -> None:
        """Let the one that has waited longest lead, if there is one."""
        self._leader = self._waiting[0] if self._waiting else None
        if self._leader:
            self._leader.turn.release()

    def _withdraw(self, request: Request[Work, Result]) -> None:
        """Take back what Ctrl-C kept from being committed; somebody else leads."""
        with self._changing:
            if request in self._waiting:
                self._waiting.remove(request)
                if self._leader is request:
                    self._hand_over()
