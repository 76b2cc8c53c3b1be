"""Makes `v1/ledger.db` and `v1/expected.json`: every event there is, jobs in every end, one text erased.

Run once, with the version that defined format 1; the files are frozen since. Ids, salts and times are
fixed, so the root is too. ``python tests/golden/make_v1.py FOLDER`` makes them elsewhere.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from ledger import events as e
from ledger.job import Job
from ledger.private import Private, PrivateBody, commit
from ledger.record import ActorSource, Authority, Provenance, Record, draft
from ledger.store.filters import JobFilter
from ledger.store.interface import NEW, Batch, Document
from ledger.store.sqlite import SqliteStore
from ledger.terms import DenialCode, Operation, Outcome, Status, Variant

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
WHO = Provenance(
    "ana",
    ActorSource.OPERATING_SYSTEM,
    Authority.SYSTEM,
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "00f067aa0ba902b7",
)
POLICY, CATALOG = Document(b"[policy]\n"), Document(b"[catalog]\n")
SHA = hashlib.sha256(b"golden").hexdigest()


class Maker:
    """Writes events with ids that count up, one second apart."""

    def __init__(self, path: Path) -> None:
        self.store = SqliteStore(path)
        self.count = 0
        self.sealed = 0
        self.versions: dict[str, int] = {}

    def seal(self, field: str, text: str) -> Private:
        """Commit to `text` with the next fixed salt."""
        self.sealed += 1
        salt = hashlib.sha256(b"salt %d" % self.sealed).digest()
        body = PrivateBody(commit(field, text, salt), field, salt, text)
        private = Private(body.commitment)
        private.attach(body)
        return private

    def say(self, stream: str, *events: Any, documents: Sequence[Document] = ()) -> list[Record]:
        """Record `events` one by one."""
        records: list[Record] = []
        for event in events:
            self.count += 1
            moment = START + timedelta(seconds=self.count)
            one = draft(event, WHO, moment, event_id=str(UUID(int=self.count)))
            records += self.store.append([Batch(stream, self._version(stream), [one])], documents=documents)
        return records

    def _version(self, stream: str) -> int:
        before = self.versions.get(stream, NEW)
        self.versions[stream] = before + 1
        return before

    # --- events that several jobs share ---

    def requested(self, prompt: str, **more: Any) -> e.RenderRequested:
        """Return a request for a clip of four seconds."""
        usual: dict[str, Any] = {
            "operation": Operation.CREATE,
            "prompt": self.seal("prompt", prompt),
            "size": "1280x720",
            "seconds": 4,
            "purpose": "draft",
            "requested_model": "auto",
            "profile": "sandbox",
        }
        return e.RenderRequested(**usual | more)

    def failure(self, code: str, http_status: int) -> e.ErrorDetail:
        """Return an error with a message."""
        return e.ErrorDetail(
            http_status=http_status, code=code, type="error", message=self.seal("error.message", f"{code}!")
        )


BASIS = e.Basis(
    decision_id=SHA,
    policy_sha256=POLICY.sha256,
    catalog_sha256=CATALOG.sha256,
    engine="1",
    inputs={"seconds": 4, "size": "1280x720", "urgent": False, "wish": None},
    candidates=(
        e.Candidate(
            model="sora-2", cost_usd_micros=400_000, features={"cost": 9}, gates_passed=("size",), score=12
        ),
        e.Candidate(
            model="sora-2-pro",
            cost_usd_micros=1_200_000,
            gates_failed=(
                e.GateFailure(gate="cost", detail_code="OVER_BUDGET", expected="<= 1000000", found="1200000"),
            ),
        ),
    ),
)
DECIDED = e.RenderDecided(
    basis=BASIS,
    model="sora-2",
    cost_usd_micros=400_000,
    holds=(e.BudgetHold(budget="studio", usd_micros=400_000),),
    reason_codes=("CHEAPEST",),
    policy_choice="sora-2",
    runner_up="sora-2-pro",
    why_not_runner_up=("OVER_BUDGET",),
)
HELD = e.RenderHeld(basis=BASIS, reason_codes=("NEEDS_PERSON",))
DENIED = e.RenderDenied(
    basis=BASIS,
    denial_trace=e.DenialTrace(
        code=DenialCode.COST_BOUND_EXCEEDED,
        detail_code="OVER_BUDGET",
        failed_invariant="INV_TRUST_DENIAL_TRACE",
        expected="<= 1000000",
        found="1200000",
        minimal_fix=(e.Fix(field="seconds", action="lower", value=4), e.Fix(field="model", action="drop")),
        changes=(e.Change(aspect="camera", start=0, end=5),),
    ),
)


def intended(attempt: str) -> e.SubmissionIntended:
    return e.SubmissionIntended(
        attempt_id=attempt,
        request_sha256=SHA,
        profile="sandbox",
        server="http://127.0.0.1:8080/v1",
        model="sora-2",
    )


def accepted(attempt: str, video: str) -> e.SubmissionAccepted:
    return e.SubmissionAccepted(
        attempt_id=attempt,
        video_id=video,
        status=Status.QUEUED,
        progress=0,
        reported_model="sora-2",
        reported_size="1280x720",
        reported_seconds="4",
        provider_request_id="req_1",
    )


def completed(video: str) -> e.StatusObserved:
    return e.StatusObserved(
        video_id=video,
        status=Status.COMPLETED,
        progress=100,
        source="poll",
        server_status="succeeded",
        completed_at=1_795_165_200,
        expires_at=1_795_168_800,
    )


def stored(variant: Variant, media_type: str) -> e.AssetStored:
    return e.AssetStored(
        variant=variant,
        storage_uri=f"file:///assets/{variant.value}",
        sha256=hashlib.sha256(variant.value.encode()).hexdigest(),
        bytes=123_456,
        media_type=media_type,
        probe=e.Probe(width=1280, height=720, duration_ms=4_000, video_codec="h264", audio_codec="aac"),
        mismatches=(e.Mismatch(field="seconds", expected="4", found="4.1"),),
    )


def settled(usd_micros: int) -> e.CostSettled:
    return e.CostSettled(
        cost_usd_micros=usd_micros,
        basis="estimated",
        settled_by="catalog",
        difference_usd_micros=usd_micros - 400_000,
    )


def closed(outcome: Outcome, usd_micros: int = 0) -> e.RenderClosed:
    return e.RenderClosed(outcome=outcome, duration_ms=61_000, cost_usd_micros=usd_micros)


def tell(make: Maker) -> None:
    """Write the whole story."""
    say, seal = make.say, make.seal
    say("ledger", e.LedgerCreated(ledger_id="golden-v1", origin="sora-ledger/golden-v1", format=1))
    activated = e.PolicyActivated(
        policy_sha256=POLICY.sha256, catalog_sha256=CATALOG.sha256, why=seal("why", "the first policy")
    )
    say("policy", activated, documents=[POLICY, CATALOG])
    say("budget_studio", e.BudgetSet(budget="studio", limit_usd_micros=5_000_000, why=seal("why", "autumn")))
    reference = e.InputReference(
        name=seal("input_reference.name", "Grüße aus Köln.png"),
        sha256=SHA,
        media_type="image/png",
        width=1280,
        height=720,
        bytes=4_321,
    )
    [request, *_] = say(
        "job_stored",
        make.requested(
            "Ein Papierboot, 折り紙, auf dem Kanal 🛶",
            request_key="key-1",
            fields={"camera": seal("fields.camera", "low angle")},
            augmented_prompt=seal("augmented_prompt", "A paper boat on a canal, low angle"),
            input_reference=reference,
            max_cost_usd_micros=1_000_000,
        ),
        DECIDED,
        intended("attempt_1"),
        e.SubmissionRejected(
            attempt_id="attempt_1", error=make.failure("rate_limited", 429), retry_after_ms=1_500
        ),
        intended("attempt_2"),
        accepted("attempt_2", "video_1"),
        e.StatusObserved(video_id="video_1", status=Status.IN_PROGRESS, progress=40, source="poll"),
        completed("video_1"),
        stored(Variant.VIDEO, "video/mp4"),
        stored(Variant.THUMBNAIL, "image/webp"),
        e.AssetLost(variant=Variant.SPRITESHEET, cause="gone"),
        settled(390_000),
        closed(Outcome.STORED, 390_000),
        e.WebhookMatched(webhook_event_id="evt_1", webhook_type="video.completed", video_id="video_1"),
        e.ReviewRecorded(
            verdict="changes_requested",
            scores={"clarity": 80, "continuity": 75, "brand_fit": 60},
            notes=seal("notes", "the boat is too blue"),
        ),
        e.OutputAttached(workflow="trailer", uri="https://studio.example/trailer"),
    )
    say(
        "inbox_sandbox",
        e.WebhookReceived(
            webhook_event_id="evt_1", delivery_id="msg_1", webhook_type="video.completed", video_id="video_1"
        ),
    )
    say(
        "job_denied",
        make.requested(
            "a storm", operation=Operation.REMIX, source_job="job_stored", remix_video_id="video_1"
        ),
        e.DecisionOverridden(
            detail_code="TWO_CHANGES",
            why=seal("why", "agreed on the phone"),
            expires_at="2026-12-01T00:00:00Z",
            denied_event_id=str(UUID(int=1)),
        ),
        DENIED,
        closed(Outcome.DENIED),
    )
    say(
        "job_failed",
        make.requested("a crash"),
        HELD,
        e.ApprovalGranted(comment=seal("comment", "go on"), key_id="k1", signature="c2ln"),
        DECIDED,
        intended("attempt_3"),
        e.SubmissionUnknown(attempt_id="attempt_3", lost="timeout", error=make.failure("timeout", 504)),
        e.SubmissionRecovered(attempt_id="attempt_3", video_id="video_3", how="list", status=Status.QUEUED),
        e.StatusObserved(
            video_id="video_3",
            status=Status.FAILED,
            source="list",
            error=make.failure("moderation_blocked", 400),
        ),
        settled(0),
        closed(Outcome.FAILED),
    )
    refused = e.ApprovalRefused(comment=seal("comment", "not this quarter"))
    say("job_refused", make.requested("a whim"), HELD, refused, closed(Outcome.REFUSED))
    say(
        "job_cancelled",
        make.requested("a mistake"),
        DECIDED,
        e.RenderCancelled(why=seal("why", "wrong size")),
        closed(Outcome.CANCELLED),
    )
    say(
        "job_absent",
        make.requested("a gap"),
        DECIDED,
        intended("attempt_4"),
        e.SubmissionUnknown(attempt_id="attempt_4", lost="connection"),
        e.SubmissionAbsent(attempt_id="attempt_4", how="list"),
        closed(Outcome.REJECTED),
    )
    adopted = e.RenderAdopted(
        profile="sandbox",
        video_id="video_5",
        status=Status.IN_PROGRESS,
        model="sora-2",
        size="1280x720",
        seconds=8,
        prompt=seal("prompt", "made elsewhere"),
    )
    lost = e.AssetLost(variant=Variant.VIDEO, cause="expired")
    say("job_lost", adopted, completed("video_5"), lost, closed(Outcome.LOST))
    say(
        "job_deleted",
        make.requested("a secret"),
        DECIDED,
        intended("attempt_6"),
        accepted("attempt_6", "video_6"),
        completed("video_6"),
        stored(Variant.VIDEO, "video/mp4"),
        e.VideoDeleted(video_id="video_6", answer="deleted", why=seal("why", "rights")),
        settled(400_000),
        closed(Outcome.STORED, 400_000),
    )
    say("job_in_flight", make.requested("a race"), DECIDED, intended("attempt_7"))
    say(
        "characters",
        e.CharacterCreated(
            profile="sandbox", character_id="char_1", name=seal("name", "Mo"), source_sha256=SHA
        ),
    )
    say(
        "media-renders",
        e.ExternalRecorded(video_id="v", status="done", seconds="4", prompt=seal("prompt", "theirs")),
    )
    event: Any = request.event
    say(
        "job_stored",
        e.PrivateErased(commitments=(event.prompt.commitment,), reason_code="subject_request"),
    )


def make(folder: Path) -> None:
    """Write ``ledger.db`` and ``expected.json`` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ledger.db"
    path.unlink(missing_ok=True)
    maker = Maker(path)
    tell(maker)
    head = maker.store.head()
    jobs: list[Job] = maker.store.jobs(JobFilter())
    maker.store.close()  # and with it the WAL is in the file
    expected = {
        "size": head.size,
        "root": head.root().hex(),
        "jobs": {job.job_id: json.loads(job.canonical()) for job in jobs},
    }
    text = json.dumps(expected, indent=1, sort_keys=True) + "\n"
    (folder / "expected.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "v1")
