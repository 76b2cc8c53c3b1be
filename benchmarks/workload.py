"""The workload of the benchmarks of appending: running jobs, looked at again and again."""

from datetime import UTC, datetime

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
    """Return what begins the job of this number."""
    return RenderAdopted(profile="sandbox", video_id=f"video_{number}", status=Status.QUEUED)


def observed(number: int) -> StatusObserved:
    """Return one look at the job of this number."""
    video_id = f"video_{number % JOBS}"
    return StatusObserved(video_id=video_id, status=Status.IN_PROGRESS, progress=number % 100, source="poll")
