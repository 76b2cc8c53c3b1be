"""An event in a few words, for lists of records."""

from msgspec import structs

from decision.money import format_usd
from ledger.events import (
    AccessGranted,
    ApprovalGranted,
    ApprovalRefused,
    AssetLost,
    AssetPublished,
    AssetStored,
    CheckpointPublished,
    CheckpointTimestamped,
    CheckpointWitnessed,
    CostSettled,
    DecisionOverridden,
    DenialTrace,
    EndpointSecretRotated,
    ErrorDetail,
    Event,
    ExternalRecorded,
    LedgerCreated,
    LedgerVerified,
    NotificationFailed,
    NotificationSent,
    PrivateErased,
    ProjectionRecorded,
    ProvenanceObserved,
    ProvenanceSigned,
    RenderAdopted,
    RenderClosed,
    RenderDecided,
    RenderDenied,
    RenderHeld,
    RenderRequested,
    ReviewRecorded,
    SessionBegan,
    SessionEnded,
    ShareCreated,
    SplitPlanned,
    StatusObserved,
    SubmissionAbsent,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRejected,
    SubmissionSpooled,
    SubmissionUnknown,
    VideoDeleted,
)
from ledger.private import Private
from render_service.access.register import words_of
from render_service.provenance.words import describe_observed, describe_published, describe_signed
from render_service.runtime.documents import format_count
from render_service.runtime.printable import shorten


def what(event: Event) -> str:  # noqa: C901, PLR0911, PLR0912  # one arm per event
    """Return a summary of an event in a few words."""
    match event:
        case LedgerCreated():
            return str(event.origin)
        case RenderRequested():
            return _describe_requested(event)
        case RenderDecided():
            reasons = ", ".join(event.reason_codes)
            return f"{event.model}, {format_usd(event.cost_usd_micros)} reserved ({reasons})"
        case RenderDenied():
            return _describe_denied(event.denial_trace)
        case RenderHeld():
            return _describe_held(event)
        case SplitPlanned():
            return _describe_planned(event)
        case ApprovalGranted() | ApprovalRefused():
            return _describe_answered(event)
        case DecisionOverridden():
            return f"{event.detail_code} until {event.expires_at[:16]}Z: “{shorten(event.why.text)}”"
        case SessionBegan() | SessionEnded():
            return f"signed {'in to' if isinstance(event, SessionBegan) else 'out of'} the console"
        case AccessGranted():
            return words_of(event)
        case SubmissionIntended():
            return f"to {event.server} as {event.model}"
        case SubmissionRejected():
            return describe_error(event.error)
        case SubmissionUnknown():
            error = f" ({describe_error(event.error)})" if event.error else ""
            return f"the answer was lost: {event.lost}{error}"
        case SubmissionSpooled():
            return _describe_spooled(event)
        case SubmissionAbsent():
            return f"nothing was created: {event.how}"
        case StatusObserved():
            return _describe_observed(event)
        case AssetStored():
            return _describe_stored(event)
        case ProvenanceObserved() | ProvenanceSigned() | AssetPublished():
            return _origin(event)
        case CostSettled():
            return f"{format_usd(event.cost_usd_micros)} ({event.basis})"
        case RenderClosed():
            return _describe_closed(event)
        case ReviewRecorded():
            return _describe_reviewed(event)
        case ShareCreated():
            return f"{event.share_id} to the {event.of} until {event.expires_at[:16]}Z"
        case VideoDeleted():
            return f"{event.video_id}: {event.answer}"
        case PrivateErased():
            return f"{format_count(len(event.commitments), 'text')} ({event.reason_code})"
        case AssetLost():
            return f"{event.variant}: {event.cause}"
        case EndpointSecretRotated():
            return _describe_rotated(event)
        case NotificationSent():
            return f"{event.webhook_type} about {event.job_id}: HTTP {event.http_status}"
        case NotificationFailed():
            return _describe_given_up(event)
        case ProjectionRecorded():
            return f"{format_count(event.jobs, 'job')} as of position {event.position}"
        case LedgerVerified() | CheckpointPublished() | CheckpointWitnessed() | CheckpointTimestamped():
            return _describe_checked(event)
        case SubmissionAccepted() | RenderAdopted() | ExternalRecorded():
            return f"{event.video_id} {event.status}"
        case _:
            return _fields(event)


def _describe_requested(event: RenderRequested) -> str:
    words = f"{event.operation} {event.size} {event.seconds} s for {event.purpose}"
    return f"{words}: “{shorten(event.prompt.text)}”"


def _describe_held(event: RenderHeld) -> str:
    people = format_count(event.approvals_needed, "person", "people")
    return f"needs {people} ({', '.join(event.reason_codes)})"


