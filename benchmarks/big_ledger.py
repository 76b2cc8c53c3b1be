"""A ledger of many events for the benchmarks that need one; made once and cached in the temporary folder.

Ten events a job, as a successful render leaves them: request (two private texts), decision with two
candidates, submission, four observations, a stored file, its cost, the closing.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ledger import events as e
from ledger.log.opening import open_or_create
from ledger.private import Private
from ledger.record import ActorSource, Authority, Draft, Provenance, draft
from ledger.store.interface import ANY, Batch
from ledger.terms import Operation, Outcome, Status, Variant

PER_JOB = 10
JOBS_AT_ONCE = 100
START = datetime(2026, 1, 1, tzinfo=UTC)
WHO = Provenance("bench", ActorSource.FLAG, Authority.SYSTEM, "1" * 32, "2" * 16)
SHA = "ab" * 32


def big_ledger(events: int) -> Path:
    """Return a ledger of `events` (in whole jobs, plus its first event); an existing one is reused."""
    path = Path(tempfile.gettempdir()) / f"sora-ledger-bench-{events}.db"
    if not path.exists():
        began = time.perf_counter()
        make(path, events // PER_JOB)
        print(f"made {path} in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return path


def make(path: Path, jobs: int) -> None:
    """Make a ledger of `jobs` jobs at `path`."""
    unfinished = path.with_suffix(".part")
    for leftover in unfinished.parent.glob(f"{unfinished.name}*"):
        leftover.unlink()
    with open_or_create(str(unfinished), WHO, START) as ledger:
        for first in range(0, jobs, JOBS_AT_ONCE):
            numbers = range(first, min(first + JOBS_AT_ONCE, jobs))
            batches = [Batch(job_id(number), ANY, list(_drafts(number))) for number in numbers]
            ledger.append(batches)
    unfinished.rename(path)


def job_id(number: int) -> str:
    """Return the id of the job of this number, from 0."""
    return f"job_0190{number:012x}7000800000000000"


def _drafts(number: int) -> Iterator[Draft]:
    moment = START + timedelta(seconds=number)
    for event in _life(number):
        yield draft(event, WHO, moment)


def _life(number: int) -> Iterator[Any]:
    video_id, attempt_id = f"video_{number:032x}", f"attempt_{number}"
    yield _requested(number)
    yield _decided()
    yield e.SubmissionIntended(
        attempt_id=attempt_id, request_sha256=SHA, profile="sandbox", server="http://x", model="sora-2"
    )
    yield e.SubmissionAccepted(
        attempt_id=attempt_id, video_id=video_id, status=Status.QUEUED, progress=0, reported_model="sora-2"
    )
    for progress in (0, 50):
        yield e.StatusObserved(video_id=video_id, status=Status.IN_PROGRESS, progress=progress, source="poll")
    yield e.StatusObserved(
        video_id=video_id, status=Status.COMPLETED, progress=100, source="poll", expires_at=1_800_000_000
    )
    yield e.AssetStored(
        variant=Variant.VIDEO,
        storage_uri=f"file:///assets/sha256/ab/{number:064x}.mp4",
        sha256=f"{number:064x}",
        bytes=400_000,
        media_type="video/mp4",
        probe=e.Probe(width=1280, height=720, duration_ms=4000, video_codec="h264", audio_codec="aac"),
    )
    yield e.CostSettled(
        cost_usd_micros=400_000, basis="estimated", settled_by="catalog", difference_usd_micros=0
    )
    yield e.RenderClosed(outcome=Outcome.STORED, duration_ms=61_000, cost_usd_micros=400_000)


def _requested(number: int) -> e.RenderRequested:
    prompt = f"A paper boat on a canal at dusk, number {number}, slow push in, warm light"
    return e.RenderRequested(
        operation=Operation.CREATE,
        prompt=Private.seal("prompt", prompt),
        fields={"camera": Private.seal("fields.camera", "low angle")},
        size="1280x720",
        seconds=4,
        purpose="draft",
        requested_model="auto",
        profile="sandbox",
    )


def _decided() -> e.RenderDecided:
    candidates = (
        e.Candidate(model="sora-2", cost_usd_micros=400_000, features={"pixels": 921_600}, score=7),
        e.Candidate(model="sora-2-pro", cost_usd_micros=1_200_000, features={"pixels": 921_600}, score=3),
    )
    basis = e.Basis(
        decision_id=SHA,
        policy_sha256=SHA,
        catalog_sha256=SHA,
        engine="1",
        inputs={"size": "1280x720", "seconds": 4, "purpose": "draft"},
        candidates=candidates,
    )
    return e.RenderDecided(
        basis=basis,
        model="sora-2",
        cost_usd_micros=400_000,
        holds=(e.BudgetHold(budget="studio", usd_micros=400_000),),
        reason_codes=("CHEAPEST",),
        policy_choice="sora-2",
    )
