"""Every event a ledger can record: one frozen struct per event, one closed union.

Names are stable strings with a schema version; a name or a field is never reused for something else. A
struct holds the payload only; actor, times and causation are part of every record (`ledger.record`).
Money is integer micro-dollars (``*_usd_micros``), scores and features are integers, times are aware UTC
in RFC 3339 (``*_at`` as text) except where a server's own Unix seconds are quoted. No floats.

Free text from people or servers is `Private`: see `ledger.private`.
"""

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, dataclass_transform, get_args

from msgspec import Meta, Struct, StructMeta, field
from msgspec.json import decode, encode

from ledger.private import END_OF_TEXT, Private, Sha256Hex
from ledger.terms import DenialCode, Kind, Operation, Outcome, Status, Variant

Name = Annotated[str, Meta(pattern=r"^[a-z0-9_]+$" + END_OF_TEXT, max_length=64)]
ProfileName = Annotated[str, Meta(pattern=r"^[a-z0-9_-]+$" + END_OF_TEXT, max_length=64)]
Micros = Annotated[int, Meta(ge=0, lt=2**53)]
SessionId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$" + END_OF_TEXT)]
AccessKeyId = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}$" + END_OF_TEXT)]


class _PartMeta(StructMeta):
    """Makes every part frozen and closed, with keyword-only fields in a readable order."""

    def __new__(mcls, name: str, bases: tuple[type, ...], body: dict[str, Any], /, **options: Any) -> Any:
        closed = {"frozen": True, "forbid_unknown_fields": True, "kw_only": True}
        return super().__new__(mcls, name, bases, body, **(closed | options))


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class Part(Struct, frozen=True, metaclass=_PartMeta):
    """A part of a payload.

    Types are checked where events are read and written (`ledger.record`), not when a part is made.
    """

    def as_json(self) -> dict[str, Any]:
        """Return the part as JSON values."""
        document: dict[str, Any] = decode(encode(self))
        return document


class EventBase(Part):
    """The payload of one event; `type`, `schema_version` and `kind` are constants of the class."""

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
    """A policy and a catalog take effect; their bytes are in ``documents``."""

    type: ClassVar[str] = "policy.activated"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    policy_sha256: Sha256Hex
    catalog_sha256: Sha256Hex
    why: Private | None = None


class BudgetSet(EventBase):
    """The limit of one budget takes effect; recorded in the stream ``budget_<name>``."""

    type: ClassVar[str] = "budget.set"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    budget: Name
    limit_usd_micros: Micros
    why: Private | None = None


class Grant(Part):
    """The permissions of an access key, its holder and its expiry; None does not restrict.

    `key_sha256` is the digest of the whole text of the key: 256 random bits, so it cannot be guessed from it.
    Roles are those of the policy in force when the key is used. `requests_per_minute` and `running_jobs`
    limit the use of this key.
    """

    key_id: AccessKeyId
    key_sha256: Sha256Hex
    name: str
    roles: tuple[Name, ...]
    team: Name | None = None
    project: Name | None = None
    profiles: tuple[ProfileName, ...] | None = None
    purposes: tuple[Name, ...] | None = None
    expires_at: str | None = None
    requests_per_minute: int | None = None
    running_jobs: int | None = None


class AccessGranted(Grant, EventBase):
    """An access key becomes valid; recorded in the stream ``access``."""

    type: ClassVar[str] = "access.granted"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE


class AccessRevoked(EventBase):
    """An access key is no longer valid."""

    type: ClassVar[str] = "access.revoked"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    key_id: AccessKeyId
    reason: Private | None = None


class AccessUsed(EventBase):
    """An access key was used in a way that limits its later use.

    An SDK that gets no answer retries with a `retry_count` from 1. The attempt that creates the job, or finds
    it created, is recorded with its count. The first attempt has 0, and is recorded only if the key limits
    running jobs.
    """

    type: ClassVar[str] = "access.used"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    job_id: str
    retry_count: int


class SessionBegan(EventBase):
    """A person signed in to the console; recorded in the stream ``sessions``.

    The actor is the person; `key_id` is the access key they presented, if any. The session expires at
    `expires_at` at the latest.
    """

    type: ClassVar[str] = "session.began"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    session_id: SessionId
    key_id: AccessKeyId | None
    expires_at: str


