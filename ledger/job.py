"""The row of a job, its states, and the table of transitions.

The table is checked when an event is appended and again whenever a job is folded (`ledger.fold`); nothing
else changes a job. `ledger.verify` has its own copy of these rules and works on the stored bytes;
`docs/FORMAT.md` states them for readers.
"""

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder, Encoder

from ledger.errors import LedgerUnusable
from ledger.events import AssetLost, AssetStored, Event, StatusObserved
from ledger.terms import Operation, Outcome, State, Status, Variant

JOB_PREFIX = "job_"

ROW_FORM = 1
"""Increment when the same events lead to other row bytes; only digests with this number are compared."""

OVER = ("denied", "refused", "stored", "failed", "lost", "abandoned", "cancelled", "deleted")
"""States in which a job needs no further work."""

_DECISIONS = {"render.decided": State.DECIDED, "render.held": State.HELD, "render.denied": State.DENIED}
_LATE_ANSWERS = {
    "submission.accepted": State.RUNNING,
    "submission.rejected": State.REJECTED,
    "submission.recovered": State.RUNNING,
    "submission.absent": State.ABSENT,
}
_AFTER_STORED = {  # a stored video: further variants may arrive, and it may be deleted on the server
    "status.observed:completed": State.STORED,
    "asset.stored:video": State.STORED,
    "asset.stored:other": State.STORED,
    "asset.lost:video": State.LOST,
    "asset.lost:other": State.STORED,
    "cost.settled": State.STORED,
    "video.deleted": State.DELETED,
    "render.closed": State.STORED,
}

TRANSITIONS: dict[State | None, dict[str, State]] = {
    None: {"render.requested": State.REQUESTED, "render.adopted": State.RUNNING},
    State.REQUESTED: _DECISIONS
    | {
        "request.signed": State.REQUESTED,
        "decision.overridden": State.REQUESTED,
        "render.cancelled": State.CANCELLED,
    },
    State.HELD: {
        "approval.granted": State.APPROVED,
        "approval.refused": State.REFUSED,
        "render.cancelled": State.CANCELLED,
    },
    State.APPROVED: _DECISIONS
    | {
        "approval.granted": State.APPROVED,
        "approval.refused": State.REFUSED,
        "render.cancelled": State.CANCELLED,
    },
    State.REFUSED: {"render.closed": State.REFUSED},
    State.DENIED: {"render.closed": State.DENIED},
    State.DECIDED: {"submission.intended": State.SUBMITTING, "render.cancelled": State.CANCELLED},
    State.SUBMITTING: {
        "submission.accepted": State.RUNNING,
        "submission.rejected": State.REJECTED,
        "submission.unknown": State.UNKNOWN,
        "submission.absent": State.ABSENT,
    },
    State.UNKNOWN: _LATE_ANSWERS,
    State.REJECTED: {"submission.intended": State.SUBMITTING, "render.closed": State.REJECTED},
    State.ABSENT: {
        "submission.intended": State.SUBMITTING,
        "submission.recovered": State.RUNNING,
        "render.cancelled": State.CANCELLED,
        "render.closed": State.ABSENT,
    },
    State.RUNNING: {
        "status.observed:running": State.RUNNING,
        "status.observed:completed": State.COMPLETED,
        "status.observed:failed": State.FAILED,
        "asset.lost:video": State.LOST,
        "render.abandoned": State.ABANDONED,
        "video.deleted": State.DELETED,
    },
    State.COMPLETED: {
        "status.observed:completed": State.COMPLETED,
        "asset.stored:video": State.STORED,
        "asset.stored:other": State.COMPLETED,
        "asset.lost:video": State.LOST,
        "asset.lost:other": State.COMPLETED,
        "cost.settled": State.COMPLETED,
        "render.abandoned": State.ABANDONED,
        "video.deleted": State.DELETED,
    },
    State.STORED: _AFTER_STORED,
    State.FAILED: {
        "cost.settled": State.FAILED,
        "video.deleted": State.DELETED,
        "render.closed": State.FAILED,
    },
    State.LOST: {
        "asset.stored:video": State.STORED,
        "asset.lost:other": State.LOST,
        "cost.settled": State.LOST,
        "video.deleted": State.DELETED,
        "render.closed": State.LOST,
    },
    State.ABANDONED: {  # like a lost job: its video may still turn up
        "asset.stored:video": State.STORED,
        "asset.lost:other": State.ABANDONED,
        "cost.settled": State.ABANDONED,
        "video.deleted": State.DELETED,
        "render.closed": State.ABANDONED,
    },
    State.CANCELLED: {"render.closed": State.CANCELLED},
    State.DELETED: {
        "asset.lost:video": State.DELETED,
        "asset.lost:other": State.DELETED,
        "cost.settled": State.DELETED,
        "render.closed": State.DELETED,
    },
}
ANNOTATIONS = frozenset(
    {
        "review.recorded",
        "note.recorded",
        "output.attached",
        "share.created",
        "share.revoked",
        "webhook.matched",
        "private.erased",
        "submission.spooled",
        "provenance.observed",
        "provenance.signed",
        "asset.published",
        "split.planned",
    }
)
"""Events that add to a job without changing it: allowed in every state."""

