"""Where a process can be killed: before and after every append, call, write, flush, copy and rename.

Installed from outside, in the process that is to die: nothing in the product knows of it. A boundary is
named by what it is, which one of its kind, and on which side: ``append.2.before``.
"""

import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any


class Boundaries:
    """Counts the boundaries a process passes; notes them in `trace`, and kills it at `kill`."""

    def __init__(self, trace: str | None, kill: str | None) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._trace = Path(trace) if trace else None
        self._kill = kill

    def begin(self, kind: str) -> str:
        """Pass the near side of the next boundary of a kind; return its name."""
        with self._lock:
            self._counts[kind] += 1
            name = f"{kind}.{self._counts[kind]}"
        self._at(f"{name}.before")
        return name

    def end(self, name: str) -> None:
        """Pass the far side of a boundary."""
        self._at(f"{name}.after")

    def _at(self, point: str) -> None:
        if self._trace is not None:
            with self._lock, self._trace.open("a") as trace:
                trace.write(f"{point}\n")
        if point == self._kill:
            os.kill(os.getpid(), signal.SIGKILL)


def install(trace: str | None, kill: str | None) -> None:
    """Put the boundaries around what changes the world."""
    from ledger.store.postgres import PostgresStore  # noqa: PLC0415  # in the process that is to die
    from ledger.store.sqlite import SqliteStore  # noqa: PLC0415
    from render_service.assets.store import IncomingFile  # noqa: PLC0415
    from sora_adapter.transport import Transport  # noqa: PLC0415

    boundaries = Boundaries(trace, kill)
    for store in (SqliteStore, PostgresStore):
        _around(boundaries, store, "append", "append")
        _around(boundaries, store, "append_each", "append")
    for method in ("post", "get", "delete"):
        _around_call(boundaries, Transport, method)
    _around_stream(boundaries, Transport)
    _around(boundaries, IncomingFile, "write", "write")
    _around(boundaries, Path, "write_bytes", "write")
    _around(boundaries, os, "fsync", "flush")
    _around(boundaries, os, "replace", "rename")
    _around(boundaries, shutil, "copyfile", "copy")


def _around(boundaries: Boundaries, owner: Any, name: str, kind: str) -> None:
    real: Callable[..., Any] = getattr(owner, name)

    def wrapped(*args: Any, **named: Any) -> Any:
        boundary = boundaries.begin(kind)
        result = real(*args, **named)
        boundaries.end(boundary)
        return result

    setattr(owner, name, wrapped)


def _around_call(boundaries: Boundaries, owner: Any, name: str) -> None:
    real: Callable[..., Any] = getattr(owner, name)

    async def wrapped(*args: Any, **named: Any) -> Any:
        boundary = boundaries.begin(name)
        result = await real(*args, **named)
        boundaries.end(boundary)
        return result

    setattr(owner, name, wrapped)


def _around_stream(boundaries: Boundaries, owner: Any) -> None:
    real: Callable[..., Any] = owner.stream

    @asynccontextmanager
    async def wrapped(*args: Any, **named: Any) -> Any:
        boundary = boundaries.begin("content")
        async with real(*args, **named) as received:
            yield received
        boundaries.end(boundary)

    owner.stream = wrapped
