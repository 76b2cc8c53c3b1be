"""What tests write into ledgers: one sample of every event, and a `Scribe` that makes drafts of them.

Loaded by path through the `scribe` fixture of the folders that need it.
"""

import itertools
import json
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from msgspec import structs

from ledger import events as e
from ledger.errors import LedgerUnusable
from ledger.log.ledger import Ledger
from ledger.log.opening import open_or_create
from ledger.private import Private
from ledger.record import ActorSource, Authority, Draft, Provenance, Record, draft
from ledger.store.filters import RecordFilter
from ledger.store.interface import ANY, NEW, AnyVersion, Batch
from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.terms import DenialCode, Operation, Outcome, Status, Variant
from ledger.verify import Report, verify
from ledger.verify.incremental import join_parts
from ledger.verify.ranges import check_range
from ledger.verify.slim_fold import NotSound
from ledger.verify.spill import Memory

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
SHA = "ab" * 32
LABEL = e.VisibleLabel(
    kind="text", corner="top-left", text=Private.seal("label.text", "Made with AI"), image_sha256=None
)
JOB = "job_01900000000070008000000000000001"
OTHER_JOB = "job_01900000000070008000000000000002"


def provenance(**changes: Any) -> Provenance:
    """Return who records, with `changes`."""
    usual: dict[str, Any] = {
        "actor": "ana",
        "actor_source": ActorSource.FLAG,
        "authority": Authority.SYSTEM,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
    }
    return Provenance(**usual | changes)


def basis() -> e.Basis:
    """Return what a decision stands on."""
    return e.Basis(
        decision_id=SHA,
        policy_sha256=SHA,
        catalog_sha256=SHA,
        engine="1",
        inputs={"size": "1280x720", "seconds": 4, "budgeted": True, "wish": None},
        candidates=(
            e.Candidate(model="sora-2", cost_usd_micros=400_000, features={"pixels": 921_600}, score=7),
            e.Candidate(
                model="sora-2-pro",
                cost_usd_micros=1_200_000,
                gates_passed=("size",),
                gates_failed=(e.GateFailure(gate="cost", detail_code="OVER", expected="<= 1", found="1.2"),),
            ),
        ),
    )


def requested(prompt: str = "a paper boat on a canal") -> e.RenderRequested:
    """Return a request whose every optional part is there."""
    return e.RenderRequested(
        operation=Operation.CREATE,
        request_key="key-1",
        prompt=Private.seal("prompt", prompt),
        fields={"camera": Private.seal("fields.camera", "low angle")},
        augmented_prompt=Private.seal("augmented_prompt", f"{prompt}, low angle"),
        size="1280x720",
        seconds=4,
        input_reference=e.InputReference(
            name=Private.seal("input_reference.name", "boat.png"),
            sha256=SHA,
            media_type="image/png",
            width=1280,
            height=720,
            bytes=1234,
        ),
        purpose="draft",
        requested_model="auto",
        profile="sandbox",
        max_cost_usd_micros=1_000_000,
        team="film",
        project="spring",
        access_key_id="0a1b2c3d",
    )


def decided(budget: str = "studio", usd_micros: int = 400_000) -> e.RenderDecided:
    """Return a decision that reserves `usd_micros` in one budget."""
    return e.RenderDecided(
        basis=basis(),
        model="sora-2",
        cost_usd_micros=usd_micros,
        holds=(e.BudgetHold(budget=budget, usd_micros=usd_micros),),
        reason_codes=("CHEAPEST",),
        policy_choice="sora-2",
        runner_up="sora-2-pro",
        why_not_runner_up=("DEARER",),
    )


def error(path: str = "error.message") -> e.ErrorDetail:
    """Return an error as a server puts it."""
    return e.ErrorDetail(
        http_status=500, code="server_error", type="error", message=Private.seal(path, "try again")
    )


def observed(status: Status, progress: int | None = None, **more: Any) -> e.StatusObserved:
    """Return an answer to a poll."""
    return e.StatusObserved(video_id="video_1", status=status, progress=progress, source="poll", **more)