class SessionEnded(EventBase):
    """A person signed out of the console; the session is no longer valid."""

    type: ClassVar[str] = "session.ended"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    session_id: SessionId


class PrivateErased(EventBase):
    """The bodies of these commitments were deleted in the transaction that recorded this event."""

    type: ClassVar[str] = "private.erased"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    commitments: tuple[Sha256Hex, ...]
    reason_code: Name


# --- Requests and decisions -----------------------------------------------------------------------------


class PlannedRemix(Part):
    """A planned remix; `declared_change` is the one aspect that the requester declared."""

    prompt: Private
    declared_change: Name | None = None


class InputReference(Part):
    """A reference image; its bytes are in asset storage under their digest.

    `original_sha256` is set if the image was made from another one to fit the size of the video.
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
    """A video file to be edited; its bytes are in asset storage under their digest."""

    name: Private
    sha256: Sha256Hex
    media_type: str
    bytes: int
    storage_uri: str | None = None


class RenderRequested(EventBase):
    """A request. `prompt` is the requester's text, `augmented_prompt` the text that is sent if it differs.

    The first frame is `input_reference` or an image that the server fetches itself (`reference_url`,
    `reference_file_id`); `further_images` are stored, and sent only with the option ``input_references``.
    `options` are additional parameters of some servers, such as ``seed``. `attested` is true if the requester
    acknowledged the guardrails.

    `team` and `project` pay for it; `access_key_id` is the access key that was used. Version 1 had none of
    these three.
    """

    type: ClassVar[str] = "render.requested"
    schema_version: ClassVar[int] = 2
    kind: ClassVar[Kind] = Kind.INTENT
    operation: Operation
    request_key: str | None = None
    prompt: Private
    fields: dict[Name, Private] = field(default_factory=dict)
    augmented_prompt: Private | None = None
    size: str
    seconds: int
    input_reference: InputReference | None = None
    further_images: tuple[InputReference, ...] = ()
    reference_url: Private | None = None
    reference_file_id: str | None = None
    character_ids: tuple[str, ...] = ()
    options: dict[Name, int | bool] = field(default_factory=dict)
    source_job: str | None = None
    remix_video_id: str | None = None
    source_file: SourceFile | None = None
    attested: bool = False
    purpose: Name
    requested_model: str
    profile: ProfileName
    max_cost_usd_micros: Micros | None = None
    team: Name | None = None
    project: Name | None = None
    access_key_id: AccessKeyId | None = None


class SplitPlanned(EventBase):
    """The remixes that follow this one, each of the previous result once its video is stored.

    They are the rest of a split with the request key `split_key`, in which this job is remix `number`; the
    request keys of its remixes are derived from both. Once the next one is requested, or the rest is
    withdrawn, a ``private.erased`` deletes the prompts here: the job of the next one then has them.
    """

    type: ClassVar[str] = "split.planned"
    kind: ClassVar[Kind] = Kind.PLAN
    split_key: str
    number: int
    rest: tuple[PlannedRemix, ...]


class RequestSigned(EventBase):
    """The requester signed the previous record; the policy `policy_sha256` contains their key.

    `login` is the operating system login under which they signed.
    """

    type: ClassVar[str] = "request.signed"
    kind: ClassVar[Kind] = Kind.INTENT
    key_id: str
    signature: str
    login: str
    policy_sha256: Sha256Hex


class ChangeProposed(EventBase):
    """A change of the policy, of a budget or of access that waits for approval, in its own stream.

    `policy_sha256` and `catalog_sha256` are what ``policy.activate`` would activate, `budget` and
    `limit_usd_micros` what ``budget.set`` would set, `access` what ``access.grant`` would grant.
    `required_by_sha256` is the policy that requires the approval, `reason_codes` are its rules. Version 1 had
    no `access`.
    """

    type: ClassVar[str] = "change.proposed"
    schema_version: ClassVar[int] = 2
    kind: ClassVar[Kind] = Kind.INTENT
    operation: Literal["policy.activate", "budget.set", "access.grant"]
    policy_sha256: Sha256Hex | None = None
    catalog_sha256: Sha256Hex | None = None
    budget: Name | None = None
    limit_usd_micros: Micros | None = None
    why: Private | None = None
    required_by_sha256: Sha256Hex
    reason_codes: tuple[str, ...]
    approvals_needed: int = 1
    access: Grant | None = None


class ChangeClosed(EventBase):
    """A proposed change was applied in the same transaction, or never will be."""

    type: ClassVar[str] = "change.closed"
    kind: ClassVar[Kind] = Kind.SESSION_COMPLETION
    outcome: Literal["applied", "refused", "cancelled"]


class GateFailure(Part):
    """A gate that a candidate failed: what it expected and what it found."""

    gate: Name
    detail_code: str
    expected: str
    found: str


class Candidate(Part):
    """One model in a decision; only a candidate that passed all gates has a score."""

    model: str
    cost_usd_micros: Micros | None
    features: dict[Name, int] = field(default_factory=dict)
    gates_passed: tuple[Name, ...] = ()
    gates_failed: tuple[GateFailure, ...] = ()
    score: int | None = None


class BudgetHold(Part):
    """Money reserved in one budget."""

    budget: Name
    usd_micros: Micros


class Basis(Part):
    """The inputs of a decision, so that it can be reproduced: see `decision.rules.policy`."""

    decision_id: Sha256Hex
    policy_sha256: Sha256Hex
    catalog_sha256: Sha256Hex
    engine: str
    inputs: dict[Name, str | int | bool | None]
    candidates: tuple[Candidate, ...]


class RenderDecided(EventBase):
    """ALLOW: the chosen model, its estimated cost, the reasons and the other candidates."""

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
    """HOLD: the request needs approval first."""

    type: ClassVar[str] = "render.held"
    kind: ClassVar[Kind] = Kind.PLAN
    decision: Literal["HOLD"] = "HOLD"
    basis: Basis
    reason_codes: tuple[str, ...]
    approvals_needed: int = 1

    @property
    def choice(self) -> Candidate:
        """The model that would render the request if it were approved unchanged."""
        wished = self.basis.inputs.get("wished_model")
        passed = (item for item in self.basis.candidates if not item.gates_failed)
        return min(
            passed,
            key=lambda item: (
                item.model != wished,
                -(item.score or 0),
                item.cost_usd_micros or 0,
                item.model,
            ),
        )


class PasskeyAssertion(Part):
    """The parts of a passkey's response (WebAuthn) other than the signature, both in base64.

    `client_data` is the JSON of the browser, with the challenge and the origin.
    """

    authenticator_data: str
    client_data: str


class ApprovalGranted(EventBase):
    """A person other than the requester approved; the record says how they were identified.

    `login` is the operating system login under which they approved, `policy_sha256` the policy in force. The
    approval is valid until `expires_at`. Version 1 had none of these fields. Version 2 had no `passkey`; it
    is set if a passkey signed.
    """

    type: ClassVar[str] = "approval.granted"
    schema_version: ClassVar[int] = 3
    kind: ClassVar[Kind] = Kind.PLAN
    comment: Private | None = None
    key_id: str | None = None
    signature: str | None = None
    login: str | None = None
    policy_sha256: Sha256Hex | None = None
    expires_at: str | None = None
    passkey: PasskeyAssertion | None = None


class ApprovalRefused(EventBase):
    """A person refused; the fields are the same as in `ApprovalGranted`, and a refusal does not expire."""

    type: ClassVar[str] = "approval.refused"
    schema_version: ClassVar[int] = 3
    kind: ClassVar[Kind] = Kind.PLAN
    comment: Private | None = None
    key_id: str | None = None
    signature: str | None = None
    login: str | None = None
    policy_sha256: Sha256Hex | None = None
    expires_at: str | None = None
    passkey: PasskeyAssertion | None = None


class Change(Part):
    """One change that a remix requests: its aspect, and its span in the private prompt (code points)."""

    aspect: Name
    start: int
    end: int


class Fix(Part):
    """The smallest change that would be allowed. It names a field and never repeats text."""

    field: Name
    action: Literal["set", "raise", "lower", "split", "wait", "drop"]
    value: str | int | None = None


class DenialTrace(Part):
    """Why a request was denied, and what would be allowed."""

    code: DenialCode
    detail_code: str
    failed_invariant: str
    expected: str
    found: str
    minimal_fix: tuple[Fix, ...]
    changes: tuple[Change, ...] = ()


class RenderDenied(EventBase):
    """DENY, with the reason and the smallest change that would be allowed."""

    type: ClassVar[str] = "render.denied"
    kind: ClassVar[Kind] = Kind.DENY
    decision: Literal["DENY"] = "DENY"
    basis: Basis
    denial_trace: DenialTrace


class DecisionOverridden(EventBase):
    """An authorised person overrode one denial."""

    type: ClassVar[str] = "decision.overridden"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    detail_code: str
    why: Private
    expires_at: str
    denied_event_id: str | None = None


class RenderCancelled(EventBase):
    """The render was cancelled before it was submitted."""

    type: ClassVar[str] = "render.cancelled"
    kind: ClassVar[Kind] = Kind.ACTION
    why: Private | None = None


# --- Submission --------------------------------------------------------------------------------------


class ErrorDetail(Part):
    """An error as the server reported it."""

    http_status: int | None = None
    code: str | None = None
    type: str | None = None
    param: str | None = None
    message: Private | None = None


class SubmissionIntended(EventBase):
    """One attempt, durable before the call: the digest of the request (over commitments) and its destination.

    `sent_sha256` is the SHA-256 of the bytes sent (`sora_adapter.wire`) as private text: the record commits
    to it with a salt, so that the prompt cannot be guessed from it, and digest and salt can be erased.
    `key_digest` commits in the same way to the API key of the call, which identifies the account.
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
    """The server accepted the request and returned a video id."""

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
    """The server rejected the request; nothing was created."""

    type: ClassVar[str] = "submission.rejected"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    attempt_id: str
    error: ErrorDetail
    retry_after_ms: int | None = None
    provider_request_id: str | None = None


