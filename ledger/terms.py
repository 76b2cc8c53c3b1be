"""The closed sets of words that events and jobs use.

They are separate from the event models, which take longer to load than a command that reads one job runs.
"""

from enum import StrEnum


class Kind(StrEnum):
    """The kind of an event for reviewers; the grouping is Bickford's."""

    INTENT = "INTENT"
    PLAN = "PLAN"
    DENY = "DENY"
    ACTION = "ACTION"
    OBSERVATION = "OBSERVATION"
    STRUCTURE_UPDATE = "STRUCTURE_UPDATE"
    SESSION_COMPLETION = "SESSION_COMPLETION"


class Operation(StrEnum):
    """An operation of a server that costs money."""

    CREATE = "create"
    REMIX = "remix"
    EDIT = "edit"
    EXTEND = "extend"


class Status(StrEnum):
    """The status of a video in the words of the Videos API; a profile maps other servers' words to these."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


UNDER_WAY = (Status.QUEUED, Status.IN_PROGRESS)
"""Statuses of a video that is still being rendered."""


class State(StrEnum):
    """The state of a job."""

    REQUESTED = "requested"
    HELD = "held"
    APPROVED = "approved"
    REFUSED = "refused"
    DENIED = "denied"
    DECIDED = "decided"
    SUBMITTING = "submitting"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    ABSENT = "absent"
    RUNNING = "running"
    COMPLETED = "completed"
    STORED = "stored"
    FAILED = "failed"
    LOST = "lost"
    ABANDONED = "abandoned"
    CANCELLED = "cancelled"
    DELETED = "deleted"


class Variant(StrEnum):
    """A downloadable file of a completed video."""

    VIDEO = "video"
    THUMBNAIL = "thumbnail"
    SPRITESHEET = "spritesheet"


class Outcome(StrEnum):
    """The outcome of a job."""

    STORED = "stored"
    FAILED = "failed"
    DENIED = "denied"
    REFUSED = "refused"
    REJECTED = "rejected"
    ABSENT = "absent"
    CANCELLED = "cancelled"
    LOST = "lost"
    ABANDONED = "abandoned"


class DenialCode(StrEnum):
    """The seven denial codes of Bickford, unchanged; ``detail_code`` refines them."""

    MISSING_CANON_PREREQS = "MISSING_CANON_PREREQS"
    INVARIANT_VIOLATION = "INVARIANT_VIOLATION"
    NON_INTERFERENCE_VIOLATION = "NON_INTERFERENCE_VIOLATION"
    AUTHORITY_BOUNDARY_FAIL = "AUTHORITY_BOUNDARY_FAIL"
    RISK_BOUND_EXCEEDED = "RISK_BOUND_EXCEEDED"
    COST_BOUND_EXCEEDED = "COST_BOUND_EXCEEDED"
    SUCCESS_PROB_TOO_LOW = "SUCCESS_PROB_TOO_LOW"
