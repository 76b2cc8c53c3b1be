"""The vocabulary: everything that can be said in a ledger, one frozen model per event, one closed union.

Names are stable strings with a schema version; a name or a field is never reused for something else. A
model holds the payload only; who, when and why-caused belong to every record alike (`ledger.record`).
Money is integer micro-dollars (``*_usd_micros``), scores and features are integers, times are aware UTC
in RFC 3339 (``*_at`` as text) except where a server's own Unix seconds are quoted. No floats.

Text written freely by people or servers is `Private`: see `ledger.private`.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ledger.errors import LedgerUnusable
from ledger.private import Private, PrivateBody, Sha256Hex
from ledger.upcast import UPGRADE, upcast

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$", max_length=64)]
ProfileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$", max_length=64)]
Micros = Annotated[int, Field(ge=0, lt=2**53)]


class Kind(StrEnum):
    """What an event is to a reviewer; the grouping is Bickford's."""

    INTENT = "INTENT"
    PLAN = "PLAN"
    DENY = "DENY"
    ACTION = "ACTION"
    OBSERVATION = "OBSERVATION"
    STRUCTURE_UPDATE = "STRUCTURE_UPDATE"
    SESSION_COMPLETION = "SESSION_COMPLETION"


class Operation(StrEnum):
    """What may be asked of a server that costs."""

    CREATE = "create"
    REMIX = "remix"
    EDIT = "edit"
    EXTEND = "extend"


class Status(StrEnum):
    """A video's status, in the words of the Videos API; a profile maps other servers' words to these."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


class Variant(StrEnum):
    """What can be downloaded of a completed video."""

    VIDEO = "video"
    THUMBNAIL = "thumbnail"
    SPRITESHEET = "spritesheet"


class Part(BaseModel):
    """Something inside a payload."""

    # A model is built when it is first used: a command that reads one job needs few of them.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class EventBase(Part):
    """One event's payload; `type`, `schema_version` and `kind` are constants of the class."""

    type: ClassVar[str]
    schema_version: ClassVar[int] = 1
    kind: ClassVar[Kind]


# --- The ledger itself -------------------------------------------------------------------------------


class LedgerCreated(EventBase):
    """Position 1 of every ledger; `origin` names the log in checkpoints."""

    type: ClassVar[str] = "ledger.created"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    ledger_id: str
    origin: str
    format: int
    hash_algorithm: Literal["sha-256"] = "sha-256"
    commitment_algorithm: Literal["hmac-sha-256"] = "hmac-sha-256"


class PolicyActivated(EventBase):
    """A policy and catalog became the ones that decide; their bytes are in ``documents``."""

    type: ClassVar[str] = "policy.activated"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    policy_sha256: Sha256Hex
    catalog_sha256: Sha256Hex
    why: Private | None = None


class BudgetSet(EventBase):
    """The limit of one budget, from now on; lives in the stream ``budget_<name>``."""

    type: ClassVar[str] = "budget.set"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    budget: Name
    limit_usd_micros: Micros
    why: Private | None = None


class PrivateErased(EventBase):
    """These bodies were deleted in the transaction that recorded this event."""

    type: ClassVar[str] = "private.erased"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    commitments: tuple[Sha256Hex, ...]
    reason_code: Name


# --- Asking and deciding -----------------------------------------------------------------------------


class InputReference(Part):
    """An image that was given; the bytes are kept in asset storage under their digest.

    `original_sha256` is set where the image was made from another one to fit the video's size.
    """

    name: Private
    sha256: Sha256Hex
    original_sha256: Sha256Hex | None = None
    media_type: str
    width: int
    height: int
    bytes: int
    storage_uri: str | None = None


class SourceFile(Part):
    """A video file that was given to be edited; kept in asset storage under its digest."""

    name: Private
    sha256: Sha256Hex
    media_type: str
    bytes: int
    storage_uri: str | None = None