class SubmissionUnknown(EventBase):
    """The answer was lost, so a video may exist. The reserved money stays reserved until reconciliation."""

    type: ClassVar[str] = "submission.unknown"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    attempt_id: str
    lost: Literal["timeout", "connection", "server_error", "unreadable", "crash"]
    error: ErrorDetail | None = None
    provider_request_id: str | None = None


class SubmissionRecovered(EventBase):
    """The video of a lost answer was found."""

    type: ClassVar[str] = "submission.recovered"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    attempt_id: str
    video_id: str
    how: Literal["list", "webhook", "person"]
    status: Status
    progress: int | None = None


class SubmissionAbsent(EventBase):
    """It is established that the attempt created nothing; only this permits a new attempt."""

    type: ClassVar[str] = "submission.absent"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    attempt_id: str
    how: Literal["never_connected", "list", "person"]


class SubmissionSpooled(EventBase):
    """An outcome that could not be recorded when it arrived and waited in a file until now.

    `outcome` is its event type. If `applied`, that event is recorded as well; otherwise the attempt was
    settled by another event in the meantime, and this is the only record of the outcome.
    """

    type: ClassVar[str] = "submission.spooled"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    attempt_id: str
    outcome: str
    video_id: str | None = None
    spooled_at: str
    applied: bool


