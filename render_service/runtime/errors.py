"""Errors of the service, as a tree; each message ends with the next step.

ServiceError
├── BadInput          the input is unusable: nothing was recorded
│   ├── KeyMissing    the profile needs an API key, and none is set
│   ├── ProfileRetired the server of this profile was switched off
│   ├── WrongServer   the job belongs to another server than the one in use
│   └── RequestKeyTaken this idempotency key was used for another request
├── NotAuthenticated  no access key, or not a valid one
├── ProviderUnavailable the identity provider does not answer, so nobody can be identified by it
├── NotPermitted      the caller's roles, or the limits of their key, do not permit this
├── TooManyRequests   the key permits no further request or job at the moment
├── SessionCeiling    an agent's session may not spend as much; nothing was recorded
├── BudgetGone        a budget does not allow another attempt; nothing was sent
├── NotReady          the job is not in a state that allows this
│   ├── NotApproved   it is pending approval
│   ├── NotMarked     the policy wants it marked as made by AI before it is published
│   └── ChangedSinceShown it is no longer what the person who answers was shown
├── MayBeOurs         a video may be what an open submission created: settle that first
├── AnswerSpooled     the ledger cannot record an answer, which is in a file; also a `LedgerUnusable`
├── AnsweredTooLate   the attempt was settled otherwise while its answer was on the way
├── AssetUnusable     the downloaded bytes are not the expected file; the job can be settled again
├── NotIntact         the ledger is damaged and cannot prove what was asked
│   └── LogDisputed   a log contradicts what it showed or signed before
├── NotStamped        a time-stamping authority did not date a checkpoint
├── NotWitnessed      too few witnesses cosigned a checkpoint: it was not published
├── LogUnreachable    a log that is followed cannot be read at the moment
└── StorageFailed     a file could not be written or read; no partial file stays
    ├── NotAsStored   the bytes of a stored file are not the recorded ones
    └── PlaceTaken    the files there are another ledger's
"""

from typing import ClassVar, Unpack

from ledger.errors import Facts, LedgerUnusable, Retry, SoraLedgerError


class ServiceError(SoraLedgerError):
    """Base class of the errors raised by the service."""


class BadInput(ServiceError):
    """The input cannot be used."""


class WrongPerson(BadInput):
    """This person may not do that; `on_page` says why without naming options of commands."""

    def __init__(self, words: str, on_page: str, *, found: str) -> None:
        super().__init__(words, param="actor", expected="a person who may do this", found=found)
        self.on_page = on_page


class KeyMissing(BadInput):
    """An API key is needed and none is set."""


class ProfileRetired(BadInput):
    """The server behind the profile no longer exists."""


class WrongServer(BadInput):
    """The job belongs to `server`, but another one is in use: nothing was sent."""

    def __init__(self, message: str, *, server: str, in_use: str | None = None) -> None:
        super().__init__(message, param="OPENAI_BASE_URL", expected=server, found=in_use or "nothing")
        self.server = server


class RequestKeyTaken(BadInput):
    """The idempotency key was used for another request."""


class NotAuthenticated(ServiceError):
    """The request carries no access key, or one that is malformed, unknown, revoked or expired."""


class ProviderUnavailable(ServiceError):
    """The identity provider does not answer; the caller may try again."""

    retry: ClassVar[Retry] = "same_key"


class NotPermitted(ServiceError):
    """The caller is known and may not do this; nothing was recorded."""


class TooManyRequests(ServiceError):
    """A limit of the access key is reached; the caller may try again after `retry_after_s`."""

    retry: ClassVar[Retry] = "after_s"
    retry_after_s: float

    def __init__(self, message: str, *, retry_after_s: float, **facts: Unpack[Facts]) -> None:
        super().__init__(message, **facts)
        self.retry_after_s = retry_after_s


class SessionCeiling(ServiceError):
    """The policy does not let the session of an agent spend as much; nothing was recorded."""


class BudgetGone(ServiceError):
    """Another render has since taken the money of a failed attempt."""


class NotReady(ServiceError):
    """The job has no video, not yet, or no longer."""


class NotApproved(NotReady):
    """The job is pending approval."""


class NotMarked(NotReady):
    """The policy wants a valid C2PA manifest in what is published."""


class ChangedSinceShown(NotReady):
    """A request or its rules changed after it was shown to the person who answers; nothing was recorded."""


class MayBeOurs(ServiceError):
    """A video that was to be adopted may be what the submission of `job_id` created."""

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(
            message, param="video_id", expected="a video that no open job may have", found=f"one of {job_id}"
        )
        self.job_id = job_id


class NeedsApproval(NotReady):
    """The policy requires another person to approve this change first."""


class AnswerSpooled(LedgerUnusable, ServiceError):
    """An answer arrived that the ledger cannot record; the message says where it is and what to run."""

    retry: ClassVar[Retry] = "never"


class AnsweredTooLate(ServiceError):
    """An answer arrived after its attempt had been settled otherwise."""

    expected = "an attempt that waits for its answer"
    found = "one that is settled"


class AssetUnusable(ServiceError):
    """The downloaded bytes are not what the server said they are."""

    quotes_server = True  # so that no log repeats it (`sora_adapter.errors.loggable`)


class NotIntact(ServiceError):
    """The ledger cannot prove what was asked: it was changed after it was recorded."""

    expected = "records as they were recorded"
    found = "changed ones"


class NotStamped(ServiceError):
    """A timestamp was refused, is not one, or does not count; the message says why."""


class NotWitnessed(ServiceError):
    """Too few witnesses cosigned a checkpoint; the message says who answered what."""

    retry: ClassVar[Retry] = "same_key"


class LogDisputed(NotIntact):
    """A log does not extend what it showed before, or does not show what it signed; `kind` says which."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message, param="log", expected="a log that extends what it showed", found=kind)
        self.kind = kind


class LogUnreachable(ServiceError):
    """A log cannot be read at its place, or not now; nothing was changed."""

    expected = "a log that can be read"
    found = "one that cannot be at the moment"

    retry: ClassVar[Retry] = "same_key"


class StorageFailed(ServiceError):
    """Asset storage could not be written or read."""


class NotAsStored(StorageFailed):
    """The bytes of a stored file are not those that were recorded."""


class PlaceTaken(StorageFailed):
    """The place for files belongs to another ledger, or may belong to one."""