class RenderRequested(EventBase):
    """What somebody asked for. `prompt` is theirs, `augmented_prompt` what is sent where that differs.

    The first frame is `input_reference`, or an image the server finds itself (`reference_url`,
    `reference_file_id`); `further_images` were given beside it and are not sent. `options` are what some
    servers take besides, such as ``seed``. `attested` says that the guardrails were acknowledged.
    """

    type: ClassVar[str] = "render.requested"
    kind: ClassVar[Kind] = Kind.INTENT
    operation: Operation
    request_key: str | None = None
    prompt: Private
    fields: dict[Name, Private] = Field(default_factory=dict)
    augmented_prompt: Private | None = None
    size: str
    seconds: int
    input_reference: InputReference | None = None
    further_images: tuple[InputReference, ...] = ()
    reference_url: Private | None = None
    reference_file_id: str | None = None
    character_ids: tuple[str, ...] = ()
    options: dict[Name, int | bool] = Field(default_factory=dict)
    source_job: str | None = None
    remix_video_id: str | None = None
    source_file: SourceFile | None = None
    attested: bool = False
    purpose: Name
    requested_model: str
    profile: ProfileName
    max_cost_usd_micros: Micros | None = None


class RequestSigned(EventBase):
    """The requester signed the record before this one; the policy `policy_sha256` names their key.

    `login` is the operating system's, under which they signed.
    """

    type: ClassVar[str] = "request.signed"
    kind: ClassVar[Kind] = Kind.INTENT
    key_id: str
    signature: str
    login: str
    policy_sha256: Sha256Hex


class ChangeProposed(EventBase):
    """A change of the policy or of a budget that waits for approval, in a stream of its own.

    `policy_sha256` and `catalog_sha256` are what ``policy.activate`` would make active, `budget` and
    `limit_usd_micros` what ``budget.set`` would set. `required_by_sha256` is the policy that wants the
    approval, `reason_codes` its rules.
    """

    type: ClassVar[str] = "change.proposed"
    kind: ClassVar[Kind] = Kind.INTENT
    operation: Literal["policy.activate", "budget.set"]
    policy_sha256: Sha256Hex | None = None
    catalog_sha256: Sha256Hex | None = None
    budget: Name | None = None
    limit_usd_micros: Micros | None = None
    why: Private | None = None
    required_by_sha256: Sha256Hex
    reason_codes: tuple[str, ...]
    approvals_needed: int = 1


class ChangeClosed(EventBase):
    """A proposed change was carried out, in the same transaction, or will never be."""

    type: ClassVar[str] = "change.closed"
    kind: ClassVar[Kind] = Kind.SESSION_COMPLETION
    outcome: Literal["applied", "refused", "cancelled"]


class GateFailure(Part):
    """A gate that a candidate did not pass: what it needed and what it found."""

    gate: Name
    detail_code: str
    expected: str
    found: str


class Candidate(Part):
    """One model as it stood in a decision; all but winners of gates have no score."""

    model: str
    cost_usd_micros: Micros | None
    features: dict[Name, int] = Field(default_factory=dict)
    gates_passed: tuple[Name, ...] = ()
    gates_failed: tuple[GateFailure, ...] = ()
    score: int | None = None


class BudgetHold(Part):
    """Money reserved in one budget."""

    budget: Name
    usd_micros: Micros


class Basis(Part):
    """What a decision was made with, so that it can be made again: see `decision.rules.policy`."""

    decision_id: Sha256Hex
    policy_sha256: Sha256Hex
    catalog_sha256: Sha256Hex
    engine: str
    inputs: dict[Name, str | int | bool | None]
    candidates: tuple[Candidate, ...]


class RenderDecided(EventBase):
    """ALLOW: this model, at this estimate, for these reasons, against these candidates."""

    type: ClassVar[str] = "render.decided"
    kind: ClassVar[Kind] = Kind.PLAN
    decision: Literal["ALLOW"] = "ALLOW"
    basis: Basis
    model: str
    cost_usd_micros: Micros
    holds: tuple[BudgetHold, ...] = ()
    reason_codes: tuple[str, ...]
    policy_choice: str | None
    runner_up: str | None = None
    why_not_runner_up: tuple[str, ...] = ()


class RenderHeld(EventBase):
    """HOLD: a person has to answer first."""

    type: ClassVar[str] = "render.held"
    kind: ClassVar[Kind] = Kind.PLAN
    decision: Literal["HOLD"] = "HOLD"
    basis: Basis
    reason_codes: tuple[str, ...]
    approvals_needed: int = 1


