"""What the service refuses or cannot do, drawn as a tree; each message ends with the next step.

ServiceError
├── BadInput          what was given cannot be used: nothing was recorded
│   ├── KeyMissing    the profile needs an API key, and none is set
│   ├── ProfileRetired the server of this profile was switched off
│   ├── WrongServer   the job belongs to another server than the one in use
│   └── RequestKeyTaken another request was made under this key
├── BudgetGone        a budget does not allow another attempt; nothing was sent
├── NotReady          the job is not where this can be done
│   └── NotApproved   it waits for the approval of a person
├── MayBeOurs         a video may be what an open submission created: that has to be settled first
├── AnswerSpooled     the ledger cannot take an answer, which is kept in a file; also a `LedgerUnusable`
├── AnsweredTooLate   the attempt was settled otherwise while its answer was on the way
├── AssetUnusable     the bytes that came are not the file that was promised; the job can be settled again
├── NotIntact         the ledger is damaged where it should prove something
└── StorageFailed     a file could not be written; nothing half-written stays
    └── PlaceTaken    the files there are another ledger's
"""

from ledger.errors import LedgerUnusable


class ServiceError(Exception):
    """Whatever the service raises on purpose."""


class BadInput(ServiceError):
    """Something that was given cannot be used."""


class KeyMissing(BadInput):
    """No API key where one is needed."""


class ProfileRetired(BadInput):
    """The server behind the profile no longer exists."""


class WrongServer(BadInput):
    """The job belongs to `server`, and another one is in use: nothing was sent."""

    def __init__(self, message: str, *, server: str) -> None:
        super().__init__(message)
        self.server = server


class RequestKeyTaken(BadInput):
    """The request key stands for another request."""


class BudgetGone(ServiceError):
    """The money of an attempt that came to nothing has gone to another render since."""


class NotReady(ServiceError):
    """The job has no video, or not yet, or no longer."""


class NotApproved(NotReady):
    """The job is held for approval."""


class MayBeOurs(ServiceError):
    """A video that was to be adopted may be what the submission of `job_id` created."""

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class NeedsApproval(NotReady):
    """The policy wants this change approved by another person first."""


class AnswerSpooled(LedgerUnusable, ServiceError):
    """An answer came that the ledger cannot record; the message says where it is kept, and what to run."""


class AnsweredTooLate(ServiceError):
    """An answer came after the attempt had been settled otherwise."""


class AssetUnusable(ServiceError):
    """The downloaded bytes are not what the server said they are."""

    quotes_server = True  # so that no log repeats it (`sora_adapter.errors.loggable`)


class NotIntact(ServiceError):
    """The ledger cannot prove what was asked: it is not as it was recorded."""


class StorageFailed(ServiceError):
    """Asset storage could not be written."""


class PlaceTaken(StorageFailed):
    """The place for files belongs to another ledger, or may belong to one."""