def asset(variant: Variant = Variant.VIDEO) -> e.AssetStored:
    """Return a stored file."""
    return e.AssetStored(
        variant=variant,
        storage_uri=f"file:///assets/{variant.value}",
        sha256=SHA,
        bytes=4321,
        media_type="video/mp4",
        probe=e.Probe(width=1280, height=720, duration_ms=4000, video_codec="h264", audio_codec="aac"),
        mismatches=(e.Mismatch(field="seconds", expected="4", found="5"),),
    )


def notified() -> list[Any]:
    """Return the life of an endpoint of webhooks, and of two deliveries to it."""
    endpoint_id = "whe_01900000000070008000000000000003"
    delivery = {
        "endpoint_id": endpoint_id,
        "delivery_id": "wh_1",
        "webhook_event_id": "evt_1",
        "webhook_type": "video.completed",
        "job_id": JOB,
    }
    return [
        e.EndpointCreated(
            endpoint_id=endpoint_id,
            name=Private.seal("name", "trailers"),
            url=Private.seal("url", "https://example.org/hooks"),
            event_types=("video.completed", "video.failed"),
            team="film",
            signing_secret=Private.seal("signing_secret", "whsec_c2lnbmVkIHdpdGggdGhpcyBzZWNyZXQ="),
        ),
        e.EndpointUpdated(endpoint_id=endpoint_id, url=Private.seal("url", "https://example.org/new")),
        e.EndpointSecretRotated(
            endpoint_id=endpoint_id,
            signing_secret=Private.seal("signing_secret", "whsec_YW5kIG5vdyB3aXRoIHRoaXMgb25l"),
            old_secret_until="2026-01-02T12:00:00.000000Z",
        ),
        e.EndpointDeleted(endpoint_id=endpoint_id),
        e.NotificationSent(**delivery, attempts=2, http_status=200),
        e.NotificationFailed(**delivery, attempts=31, cause="not_accepted", http_status=503),
        e.NotificationResent(endpoint_id=endpoint_id, delivery_id="wh_1"),
    ]


def proven() -> list[Any]:
    """Return what a file said about its origin, a signed copy of it, and its publication."""
    return [
        e.ProvenanceObserved(
            variant=Variant.VIDEO,
            sha256=SHA,
            manifest="embedded",
            validity="unknown_signer",
            signer=Private.seal("signer", "Example Video"),
            issuer=Private.seal("issuer", "Example"),
            algorithm="es256",
            signed_at="2026-01-01T00:00:00+00:00",
            generator=Private.seal("generator", "Example Video 1.0"),
            digital_source_type="trainedAlgorithmicMedia",
            xmp_digital_source_type="trainedAlgorithmicMedia",
            ingredients=(
                e.ObservedIngredient(
                    relationship="inputTo",
                    title=Private.seal("ingredients.0.title", "still.png"),
                    has_manifest=False,
                ),
            ),
            failures=("assertion.bmffHash.mismatch",),
            trust_list_sha256=SHA,
            reader="c2pa 0.91.3",
        ),
        e.ProvenanceSigned(
            variant=Variant.VIDEO,
            source_sha256=SHA,
            sha256=SHA[::-1],
            bytes=8765,
            intent="edit",
            digital_source_type="trainedAlgorithmicMedia",
            algorithm="es256",
            certificate_sha256=SHA,
            signer=Private.seal("signer", "Studio"),
            record_position=7,
            record_leaf=SHA,
            checkpoint_size=40,
            parents=("job_018f0000000070008000000000000001",),
            labelled=True,
            label=LABEL,
            stamped_at="2026-11-30T12:06:47Z",
        ),
        e.AssetPublished(
            variant=Variant.VIDEO,
            sha256=SHA[::-1],
            bytes=8765,
            target=Private.seal("target", "s3://films/coupe.mp4"),
            marking="signed",
            policy_sha256=SHA,
            label=LABEL,
        ),
    ]