class ApprovalGranted(EventBase):
    """A person other than the requester said yes; the record says how they were identified.

    `login` is the operating system's, under which they said it, and `policy_sha256` the policy in force.
    The approval counts until `expires_at`. Version 1 had none of these.
    """

    type: ClassVar[str] = "approval.granted"
    schema_version: ClassVar[int] = 2
    kind: ClassVar[Kind] = Kind.PLAN
    comment: Private | None = None
    key_id: str | None = None
    signature: str | None = None
    login: str | None = None
    policy_sha256: Sha256Hex | None = None
    expires_at: str | None = None


class ApprovalRefused(EventBase):
    """A person said no; the fields are those of `ApprovalGranted`, and a refusal does not expire."""

    type: ClassVar[str] = "approval.refused"
    schema_version: ClassVar[int] = 2
    kind: ClassVar[Kind] = Kind.PLAN
    comment: Private | None = None
    key_id: str | None = None
    signature: str | None = None
    login: str | None = None
    policy_sha256: Sha256Hex | None = None
    expires_at: str | None = None


class DenialCode(StrEnum):
    """Bickford's seven, unchanged; ``detail_code`` refines them."""

    MISSING_CANON_PREREQS = "MISSING_CANON_PREREQS"
    INVARIANT_VIOLATION = "INVARIANT_VIOLATION"
    NON_INTERFERENCE_VIOLATION = "NON_INTERFERENCE_VIOLATION"
    AUTHORITY_BOUNDARY_FAIL = "AUTHORITY_BOUNDARY_FAIL"
    RISK_BOUND_EXCEEDED = "RISK_BOUND_EXCEEDED"
    COST_BOUND_EXCEEDED = "COST_BOUND_EXCEEDED"
    SUCCESS_PROB_TOO_LOW = "SUCCESS_PROB_TOO_LOW"


class Change(Part):
    """One change a remix asks for: its aspect, and where in the private prompt it stands (code points)."""

    aspect: Name
    start: int
    end: int


class Fix(Part):
    """The smallest change that would be allowed. Names a field and never repeats text."""

    field: Name
    action: Literal["set", "raise", "lower", "split", "wait", "drop"]
    value: str | int | None = None


class DenialTrace(Part):
    """Why not, and what now."""

    code: DenialCode
    detail_code: str
    failed_invariant: str
    expected: str
    found: str
    minimal_fix: tuple[Fix, ...]
    changes: tuple[Change, ...] = ()


class RenderDenied(EventBase):
    """DENY, with a trace."""

    type: ClassVar[str] = "render.denied"
    kind: ClassVar[Kind] = Kind.DENY
    decision: Literal["DENY"] = "DENY"
    basis: Basis
    denial_trace: DenialTrace


class DecisionOverridden(EventBase):
    """Somebody entitled to it set one denial aside."""

    type: ClassVar[str] = "decision.overridden"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    detail_code: str
    why: Private
    expires_at: str
    denied_event_id: str | None = None


class RenderCancelled(EventBase):
    """Withdrawn before it was submitted."""

    type: ClassVar[str] = "render.cancelled"
    kind: ClassVar[Kind] = Kind.ACTION
    why: Private | None = None


# --- Submitting --------------------------------------------------------------------------------------


class ErrorDetail(Part):
    """An error as a server put it."""

    http_status: int | None = None
    code: str | None = None
    type: str | None = None
    param: str | None = None
    message: Private | None = None


class SubmissionIntended(EventBase):
    """Durable before the call: one attempt, the request by digest over commitments, and where it goes.

    `sent_sha256` is the SHA-256 of what is sent (`sora_adapter.wire`) as private text: the record commits to
    it with a salt, so that a prompt cannot be guessed from it, and digest and salt can be erased.
    `key_digest` commits in the same way to the key of the call, which stands for the account.
    """

    type: ClassVar[str] = "submission.intended"
    schema_version: ClassVar[int] = 3
    kind: ClassVar[Kind] = Kind.ACTION
    attempt_id: str
    request_sha256: Sha256Hex
    profile: ProfileName
    server: str
    model: str
    fence: int | None = None
    sent_sha256: Private | None = None
    key_digest: Private | None = None


class SubmissionAccepted(EventBase):
    """The server took it and named the video."""

    type: ClassVar[str] = "submission.accepted"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    attempt_id: str
    video_id: str
    status: Status
    progress: int | None = None
    reported_model: str | None = None
    reported_size: str | None = None
    reported_seconds: str | None = None
    reported_cost_usd_micros: Micros | None = None
    provider_request_id: str | None = None