# --- Observation and storage ---------------------------------------------------------------------------


class StatusObserved(EventBase):
    """A status that the server reported; only changes are recorded, progress at most every ten points."""

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
    """A delivery with a valid signature, in the profile's inbox; its only effect is to make the job due."""

    type: ClassVar[str] = "webhook.received"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    webhook_event_id: str
    delivery_id: str
    webhook_type: str
    video_id: str


class WebhookMatched(EventBase):
    """The same delivery, matched to its job."""

    type: ClassVar[str] = "webhook.matched"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    webhook_event_id: str
    webhook_type: str
    video_id: str


class Probe(Part):
    """The properties of the decoded file."""

    width: int
    height: int
    duration_ms: int | None = None
    video_codec: str | None = None
    audio_codec: str | None = None


class Mismatch(Part):
    """A property of the file that differs from the request."""

    field: Name
    expected: str
    found: str


class AssetStored(EventBase):
    """A file was downloaded, hashed, probed and stored."""

    type: ClassVar[str] = "asset.stored"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    variant: Variant
    storage_uri: str
    sha256: Sha256Hex
    bytes: int
    media_type: str
    probe: Probe | None = None
    mismatches: tuple[Mismatch, ...] = ()


class ObservedIngredient(Part):
    """An ingredient of a file according to its manifest; `title` is verbatim."""

    relationship: Literal["parentOf", "componentOf", "inputTo"]
    title: Private | None = None
    has_manifest: bool


