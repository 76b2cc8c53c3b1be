"""Read the events of a stream by type: the only place where a history is searched.

A stream is read once and sorted by type in one pass; an event is parsed on first use.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Self

from ledger.events import (
    AnswerEvent,
    ApprovalGranted,
    ApprovalRefused,
    AssetLost,
    AssetStored,
    ChangeClosed,
    ChangeProposed,
    Considered,
    DecisionOverridden,
    RenderAbandoned,
    RenderAdopted,
    RenderCancelled,
    RenderDecided,
    RenderDenied,
    RenderHeld,
    RenderRequested,
    RequestSigned,
    SubmissionAbsent,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRecovered,
    SubmissionRejected,
    SubmissionUnknown,
    WebhookMatched,
)
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.record import E, Entry, Record, entries
from ledger.store.filters import RecordFilter
from ledger.terms import Variant
from render_service.session.event_ids import late_claim_id


def prompt_in(ledger: Ledger, job_id: str) -> Private | None:
    """Return the prompt of a job as typed; None if none is known. An erased prompt has no text."""
    return prompt_of(first_of(ledger, job_id))


def first_of(ledger: Ledger, job_id: str) -> Record:
    """Return the first record of a job."""
    return next(ledger.read(RecordFilter(stream=job_id), limit=1))


def prompt_of(first: Record) -> Private | None:
    """Return the prompt in the first record of a job, as `prompt_in` does."""
    event = first.event
    return event.prompt if isinstance(event, RenderRequested | RenderAdopted) else None


OutcomeEvent = SubmissionAccepted | SubmissionRejected | SubmissionUnknown | SubmissionAbsent
ByPeople = AnswerEvent | DecisionOverridden | RenderCancelled | RenderAbandoned


class StreamHistory:
    """The records of a stream that contains a person's request and the answers to it."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = tuple(records)
        self._by_type: defaultdict[str, list[Record]] = defaultdict(list)
        for record in self.records:
            self._by_type[record.type].append(record)

    @classmethod
    def read(cls, ledger: Ledger, stream: str) -> Self:
        """Read the history of `stream`."""
        return cls(ledger.history(stream))

    def all_of(self, kind: type[E]) -> list[Entry[E]]:
        """Return the events of one type, in order."""
        return list(entries(self._by_type.get(kind.type, ()), kind))

    def last_of(self, kind: type[E]) -> Entry[E] | None:
        """Return the last event of one type."""
        return next(entries(reversed(self._by_type.get(kind.type, ())), kind), None)

    @property
    def first(self) -> Record:
        """The first record of the stream."""
        return self.records[0]

    @property
    def version(self) -> int:
        """The version of the stream."""
        return self.records[-1].version

    @property
    def signed_request(self) -> Entry[RequestSigned] | None:
        """The signature of the request, which directly follows it."""
        return next(entries(self.records[1:2], RequestSigned), None)

    @cached_property
    def answers(self) -> list[Entry[AnswerEvent]]:
        """The approvals and rejections, in order."""
        return _merge_in_order(self.all_of(ApprovalGranted), self.all_of(ApprovalRefused))

    def find_waiting_before(self, answer: Record) -> Entry[RenderHeld | ChangeProposed] | None:
        """Return the hold or proposed change that `answer` refers to: the last one before it."""
        waiting: list[Entry[RenderHeld | ChangeProposed]] = _merge_in_order(
            self.all_of(RenderHeld), self.all_of(ChangeProposed)
        )
        return next((entry for entry in reversed(waiting) if entry.record.version < answer.version), None)

    def approvals_since(self, waiting: Record) -> list[Entry[ApprovalGranted]]:
        """Return the approvals recorded after `waiting`, a hold or a proposed change."""
        granted = self.all_of(ApprovalGranted)
        return [approval for approval in granted if approval.record.version > waiting.version]

    @cached_property
    def overrides(self) -> list[Entry[DecisionOverridden]]:
        """The overrides of denials, in order."""
        return self.all_of(DecisionOverridden)

    @cached_property
    def by_people(self) -> list[Entry[ByPeople]]:
        """The events by people, in order: answers, overrides, withdrawal, abandonment."""
        return _merge_in_order(
            self.answers,
            self.overrides,
            self.all_of(RenderCancelled),
            self.all_of(RenderAbandoned),
        )


class ChangeHistory(StreamHistory):
    """The records of a proposed change of the policy or of a budget."""

    @property
    def closed(self) -> ChangeClosed | None:
        """The event that closed the change; None while it is pending."""
        closed = self.last_of(ChangeClosed)
        return closed.event if closed else None