def _describe_answered(event: ApprovalGranted | ApprovalRefused) -> str:
    comment = f"“{shorten(event.comment.text)}”" if event.comment else "without a comment"
    return f"{comment}, signed with key {event.key_id}" if event.key_id else comment


def _fields(event: Event) -> str:
    named = structs.asdict(event).items()
    return ", ".join(f"{name} {_plain(value)}" for name, value in named if value not in (None, (), {}))


def _describe_checked(
    event: LedgerVerified | CheckpointPublished | CheckpointWitnessed | CheckpointTimestamped,
) -> str:
    if isinstance(event, LedgerVerified):
        return f"{format_count(event.size, 'record')} intact"
    if isinstance(event, CheckpointTimestamped):
        authority = shorten(event.authority.text)
        return f"{format_count(event.size, 'record')}, dated {event.stamped_at} by {authority}"
    if isinstance(event, CheckpointWitnessed):
        by = ", ".join(cosignature.witness for cosignature in event.cosignatures) or "nobody"
        return f"{format_count(event.size, 'record')}, cosigned by {by}"
    names = ", ".join((*event.signed_by, *event.cosigned_by))
    signed = f"signed by {names}" if names else "not signed"
    return f"{format_count(event.size, 'record')} to {shorten(event.target.text)}, {signed}"


def _origin(event: ProvenanceObserved | ProvenanceSigned | AssetPublished) -> str:
    if isinstance(event, ProvenanceObserved):
        return describe_observed(event)
    return describe_signed(event) if isinstance(event, ProvenanceSigned) else describe_published(event)


def _describe_planned(event: SplitPlanned) -> str:
    place = f"remix {event.number} of {event.number + len(event.rest)} of a split"
    rest = ", ".join(f"“{shorten(remix.prompt.text)}”" for remix in event.rest)
    return f"{place}, then {rest}" if rest else place


def _describe_closed(event: RenderClosed) -> str:
    cost = format_usd(event.cost_usd_micros)
    return f"{event.outcome} after {event.duration_ms / 1000:.1f} s, {cost}"


def _describe_rotated(event: EndpointSecretRotated) -> str:
    until = event.old_secret_until
    return f"{event.endpoint_id}, " + (f"the old one until {until[:16]}Z" if until else "at once")


def _describe_denied(trace: DenialTrace) -> str:
    return f"{trace.code} {trace.detail_code} ({trace.failed_invariant})"


def _describe_observed(event: StatusObserved) -> str:
    progress = "" if event.progress is None else f" {event.progress} %"
    return f"{event.status}{progress}" + (f": {describe_error(event.error)}" if event.error else "")


def _describe_reviewed(event: ReviewRecorded) -> str:
    scores = "".join(f", {name} {score}" for name, score in event.scores.items())
    notes = f": “{shorten(event.notes.text)}”" if event.notes else ""
    timed = "".join(f"; {note.at_ms / 1000:g} s “{shorten(note.text.text)}”" for note in event.timed_notes)
    return f"{event.verdict}{scores}{notes}{timed}"


def _describe_given_up(event: NotificationFailed) -> str:
    answer = f", HTTP {event.http_status}" if event.http_status else ""
    tries = format_count(event.attempts, "attempt")
    return f"{event.webhook_type} about {event.job_id}: {event.cause} after {tries}{answer}"


def _describe_spooled(event: SubmissionSpooled) -> str:
    what_came = event.outcome.removeprefix("submission.") + (f" {event.video_id}" if event.video_id else "")
    end = "recorded" if event.applied else "not recorded: the attempt was settled meanwhile"
    return f"{what_came}, kept in a file since {event.spooled_at[:19]}Z: {end}"


def _describe_stored(event: AssetStored) -> str:
    probe = event.probe
    shape = f"{probe.width}x{probe.height}" if probe else ""
    length = f" {probe.duration_ms / 1000:g} s" if probe and probe.duration_ms else ""
    off = (
        f" MISMATCH {', '.join(mismatch.field for mismatch in event.mismatches)}" if event.mismatches else ""
    )
    return f"{event.variant} {shape}{length}, {event.bytes:,} bytes, sha256 {event.sha256[:12]}…{off}"


def _plain(value: object) -> str:
    if isinstance(value, Private):
        return "[secret]" if value.body and value.body.is_secret else f"“{shorten(value.text)}”"
    return shorten(str(value), 40)


def describe_error(error: ErrorDetail) -> str:
    """Return a server's error in one line."""
    parts = [f"HTTP {error.http_status}" if error.http_status else None, error.code or error.type]
    message = shorten(error.message.text, 200) if error.message else None
    return ": ".join(part for part in (" ".join(part for part in parts if part), message) if part)