class ProvenanceObserved(EventBase):
    """The origin a stored file claims: its C2PA manifest, and the source type in its XMP.

    `manifest` is ``remote`` if the file only has a URL, which was not fetched. `validity` is ``trusted`` if
    the signer is on the trust list, ``unknown_signer`` if not, and ``valid`` if no trust list was set;
    `trust_list_sha256` is the list. `failures` are the codes of failed validations. Source types are terms of
    the IPTC vocabulary, such as ``trainedAlgorithmicMedia``. Recorded with the file, or later if manifests
    could not be read then.
    """

    type: ClassVar[str] = "provenance.observed"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    variant: Variant
    sha256: Sha256Hex
    manifest: Literal["embedded", "remote", "absent"]
    validity: Literal["trusted", "unknown_signer", "valid", "invalid"] | None = None
    signer: Private | None = None
    issuer: Private | None = None
    algorithm: str | None = None
    signed_at: str | None = None
    generator: Private | None = None
    digital_source_type: str | None = None
    xmp_digital_source_type: str | None = None
    ingredients: tuple[ObservedIngredient, ...] = ()
    failures: tuple[str, ...] = ()
    trust_list_sha256: Sha256Hex | None = None
    reader: str | None = None


class VisibleLabel(Part):
    """The visible label in one corner of every frame of a published copy: a text, or an image by its digest.

    `kind` is ``eu_icon`` for the icon of the European Union, and ``icon`` for another image.
    """

    kind: Literal["text", "eu_icon", "icon"]
    corner: Literal["top-left", "top-right", "bottom-left", "bottom-right"]
    text: Private | None = None
    image_sha256: Sha256Hex | None = None


class ProvenanceSigned(EventBase):
    """A copy of a stored file was signed with a C2PA manifest of this ledger.

    The copy has the digest `sha256`. Its manifest cites the record at `record_position`, which stored the
    file `source_sha256`, and the checkpoint of `checkpoint_size` records, if there was one. `parents` are the
    jobs whose files are ingredients. `intent` is ``edit`` if the copy has a parent: a file of another job, or
    the stored file itself with the manifest it arrived with. `labelled` copies have a visible `label` and
    were re-encoded. `stamped_at` is the time of a time-stamping authority (RFC 3161) in the signature.
    """

    type: ClassVar[str] = "provenance.signed"
    schema_version: ClassVar[int] = 2
    kind: ClassVar[Kind] = Kind.ACTION
    variant: Variant
    source_sha256: Sha256Hex
    sha256: Sha256Hex
    bytes: int
    intent: Literal["create", "edit"]
    digital_source_type: str
    algorithm: str
    certificate_sha256: Sha256Hex
    signer: Private
    record_position: int
    record_leaf: Sha256Hex
    checkpoint_size: int | None = None
    parents: tuple[str, ...] = ()
    labelled: bool = False
    label: VisibleLabel | None = None
    stamped_at: str | None = None


class AssetPublished(EventBase):
    """A file of a job was written to `target`, where others find it.

    `marking` says how it is marked as made by AI: by a manifest of this ledger, by the one the file arrived
    with, or not at all. `label` is the visible label. The policy `policy_sha256` permitted it.
    """

    type: ClassVar[str] = "asset.published"
    schema_version: ClassVar[int] = 2
    kind: ClassVar[Kind] = Kind.ACTION
    variant: Variant
    sha256: Sha256Hex
    bytes: int
    target: Private
    marking: Literal["signed", "original", "none"]
    policy_sha256: Sha256Hex
    label: VisibleLabel | None = None


class AssetLost(EventBase):
    """A file is no longer available."""

    type: ClassVar[str] = "asset.lost"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    variant: Variant
    cause: Literal["expired", "gone", "deleted", "damaged"]


class CostSettled(EventBase):
    """The cost: as reported by the server, or the estimate, marked as such."""

    type: ClassVar[str] = "cost.settled"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    cost_usd_micros: Micros
    basis: Literal["reported", "estimated"]
    settled_by: str
    difference_usd_micros: int


class VideoDeleted(EventBase):
    """The server confirmed that the video is deleted."""

    type: ClassVar[str] = "video.deleted"
    kind: ClassVar[Kind] = Kind.ACTION
    video_id: str
    answer: Literal["deleted", "not_found"]
    why: Private | None = None
    provider_request_id: str | None = None