class SubmissionRejected(EventBase):
    """The server refused; nothing was created."""

    type: ClassVar[str] = "submission.rejected"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    attempt_id: str
    error: ErrorDetail
    retry_after_ms: int | None = None
    provider_request_id: str | None = None


class SubmissionUnknown(EventBase):
    """The answer was lost: a video may exist. Keeps its money until it is reconciled."""

    type: ClassVar[str] = "submission.unknown"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    attempt_id: str
    lost: Literal["timeout", "connection", "server_error", "unreadable", "crash"]
    error: ErrorDetail | None = None
    provider_request_id: str | None = None


class SubmissionRecovered(EventBase):
    """A lost answer was found again."""

    type: ClassVar[str] = "submission.recovered"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    attempt_id: str
    video_id: str
    how: Literal["list", "webhook", "person"]
    status: Status
    progress: int | None = None


class SubmissionAbsent(EventBase):
    """It is established that the attempt created nothing; only this permits a new one."""

    type: ClassVar[str] = "submission.absent"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    attempt_id: str
    how: Literal["never_connected", "list", "person"]


class SubmissionSpooled(EventBase):
    """An outcome that the ledger could not take when it came, and that was kept in a file until now.

    `outcome` is its event type. If it is `applied`, that event is recorded too; otherwise the attempt was
    settled by something else meanwhile, and this is all that is recorded of it.
    """

    type: ClassVar[str] = "submission.spooled"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    attempt_id: str
    outcome: str
    video_id: str | None = None
    spooled_at: str
    applied: bool


# --- Observing and keeping ---------------------------------------------------------------------------


class StatusObserved(EventBase):
    """What the server said; only changes are recorded, progress at most every ten points."""

    type: ClassVar[str] = "status.observed"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    video_id: str
    status: Status
    progress: int | None = None
    source: Literal["poll", "list"]
    server_status: str | None = None
    error: ErrorDetail | None = None
    completed_at: int | None = None
    expires_at: int | None = None


class WebhookReceived(EventBase):
    """A well signed delivery, in the profile's inbox; it wakes the poller and changes no state."""

    type: ClassVar[str] = "webhook.received"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    webhook_event_id: str
    delivery_id: str
    webhook_type: str
    video_id: str


class WebhookMatched(EventBase):
    """The same delivery, tied to its job."""

    type: ClassVar[str] = "webhook.matched"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    webhook_event_id: str
    webhook_type: str
    video_id: str


class Probe(Part):
    """What decoding the file showed."""

    width: int
    height: int
    duration_ms: int | None = None
    video_codec: str | None = None
    audio_codec: str | None = None


class Mismatch(Part):
    """A property of the file that is not what was asked for."""

    field: Name
    expected: str
    found: str


class AssetStored(EventBase):
    """The bytes are here, hashed and probed."""

    type: ClassVar[str] = "asset.stored"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    variant: Variant
    storage_uri: str
    sha256: Sha256Hex
    bytes: int
    media_type: str
    probe: Probe | None = None
    mismatches: tuple[Mismatch, ...] = ()


class AssetLost(EventBase):
    """The bytes can no longer be had."""

    type: ClassVar[str] = "asset.lost"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    variant: Variant
    cause: Literal["expired", "gone", "deleted", "damaged"]


class CostSettled(EventBase):
    """What it cost: as reported, or the estimate marked as such."""

    type: ClassVar[str] = "cost.settled"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    cost_usd_micros: Micros
    basis: Literal["reported", "estimated"]
    settled_by: str
    difference_usd_micros: int


class VideoDeleted(EventBase):
    """The server confirmed that it no longer has the video."""

    type: ClassVar[str] = "video.deleted"
    kind: ClassVar[Kind] = Kind.ACTION
    video_id: str
    answer: Literal["deleted", "not_found"]
    why: Private | None = None
    provider_request_id: str | None = None


class RenderAbandoned(EventBase):
    """A person gave up a render that its server never finished, or whose bytes never came."""

    type: ClassVar[str] = "render.abandoned"
    kind: ClassVar[Kind] = Kind.ACTION
    why: Private