class JobHistory(StreamHistory):
    """The records of a job: its request, decisions, attempts, answers and files."""

    @classmethod
    def of(cls, ledger: Ledger, job: Job) -> Self:
        """Read the history of `job`."""
        return cls.read(ledger, job.job_id)

    # --- asked and decided ---

    @cached_property
    def requested(self) -> RenderRequested | None:
        """The request; None for a video made by another tool."""
        requested = self.last_of(RenderRequested)
        return requested.event if requested else None

    @cached_property
    def adopted(self) -> RenderAdopted | None:
        """The adoption of a video made by another tool; None for a request."""
        return self._adoption.event if self._adoption else None

    @cached_property
    def decisions(self) -> list[Entry[Considered]]:
        """The decisions, in order: the first one, and one after each approved hold."""
        return _merge_in_order(self.all_of(RenderDecided), self.all_of(RenderDenied), self.all_of(RenderHeld))

    @property
    def decision(self) -> Entry[Considered] | None:
        """The last decision, which is in force; None for a video made by another tool."""
        return self.decisions[-1] if self.decisions else None

    @property
    def hold(self) -> Entry[RenderHeld] | None:
        """The last hold."""
        return self.last_of(RenderHeld)

    @property
    def approved_until(self) -> str | None:
        """The earliest expiry among the approvals of the last hold; None if none expires."""
        approvals = self.approvals_since(self.hold.record) if self.hold else []
        ends = (approval.event.expires_at for approval in approvals)
        return min((end for end in ends if end is not None), default=None)

    def list_lapsed_overrides(self, now: datetime) -> list[str]:
        """Return the denials whose override has expired."""
        overrides = (entry.event for entry in self.overrides)
        return [
            override.detail_code
            for override in overrides
            if datetime.fromisoformat(override.expires_at) <= now
        ]

    # --- attempted ---

    @property
    def intent(self) -> Entry[SubmissionIntended] | None:
        """The intent of the last attempt."""
        return self.last_of(SubmissionIntended)

    @cached_property
    def outcomes(self) -> list[Entry[OutcomeEvent]]:
        """The outcomes of the attempts, in the order of their records."""
        return _merge_in_order(
            self.all_of(SubmissionAccepted),
            self.all_of(SubmissionRejected),
            self.all_of(SubmissionUnknown),
            self.all_of(SubmissionAbsent),
        )

    @property
    def outcome(self) -> Entry[OutcomeEvent] | None:
        """The outcome of the last attempt; None if there was no attempt, or it is unanswered."""
        last = self.outcomes[-1] if self.outcomes else None
        return last if last and self._is_of_last_attempt(last.record) else None

    @property
    def lost(self) -> Entry[SubmissionUnknown] | None:
        """The event that gave up the answer to the last attempt, regardless of later findings."""
        lost = self.last_of(SubmissionUnknown)
        return lost if lost and self._is_of_last_attempt(lost.record) else None

    @cached_property
    def claims(self) -> list[Entry[SubmissionAccepted | SubmissionRecovered]]:
        """The events that gave the job a video it had requested: an answer, or the recovery of a lost one."""
        return _merge_in_order(self.all_of(SubmissionAccepted), self.all_of(SubmissionRecovered))

    @property
    def got_anothers_late(self) -> bool:
        """Whether the last attempt, once it was lost, was answered with a video of another job."""
        note = late_claim_id(self.intent.event.attempt_id) if self.intent else None
        return any(record.event_id == note for record in self.records)

    def _is_of_last_attempt(self, record: Record) -> bool:
        return self.intent is None or record.version > self.intent.record.version

    @property
    def server(self) -> str | None:
        """The base URL of its server: of the last attempt, or of the adoption."""
        return self._began.event.server if self._began else None

    @property
    def began_at(self) -> str | None:
        """When the render was last requested, or its video adopted."""
        return self._began.record.recorded_at if self._began else None

    @property
    def _began(self) -> Entry[SubmissionIntended] | Entry[RenderAdopted] | None:
        return self.intent or self._adoption

    @property
    def _adoption(self) -> Entry[RenderAdopted] | None:
        return self.last_of(RenderAdopted)

    # --- learnt about its video ---

    @property
    def matched_webhooks(self) -> set[str]:
        """The ids of the webhook events matched to the job."""
        return {entry.event.webhook_event_id for entry in self.all_of(WebhookMatched)}

    @property
    def lost_variants(self) -> set[Variant]:
        """The files that are no longer stored here and were not stored again."""
        files: list[Entry[AssetLost | AssetStored]] = _merge_in_order(
            self.all_of(AssetLost), self.all_of(AssetStored)
        )
        is_lost = {entry.event.variant: entry.event.type == AssetLost.type for entry in files}
        return {variant for variant, lost in is_lost.items() if lost}


def _merge_in_order(*kinds: Sequence[Entry[E]]) -> list[Entry[E]]:
    """Merge events of several types in stream order."""
    return sorted((entry for kind in kinds for entry in kind), key=lambda entry: entry.record.version)
