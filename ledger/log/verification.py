"""`verify` a whole ledger: check ranges of positions in separate processes, or fall back to the full check.

1. Each process opens a snapshot. All must have the same head; if another process appends in between, they
   reopen it. On PostgreSQL they share one exported snapshot.
2. Each process, this one among them, checks one range, and either reports it as sound or says nothing.
3. If all are sound and fit together (`ledger.verify.incremental`), so is the ledger. Otherwise the full check
   of `ledger.verify` rereads everything in this process and says what is wrong.

Processes are started, not forked: a forked process must not use SQLite that its parent has used. A process
that crashes answers nothing, which leads to the full check.
"""

import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Self, TypeVar

import msgspec

from ledger.errors import LedgerUnusable
from ledger.garbage import collect_rarely
from ledger.log.opening import open_snapshot
from ledger.verify.checks import verify
from ledger.verify.incremental import join_parts
from ledger.verify.ranges import BLOCK, Part, Ranges, check_range
from ledger.verify.report import Report
from ledger.verify.slim_fold import NotSound
from ledger.verify.spill import BUCKETS, Memory

WORTH_A_PROCESS = 50_000
"""Minimum events per process; with fewer, no second process starts."""
_MOST_PROCESSES = 8
_MOST_TRIES = 20
_LENGTH_BYTES = 8


class Order(msgspec.Struct, omit_defaults=True):
    """An order to a process: open a snapshot of the ledger `url`, or check the records of a range."""

    url: str | None = None
    exported: str | None = None
    first: int = 0
    last: int = 0
    roots_at: list[int] = []


def verify_ledger(url: str, roots_at: Collection[int] = (), processes: int | None = None) -> Report:
    """Verify the ledger at `url`; report the roots at the sizes `roots_at`.

    By default there is one process per processor, and only one for a short ledger.
    """
    try:
        return verify_ranges(url, roots_at, processes)
    except (NotSound, OSError, LedgerUnusable):
        with open_snapshot(url) as snapshot:
            return verify(snapshot, roots_at)


def verify_ranges(url: str, roots_at: Collection[int], processes: int | None) -> Report:
    """Verify in ranges; `NotSound` or `LedgerUnusable` if anything may be wrong."""
    with open_snapshot(url) as snapshot:
        size, _ = snapshot.head()
        count = len(cut(size, processes or _count_processes(size)))
        if count <= 1:
            return verify_in_one(snapshot, roots_at)
    with _Processes(count - 1) as started:
        for _ in range(_MOST_TRIES):
            with open_snapshot(url) as snapshot:
                size, frontier = snapshot.head()
                if started.open(url, snapshot.share(), (size, frontier)):
                    return _verify_with(started, snapshot, cut(size, count), roots_at)
    raise NotSound("the ledger grows too fast to be read by several processes")


def _verify_with(
    started: "_Processes", snapshot: Ranges, ranges: Sequence[tuple[int, int]], roots_at: Collection[int]
) -> Report:
    """Verify the first range in this process, and the others in the started ones."""
    own, *others = ranges
    started.check(others, roots_at)
    with Memory() as memory, collect_rarely():
        part = check_range(snapshot, memory, *own, roots_at)
        parts = [part, *started.parts()]
        event_ids = zip(memory.event_id_hashes(), started.event_ids(), strict=True)
        return join_parts(snapshot, parts, ([mine, *theirs] for mine, theirs in event_ids), roots_at)


def verify_in_one(snapshot: Ranges, roots_at: Collection[int] = ()) -> Report:
    """Verify a snapshot as one range, in this process; `NotSound` if anything may be wrong."""
    with Memory() as memory, collect_rarely():
        parts = [check_range(snapshot, memory, 0, snapshot.head()[0], roots_at)]
        return join_parts(snapshot, parts, ((part,) for part in memory.event_id_hashes()), roots_at)


def cut(size: int, count: int) -> list[tuple[int, int]]:
    """Return up to `count` ranges of positions up to `size`, each of whole blocks except the last."""
    blocks = -(-size // BLOCK)
    each = -(-blocks // count) * BLOCK
    return [(first, min(first + each, size)) for first in range(0, size, each)] if size else []


def _count_processes(size: int) -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(available, _MOST_PROCESSES, size // WORTH_A_PROCESS))


class _Processes:
    """Processes that check a range each; a context manager."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> Self:
        # Modules are found where this process finds them, and never in the current folder.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-P", "-m", "ledger.log.range_process"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with ExitStack() as stack:
            self._started = [
                stack.enter_context(_end_process(subprocess.Popen(command, env=environment, **pipes)))  # type: ignore[call-overload]  # noqa: S603  # our own program
                for _ in range(self._count)
            ]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, url: str, exported: str | None, head: tuple[int, bytes]) -> bool:
        """Have all processes open a snapshot; return whether all of them have this head."""
        self._send([Order(url=url, exported=exported)] * self._count)
        heads = [read_answer(process.stdout, tuple[int, bytes]) for process in self._started]
        return all(found == head for found in heads)

    def check(self, ranges: Sequence[tuple[int, int]], roots_at: Collection[int]) -> None:
        """Give each process its range."""
        self._send([Order(first=first, last=last, roots_at=list(roots_at)) for first, last in ranges])

    def parts(self) -> list[Part]:
        """Return what the processes found, by position; `NotSound` if any of them found anything odd."""
        return [_require_sound(read_answer(process.stdout, Part)) for process in self._started]

    def event_ids(self) -> Iterator[Sequence[bytes]]:
        """Yield the hashes of the ids of events, the same bucket of all processes at a time."""
        for _ in range(BUCKETS):
            yield [read_frame(process.stdout) for process in self._started]

    def _send(self, orders: Sequence[Order]) -> None:
        for process, order in zip(self._started, orders, strict=True):
            write_frame(process.stdin, encode(order))


@contextmanager
def _end_process(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """End a process with the block: by then its findings are known or no longer matter."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _require_sound(part: Part | None) -> Part:
    if part is None:
        raise NotSound("a range")
    return part


encode = msgspec.json.Encoder().encode


def write_frame(pipe: IO[bytes] | None, data: bytes) -> None:
    """Write bytes to the other process, preceded by their length."""
    assert pipe is not None  # every process has both pipes
    pipe.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    pipe.flush()


def read_frame(pipe: IO[bytes] | None) -> bytes:
    """Read bytes from the other process; `NotSound` if it has ended."""
    assert pipe is not None
    length = pipe.read(_LENGTH_BYTES)
    data = pipe.read(int.from_bytes(length, "big"))
    if len(length) < _LENGTH_BYTES or len(data) < int.from_bytes(length, "big"):
        raise NotSound("a process ended")
    return data


_Answer = TypeVar("_Answer")


def read_answer(pipe: IO[bytes] | None, kind: type[_Answer]) -> _Answer | None:
    """Read an answer or an order; None if there is none."""
    return msgspec.json.decode(read_frame(pipe), type=kind | None)