def checked() -> list[Any]:
    """Return a verification, a digest of the rows, and a published checkpoint."""
    return [
        e.LedgerVerified(size=40, root=SHA, jobs=3, files=2, extends=12),
        e.ProjectionRecorded(position=40, jobs=3, digest=SHA, row_form=1),
        e.CheckpointPublished(
            size=40,
            root=SHA,
            target=Private.seal("target", "s3://evidence/checkpoint.txt"),
            signed_by=("studio",),
            cosigned_by=("witness.example",),
        ),
        e.CheckpointTimestamped(
            size=40,
            root=SHA,
            checkpoint_sha256=SHA,
            stamped_at="2026-11-30T09:00:00.000000Z",
            authority=Private.seal("authority", "CN=tsa.example"),
            token="MAMCAQA=",
        ),
        e.CheckpointWitnessed(
            size=40,
            root=SHA,
            witnesses_sha256=SHA,
            cosignatures=(
                e.Cosignature(
                    witness="north",
                    key="north.example/w1+6b6b0a3f+BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g",
                    cosigned_at="2026-11-30T09:00:00.000000Z",
                ),
            ),
            checkpoint="sora-ledger/1\n40\nq6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n\n",
        ),
    ]


def samples() -> list[Any]:
    """Return one event of every step in the table of transitions, and of every type outside it."""
    attempt = {"attempt_id": "attempt_1"}
    denial = e.DenialTrace(
        code=DenialCode.COST_BOUND_EXCEEDED,
        detail_code="OVER_BUDGET",
        failed_invariant="INV_TRUST_DENIAL_TRACE",
        expected="<= 100",
        found="400",
        minimal_fix=(e.Fix(field="seconds", action="lower", value=4),),
        changes=(e.Change(aspect="camera", start=0, end=3),),
    )
    return [
        e.LedgerCreated(ledger_id="L", origin="sora-ledger/L", format=1),
        e.PolicyActivated(policy_sha256=SHA, catalog_sha256=SHA, why=Private.seal("why", "first")),
        e.BudgetSet(budget="studio", limit_usd_micros=1_000_000),
        e.AccessGranted(
            key_id="0a1b2c3d",
            key_sha256=SHA,
            name="alice",
            roles=("requester",),
            team="film",
            project="spring",
            profiles=("sandbox",),
            purposes=("draft", "final"),
            expires_at="2027-01-01T00:00:00.000000Z",
            requests_per_minute=60,
            running_jobs=4,
        ),
        e.AccessRevoked(key_id="0a1b2c3d", reason=Private.seal("reason", "lost laptop")),
        e.AccessUsed(job_id="job_018f0000000070008000000000000001", retry_count=1),
        e.SessionBegan(session_id="0f" * 16, key_id="1f2e3d4c", expires_at="2027-01-01T00:00:00.000000Z"),
        e.SessionEnded(session_id="0f" * 16),
        e.PrivateErased(commitments=(SHA,), reason_code="subject_request"),
        requested(),
        decided(),
        e.RenderHeld(basis=basis(), reason_codes=("NEEDS_PERSON",)),
        e.SplitPlanned(
            split_key="spring",
            number=1,
            rest=(
                e.PlannedRemix(
                    prompt=Private.seal("rest.0.prompt", "let it snow"), declared_change="weather"
                ),
                e.PlannedRemix(prompt=Private.seal("rest.1.prompt", "make it dusk")),
            ),
        ),
        e.RequestSigned(key_id="k", signature="s", login="ana", policy_sha256=SHA),
        e.ApprovalGranted(
            comment=Private.seal("comment", "fine"),
            key_id="k",
            signature="s",
            login="maria",
            policy_sha256=SHA,
            expires_at="2026-02-01T00:00:00.000000Z",
            passkey=e.PasskeyAssertion(authenticator_data="YQ==", client_data="e30="),
        ),
        e.ApprovalRefused(comment=Private.seal("comment", "no")),
        e.ChangeProposed(
            operation="policy.activate",
            policy_sha256=SHA,
            catalog_sha256=SHA,
            why=Private.seal("why", "new prices"),
            required_by_sha256=SHA,
            reason_codes=("RULES",),
            access=e.Grant(key_id="0a1b2c3d", key_sha256=SHA, name="alice", roles=("approver",)),
        ),
        e.ChangeClosed(outcome="applied"),
        e.RenderDenied(basis=basis(), denial_trace=denial),
        e.DecisionOverridden(
            detail_code="OVER_BUDGET",
            why=Private.seal("why", "the client pays"),
            expires_at="2026-02-01T00:00:00Z",
        ),
        e.RenderCancelled(why=Private.seal("why", "changed my mind")),
        e.SubmissionIntended(
            **attempt,
            request_sha256=SHA,
            profile="sandbox",
            server="http://127.0.0.1",
            model="sora-2",
            sent_sha256=Private.seal("sent_sha256", SHA[::-1]),
            key_digest=Private.seal("key_digest", SHA[:16]),
        ),
        e.SubmissionAccepted(**attempt, video_id="video_1", status=Status.QUEUED, progress=0),
        e.SubmissionRejected(**attempt, error=error(), retry_after_ms=1000),
        e.SubmissionUnknown(**attempt, lost="timeout", error=error()),
        e.SubmissionRecovered(**attempt, video_id="video_1", how="list", status=Status.QUEUED),
        e.SubmissionAbsent(**attempt, how="list"),
        e.SubmissionSpooled(
            **attempt,
            outcome="submission.accepted",
            video_id="video_1",
            spooled_at="2026-01-01T00:00:00.000000Z",
            applied=True,
        ),
        observed(Status.IN_PROGRESS, 30),
        observed(Status.COMPLETED, 100, completed_at=1, expires_at=3600),
        observed(Status.FAILED, error=error()),
        e.WebhookReceived(
            webhook_event_id="evt_1", delivery_id="msg_1", webhook_type="video.completed", video_id="video_1"
        ),
        e.WebhookMatched(webhook_event_id="evt_1", webhook_type="video.completed", video_id="video_1"),
        asset(),
        asset(Variant.THUMBNAIL),
        *proven(),
        e.AssetLost(variant=Variant.VIDEO, cause="expired"),
        e.AssetLost(variant=Variant.SPRITESHEET, cause="gone"),
        e.CostSettled(
            cost_usd_micros=390_000, basis="estimated", settled_by="catalog", difference_usd_micros=-10_000
        ),
        e.VideoDeleted(video_id="video_1", answer="deleted", why=Private.seal("why", "done")),
        e.RenderAbandoned(why=Private.seal("why", "the operator says that the machine is gone")),
        e.RenderAdopted(
            profile="sandbox",
            video_id="video_1",
            status=Status.COMPLETED,
            model="sora-2",
            size="1280x720",
            seconds=4,
            prompt=Private.seal("prompt", "an older boat"),
        ),
        e.CharacterCreated(
            profile="sandbox",
            character_id="c",
            name=Private.seal("name", "Mo"),
            source_sha256=SHA,
            team="film",
        ),
        e.OutputAttached(workflow="trailer", uri="https://example.org/t"),
        e.ExternalRecorded(video_id="video_9", prompt=Private.seal("prompt", "from outside")),
        e.ReviewRecorded(
            verdict="approved",
            scores={"clarity": 90},
            notes=Private.seal("notes", "crisp"),
            timed_notes=(e.TimedNote(at_ms=2_500, text=Private.seal("timed_notes.0.text", "hands")),),
        ),
        e.NoteRecorded(text=Private.seal("text", "asked the operator")),
        e.ShareCreated(share_id="shr_1", of="video", expires_at="2026-12-01T00:00:00.000Z"),
        e.ShareRevoked(share_id="shr_1"),
        *notified(),
        *checked(),
        e.RenderClosed(outcome=Outcome.STORED, duration_ms=61_000, cost_usd_micros=390_000),
    ]