class RenderAbandoned(EventBase):
    """A person abandoned a render that the server never finished, or whose file never arrived."""

    type: ClassVar[str] = "render.abandoned"
    kind: ClassVar[Kind] = Kind.ACTION
    why: Private


class RenderAdopted(EventBase):
    """A video made by another tool was adopted; `server` is the base URL where it was found."""

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
    """A character was uploaded to a server, for `team` if its owner has one. Version 1 had no `team`."""

    type: ClassVar[str] = "character.created"
    schema_version: ClassVar[int] = 2
    kind: ClassVar[Kind] = Kind.OBSERVATION
    profile: ProfileName
    character_id: str
    name: Private
    source_sha256: Sha256Hex
    team: Name | None = None


class OutputAttached(EventBase):
    """An output was attached to a downstream workflow."""

    type: ClassVar[str] = "output.attached"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    workflow: str
    uri: str


class ExternalRecorded(EventBase):
    """A fact from another system, in its own stream, with the field names of the Bickford integration."""

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


class TimedNote(Part):
    """A note about one moment of a clip."""

    at_ms: Annotated[int, Meta(ge=0, lt=2**53)]
    text: Private


class ReviewRecorded(EventBase):
    """A person reviewed the result; scores are 0 to 100. Version 1 had no `timed_notes`."""

    type: ClassVar[str] = "review.recorded"
    schema_version: ClassVar[int] = 2
    kind: ClassVar[Kind] = Kind.OBSERVATION
    verdict: Literal["approved", "changes_requested", "rejected"]
    scores: dict[Name, int] = field(default_factory=dict)
    notes: Private | None = None
    timed_notes: tuple[TimedNote, ...] = ()


class NoteRecorded(EventBase):
    """A person's note about a job, such as why an attempt was declared absent."""

    type: ClassVar[str] = "note.recorded"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    text: Private


class ShareCreated(EventBase):
    """Everyone with the link `share_id` may see the job's video, or its bundle, until `expires_at`."""

    type: ClassVar[str] = "share.created"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    share_id: str
    of: Literal["video", "bundle"]
    expires_at: str


class ShareRevoked(EventBase):
    """The link `share_id` of the job was revoked."""

    type: ClassVar[str] = "share.revoked"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    share_id: str


# --- Webhooks to clients -------------------------------------------------------------------------------


class EndpointCreated(EventBase):
    """A client registered a receiver of webhooks, in the stream ``endpoints``.

    It receives what the record's actor may see with a key of `team`. `signing_secret` is shown only once,
    when it is created.
    """

    type: ClassVar[str] = "endpoint.created"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    endpoint_id: str
    name: Private
    url: Private
    event_types: tuple[str, ...]
    team: str | None = None
    signing_secret: Private


class EndpointUpdated(EventBase):
    """An endpoint was changed; null fields are unchanged."""

    type: ClassVar[str] = "endpoint.updated"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    endpoint_id: str
    name: Private | None = None
    url: Private | None = None
    event_types: tuple[str, ...] | None = None


class EndpointSecretRotated(EventBase):
    """An endpoint has a new secret; until `old_secret_until` the previous one signs as well."""

    type: ClassVar[str] = "endpoint.secret_rotated"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    endpoint_id: str
    signing_secret: Private
    old_secret_until: str | None = None


class EndpointDeleted(EventBase):
    """An endpoint was deleted and receives nothing more; its private text is erased in the same append."""

    type: ClassVar[str] = "endpoint.deleted"
    kind: ClassVar[Kind] = Kind.STRUCTURE_UPDATE
    endpoint_id: str


class NotificationSent(EventBase):
    """An endpoint accepted a webhook about a job; recorded in the stream of the endpoint, once."""

    type: ClassVar[str] = "notification.sent"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    endpoint_id: str
    delivery_id: str
    webhook_event_id: str
    webhook_type: str
    job_id: str
    attempts: int
    http_status: int


class NotificationFailed(EventBase):
    """A webhook was given up; it can be resent. `http_status` is the last answer, if there was one."""

    type: ClassVar[str] = "notification.failed"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    endpoint_id: str
    delivery_id: str
    webhook_event_id: str
    webhook_type: str
    job_id: str
    attempts: int
    cause: Literal["not_accepted", "erased", "not_permitted"]
    http_status: int | None = None


class NotificationResent(EventBase):
    """A person had a dead webhook resent; recorded before it is due again."""

    type: ClassVar[str] = "notification.resent"
    kind: ClassVar[Kind] = Kind.ACTION
    endpoint_id: str
    delivery_id: str