NOT_AFTER_CLOSING = frozenset({"submission.intended", "render.closed"})
"""A closed job is not reopened."""


class Asset(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A stored file of a job, its fields in the order of canonical JSON."""

    bytes: int
    media_type: str
    sha256: str
    storage_uri: str


class Job(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """A job folded from its events; `docs/FORMAT.md` lists the event that sets each field.

    Fields are in canonical JSON order, in which they are serialised.
    """

    access_key_id: str | None = None
    actor: str
    assets: dict[Variant, Asset] = {}
    attempt_id: str | None = None
    attempts: int = 0
    budgets: dict[str, int] = {}
    closed_at: str | None = None
    cost_basis: str | None = None
    created_at: str
    decision_id: str | None = None
    detail_code: str | None = None
    error_code: str | None = None
    estimate_usd_micros: int = 0
    expires_at: int | None = None
    job_id: str
    model: str | None = None
    operation: Operation | None = None
    outcome: Outcome | None = None
    position: int
    profile: str | None = None
    progress: int | None = None
    project: str | None = None
    purpose: str | None = None
    remix_video_id: str | None = None
    reported_cost_usd_micros: int | None = None
    request_key: str | None = None
    requested_model: str | None = None
    reserved_usd_micros: int = 0
    seconds: int | None = None
    settled_usd_micros: int | None = None
    size: str | None = None
    source_job: str | None = None
    state: State
    status: Status | None = None
    team: str | None = None
    trace_id: str
    updated_at: str
    verdict: str | None = None
    version: int
    video_id: str | None = None

    def allows(self, event: Event) -> bool:
        """Say whether `event` may be appended to this job now."""
        return next_state(self, event) is not None

    def canonical(self) -> bytes:
        """Return the job as canonical JSON: the bytes of its row.

        Its values come from checked payloads. Null teams, projects and access keys are omitted, so that the
        rows of older ledgers keep their bytes. Quotes within a value are escaped, so the removed bytes occur
        nowhere else.
        """
        row = _print(self)
        if self.team is None:
            row = _remove_field(b'"team":null,', row)
        if self.project is None:
            row = _remove_field(b'"project":null,', row)
        return row if self.access_key_id is not None else b"{" + row[len(_NO_KEY) :]

    @classmethod
    def from_canonical(cls, row: bytes) -> "Job":
        """Read the output of `canonical`; `LedgerUnusable` if it is anything else."""
        try:
            return _read(row)
        except (MsgspecError, TypeError) as error:
            raise LedgerUnusable(
                "a job row is damaged: `sora-ledger verify` says which, and in what `sora-ledger copy` makes "
                "of the ledger all rows are made again",
                expected="a readable row of a job",
                found="damaged bytes",
            ) from error


_NO_KEY = b'{"access_key_id":null,'
_print = Encoder(order="deterministic").encode
_read = Decoder(Job).decode


def _remove_field(field: bytes, row: bytes) -> bytes:
    at = row.rindex(field)  # from the end, where it is: `replace` would scan the whole row twice
    return row[:at] + row[at + len(field) :]


def step(event: Event) -> str:
    """Return the step of `event` in the table: its type, plus the deciding value if there are several."""
    match event:
        case StatusObserved():
            return _OBSERVED[event.status]
        case AssetStored() | AssetLost():
            return f"{event.type}:{'video' if event.variant is Variant.VIDEO else 'other'}"
        case _:
            return event.type


_OBSERVED = dict.fromkeys(Status, "status.observed:running") | {
    Status.COMPLETED: "status.observed:completed",
    Status.FAILED: "status.observed:failed",
}


def next_state(job: Job | None, event: Event) -> State | None:
    """Return the state that `event` leads to, or None if the table does not allow it."""
    name = step(event)
    if job is None:
        return TRANSITIONS[None].get(name)
    if job.outcome is not None and name in NOT_AFTER_CLOSING:
        return None
    if name in ANNOTATIONS:
        return job.state
    return TRANSITIONS[job.state].get(name)