def sample(type_: str) -> Any:
    """Return the first sample of `type_`."""
    return next(event for event in samples() if event.type == type_)


def life() -> list[Any]:
    """Return the events of a job that ends well, review included."""
    return [
        requested(),
        decided(),
        sample("submission.intended"),
        sample("submission.accepted"),
        observed(Status.COMPLETED, 100, expires_at=3600),
        asset(),
        sample("cost.settled"),
        sample("render.closed"),
        sample("review.recorded"),
    ]


def findings(path: Path, *, hesitate: bool = False) -> list[tuple[str, int | None]]:
    """Return code and position of everything verification finds in the ledger at `path`.

    Checked in one, two and three ranges, it must be called sound only if nothing is found, and then always,
    unless the ranges `hesitate` and leave the verdict to the full verification.
    """
    with SqliteSnapshot(path) as tables:
        report = verify(tables)
        size, _ = tables.head()
    for count in (1, 2, 3):
        sound = in_ranges(path, [size * number // count for number in range(count + 1)])
        assert sound == (report if report.clean and not hesitate else None), f"in {count} ranges"
    return [(finding.code, finding.position) for finding in report.findings]


def in_ranges(path: Path, cuts: Sequence[int], roots_at: Collection[int] = ()) -> Report | None:
    """Return the report about the ledger at `path` in ranges between the `cuts`, None if it may be wrong."""
    with SqliteSnapshot(path) as tables, ExitStack() as stack:
        ranges = [(first, last) for first, last in itertools.pairwise(cuts) if first < last]
        memories = [stack.enter_context(Memory()) for _ in ranges]
        try:
            parts = [
                check_range(tables, memory, *each, roots_at)
                for memory, each in zip(memories, ranges, strict=True)
            ]
            buckets = zip(*(memory.event_id_hashes() for memory in memories), strict=True)
            return join_parts(tables, parts, buckets, roots_at)
        except (NotSound, LedgerUnusable):
            return None


def commitment_of(record: Record) -> str:
    """Return the commitment to the private text `why` of `record`."""
    commitment: str = record.event.why.commitment
    return commitment


class Scribe:
    """Makes drafts with ids that count up from `first` and a clock that ticks one second per draft."""

    def __init__(self, first: int = 1) -> None:
        self._count = itertools.count(first)

    def draft(self, event: Any, **changes: Any) -> Draft:
        """Return a draft of `event`; `changes` replace parts of the provenance."""
        number = next(self._count)
        return draft(
            event,
            provenance(**changes),
            START + timedelta(seconds=number % 1_000_000),
            event_id=str(UUID(int=number)),
        )

    def batch(self, stream: str, *events: Any, at: int | AnyVersion = ANY, **changes: Any) -> Batch:
        """Return a batch for `stream`."""
        return Batch(stream, at, [self.draft(event, **changes) for event in events])

    def note(self, stream: str = "notes", at: int | AnyVersion = ANY) -> Batch:
        """Return a batch of one small event without rules."""
        return self.batch(stream, e.OutputAttached(workflow="trailer", uri="u"), at=at)

    def begin(self, store: Any) -> list[Record]:
        """Record ``ledger.created``, as every ledger begins."""
        created: list[Record] = store.append([self.batch("ledger", sample("ledger.created"), at=NEW)])
        return created

    def live(self, store: Any, job_id: str = JOB, events: Sequence[Any] | None = None) -> list[Record]:
        """Record a whole life, one append per event."""
        records: list[Record] = []
        for event in life() if events is None else events:
            records += store.append([self.batch(job_id, event)])
        return records

    def reserve(self, job_id: str, usd_micros: int, budget: str = "studio") -> Batch:
        """Return the beginning of a job that reserves money."""
        return self.batch(job_id, requested(), decided(budget, usd_micros))

    def settle(self, job_id: str, usd_micros: int) -> Batch:
        """Return the rest of that job, up to the cost of its completed video."""
        settled = structs.replace(sample("cost.settled"), cost_usd_micros=usd_micros)
        return self.batch(job_id, *life()[2:5], settled)

    def set_limit(self, store: Any, usd_micros: int) -> None:
        """Set the limit of the budget ``studio``."""
        store.append([self.batch("budget_studio", e.BudgetSet(budget="studio", limit_usd_micros=usd_micros))])

    def spoken(self, store: Any) -> Record:
        """Record an event with private text."""
        event = e.RenderCancelled(why=Private.seal("why", "because"))
        record: Record = store.append([self.batch("notes", event)])[0]
        return record

    def erase(self, store: Any, record: Record) -> None:
        """Record the erasure of the private text of `record`."""
        event = e.PrivateErased(commitments=(commitment_of(record),), reason_code="subject_request")
        store.append([self.batch("ledger", event)])

    def contents(self, store: Any) -> list[Any]:
        """Return every record of `store` as JSON."""
        return [json.loads(row.record) for row in store.rows(0, 10_000, RecordFilter())]

    def places(self, store: Any) -> list[tuple[int, str, int]]:
        """Return position, stream and version of every record of `store`."""
        return [(record["position"], record["stream"], record["version"]) for record in self.contents(store)]

    def ledger(self, path: Any) -> Ledger:
        """Return a ledger at `path` that has its first event, for writing."""
        return open_or_create(str(path), provenance(), START)