class RenderAdopted(EventBase):
    """A video made by another tool, taken in; `server` is the base URL where it was found."""

    type: ClassVar[str] = "render.adopted"
    schema_version: ClassVar[int] = 2
    kind: ClassVar[Kind] = Kind.OBSERVATION
    profile: ProfileName
    video_id: str
    status: Status
    model: str | None = None
    size: str | None = None
    seconds: int | None = None
    prompt: Private | None = None
    remix_video_id: str | None = None
    server: str | None = None


class CharacterCreated(EventBase):
    """A character uploaded to a server."""

    type: ClassVar[str] = "character.created"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    profile: ProfileName
    character_id: str
    name: Private
    source_sha256: Sha256Hex


class OutputAttached(EventBase):
    """An output was tied to a downstream workflow."""

    type: ClassVar[str] = "output.attached"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    workflow: str
    uri: str


class ExternalRecorded(EventBase):
    """A fact of another system, in its own stream, with the field names of the Bickford integration."""

    type: ClassVar[str] = "external.recorded"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    video_id: str | None = None
    status: str | None = None
    progress: int | None = None
    model: str | None = None
    seconds: str | None = None
    size: str | None = None
    prompt: Private | None = None
    remix_video_id: str | None = None
    input_reference: Private | None = None
    storage_uri: str | None = None
    webhook_event_id: str | None = None


class ReviewRecorded(EventBase):
    """A person looked at the result; scores are 0 to 100."""

    type: ClassVar[str] = "review.recorded"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    verdict: Literal["approved", "changes_requested", "rejected"]
    scores: dict[Name, int] = Field(default_factory=dict)
    notes: Private | None = None


class NoteRecorded(EventBase):
    """What a person said about a job, such as why an attempt was declared absent."""

    type: ClassVar[str] = "note.recorded"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    text: Private


class Outcome(StrEnum):
    """How a session ended."""

    STORED = "stored"
    FAILED = "failed"
    DENIED = "denied"
    REFUSED = "refused"
    REJECTED = "rejected"
    ABSENT = "absent"
    CANCELLED = "cancelled"
    LOST = "lost"
    ABANDONED = "abandoned"


class RenderClosed(EventBase):
    """Every session completes: outcome, time taken, cost."""

    type: ClassVar[str] = "render.closed"
    kind: ClassVar[Kind] = Kind.SESSION_COMPLETION
    outcome: Outcome
    duration_ms: int
    cost_usd_micros: Micros


Event = (
    LedgerCreated
    | PolicyActivated
    | BudgetSet
    | PrivateErased
    | RenderRequested
    | RequestSigned
    | ChangeProposed
    | ChangeClosed
    | RenderDecided
    | RenderHeld
    | ApprovalGranted
    | ApprovalRefused
    | RenderDenied
    | DecisionOverridden
    | RenderCancelled
    | SubmissionIntended
    | SubmissionAccepted
    | SubmissionRejected
    | SubmissionUnknown
    | SubmissionRecovered
    | SubmissionAbsent
    | SubmissionSpooled
    | StatusObserved
    | WebhookReceived
    | WebhookMatched
    | AssetStored
    | AssetLost
    | CostSettled
    | VideoDeleted
    | RenderAbandoned
    | RenderAdopted
    | CharacterCreated
    | OutputAttached
    | ExternalRecorded
    | ReviewRecorded
    | NoteRecorded
    | RenderClosed
)


def _by_type(union: UnionType) -> Mapping[str, type[EventBase]]:
    return {member.type: member for member in get_args(union)}


EVENT_TYPES = _by_type(Event)


def parse_event(
    type_: str, payload: dict[str, Any], bodies: Mapping[str, PrivateBody], version: int = 1
) -> Event:
    """Build the event of `type_` from its payload as stored in schema `version`.

    `bodies` (by commitment) fill the private text; one that is not there reads as erased.
    `LedgerUnusable` if this sora-ledger knows no such type, version or payload.
    """
    model = EVENT_TYPES.get(type_)
    if model is None:
        raise LedgerUnusable(
            f"there is no event type {type_!r} in this version: it needs a newer one; {UPGRADE}"
        )
    if version != model.schema_version:
        payload = upcast(type_, version, payload, model.schema_version)
    try:
        return model.model_validate(payload, context=bodies)  # type: ignore[return-value]  # one of the union
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise LedgerUnusable(
            f"a recorded {type_} is not what its type says ({fields}): run `sora-ledger verify`"
        ) from error