# --- Checks of the record ------------------------------------------------------------------------------


class LedgerVerified(EventBase):
    """The records up to `size` were verified in full and found intact; recorded in the stream ``checks``.

    `files` stored files were checked too, and a checkpoint of `extends` records; None if that was not
    requested. A verification with findings records nothing: the ledger stays as it was found.
    """

    type: ClassVar[str] = "ledger.verified"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    size: int
    root: Sha256Hex
    jobs: int
    files: int | None = None
    extends: int | None = None


class ProjectionRecorded(EventBase):
    """The digest of all job rows at `position`; recorded in the stream ``projection``.

    `row_form` is the version of the row format, since newer software may put more into a row.
    `ledger.log.projection` describes how the digest is computed.
    """

    type: ClassVar[str] = "projection.recorded"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    position: int
    jobs: int
    digest: Sha256Hex
    row_form: int


class CheckpointPublished(EventBase):
    """A checkpoint of the first `size` records was published at `target`; recorded in the stream ``checks``.

    `signed_by` lists the keys it was signed with, `cosigned_by` the keys of the other signatures on it.
    """

    type: ClassVar[str] = "checkpoint.published"
    kind: ClassVar[Kind] = Kind.ACTION
    size: int
    root: Sha256Hex
    target: Private
    signed_by: tuple[str, ...]
    cosigned_by: tuple[str, ...]


class Cosignature(Part):
    """A witness signed a checkpoint: its name in the policy, its verifier key, and the time it states."""

    witness: str
    key: str
    cosigned_at: str


class CheckpointWitnessed(EventBase):
    """Enough witnesses cosigned a checkpoint of the first `size` records; recorded in the stream ``checks``.

    `witnesses_sha256` is the digest of the policy file that defines the quorum. `checkpoint` is the signed
    checkpoint with the cosignatures, as it was published.
    """

    type: ClassVar[str] = "checkpoint.witnessed"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    size: int
    root: Sha256Hex
    witnesses_sha256: Sha256Hex
    cosignatures: tuple[Cosignature, ...]
    checkpoint: str


class CheckpointTimestamped(EventBase):
    """A time-stamping authority dated a checkpoint (RFC 3161); recorded in the stream ``checks``.

    `checkpoint_sha256` is the stamped digest of the checkpoint with its signatures; `authority` is the
    subject of the certificate that signed; `token` is the ``.tsr`` file in base64.
    """

    type: ClassVar[str] = "checkpoint.timestamped"
    kind: ClassVar[Kind] = Kind.OBSERVATION
    size: int
    root: Sha256Hex
    checkpoint_sha256: Sha256Hex
    stamped_at: str
    authority: Private
    token: str


class RenderClosed(EventBase):
    """The job is closed: outcome, duration, cost."""

    type: ClassVar[str] = "render.closed"
    kind: ClassVar[Kind] = Kind.SESSION_COMPLETION
    outcome: Outcome
    duration_ms: int
    cost_usd_micros: Micros


Ruling = RenderDecided | RenderDenied
"""The result of a decision: allowed or denied."""

Considered = Ruling | RenderHeld
"""The result of considering a request: allowed, denied, or held for approval."""

AnswerEvent = ApprovalGranted | ApprovalRefused
"""A person's answer to a held request or a proposed change."""

Event = (
    LedgerCreated
    | PolicyActivated
    | BudgetSet
    | AccessGranted
    | AccessRevoked
    | AccessUsed
    | SessionBegan
    | SessionEnded
    | PrivateErased
    | RenderRequested
    | SplitPlanned
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
    | ProvenanceObserved
    | ProvenanceSigned
    | AssetPublished
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
    | ShareCreated
    | ShareRevoked
    | EndpointCreated
    | EndpointUpdated
    | EndpointSecretRotated
    | EndpointDeleted
    | NotificationSent
    | NotificationFailed
    | NotificationResent
    | LedgerVerified
    | ProjectionRecorded
    | CheckpointPublished
    | CheckpointTimestamped
    | CheckpointWitnessed
    | RenderClosed
)


def _index_by_type(union: UnionType) -> Mapping[str, type[EventBase]]:
    return {member.type: member for member in get_args(union)}


EVENT_TYPES = _index_by_type(Event)
