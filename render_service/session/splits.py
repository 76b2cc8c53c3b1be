"""Progress of a split: remixes that are requested one by one, each once the previous one is stored.

The remixes to follow are recorded with each remix (``split.planned``), so a ledger alone shows where a split
continues. The request key of a remix consists of the key of the split and its number, and a retry's id is
derived from the retried job, so that two processes cannot request the same remix twice, and a reader can
follow a split from any of its jobs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from ledger.events import PlannedRemix, PrivateErased, SplitPlanned
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private import Private, private_values
from ledger.record import entries
from ledger.store.filters import RecordFilter
from ledger.store.interface import AnyVersion, Batch
from ledger.terms import Operation, State
from render_service.session.event_ids import request_id, retry_key
from render_service.session.jobs import RETRYABLE

if TYPE_CHECKING:
    from render_service.session.session import Session

MOVED = "requested"
"""Reason for deleting planned prompts: the job requested with them now has them."""

WITHDRAWN = "withdrawn"

SOURCE_DELETED = "SOURCE_DELETED"
"""The denial of a remix whose source is gone, which no retry can change."""


class Progress(StrEnum):
    """The states of a split: see `SplitStanding.sentence`."""

    DONE = "done"
    READY = "ready"
    UNDER_WAY = "under_way"
    HELD = "held"
    STOPPED = "stopped"
    WITHDRAWN = "withdrawn"


_UNDER_WAY = (State.REQUESTED, State.DECIDED, State.SUBMITTING, State.UNKNOWN, State.RUNNING, State.COMPLETED)


def step_key(split_key: str, number: int) -> str:
    """Return the request key of one remix of a split."""
    return f"{split_key}/{number}"


def plan_split(split_key: str, number: int, rest: Sequence[tuple[str, str | None]]) -> SplitPlanned:
    """Return the event that plans the `rest`, prompts with their declared change, after remix `number`."""
    return SplitPlanned(
        split_key=split_key,
        number=number,
        rest=tuple(
            PlannedRemix(prompt=Private.seal(f"rest.{index}.prompt", prompt), declared_change=declared)
            for index, (prompt, declared) in enumerate(rest)
        ),
    )


def deletion(
    session: "Session", stream: str, plan: SplitPlanned, why: str, version: int | AnyVersion
) -> list[Batch]:
    """Return the deletion of the remaining planned prompts in `stream`, if it is at `version`."""
    left = tuple(text.commitment for _, text in private_values(plan) if text.text is not None)
    if not left:
        return []
    erased = PrivateErased(commitments=left, reason_code=why)
    return [Batch(stream, version, [session.draft(erased)])]


def is_withdrawn(plan: SplitPlanned) -> bool:
    """Return whether prompts of the planned remixes were erased."""
    return any(remix.prompt.text is None for remix in plan.rest)


@dataclass(frozen=True)
class SplitProgress:
    """Where a split is: remix `number` of `total` is `job_id`, in `state`; `remaining` were not requested.

    `next` is the command that continues it, None if it continues by itself, is over, or cannot continue.
    `taken_key` is the request key of the next remix if a request outside the split has it.
    """

    progress: Progress
    number: int
    total: int
    remaining: int
    job_id: str
    state: State
    next: str | None = None
    taken_key: str | None = None

    @property
    def sentence(self) -> str:
        """Return the state in one line."""
        place = f"remix {self.number} of {self.total}"
        match self.progress:
            case Progress.DONE:
                return f"all {self.total} remixes are stored"
            case Progress.READY:
                return f"{place} is stored; a worker requests the next one: {self.next}"
            case Progress.UNDER_WAY:
                then = "; the rest follows by itself" if self.remaining else ""
                return f"{place} is {self.state} ({self.job_id}){then}"
            case Progress.HELD:
                return f"{place} is pending approval ({self.job_id}); once approved, the split continues"
            case Progress.WITHDRAWN:
                return f"ended after {place}: the prompts of the others were withdrawn or erased"
            case Progress.STOPPED:
                stopped = f"stopped at {place}, which is {self.state}"
                if self.taken_key:
                    stopped += f", because another request has the key {self.taken_key} of the next one"
                return (
                    f"{stopped}; to continue: {self.next}"
                    if self.next
                    else f"{stopped}: its source is deleted"
                )

    def document(self) -> dict[str, Any]:
        """Return the state as JSON."""
        return asdict(self)


def plan_of(ledger: Ledger, job: Job) -> SplitPlanned | None:
    """Return the plan of the remixes after `job`; None if it is not part of a queued split."""
    if job.operation is not Operation.REMIX:
        return None
    found = ledger.read(RecordFilter(stream=job.job_id, type=SplitPlanned.type), limit=1)
    return next((entry.event for entry in entries(found, SplitPlanned)), None)


def follower_of(ledger: Ledger, job: Job, plan: SplitPlanned) -> Job | None:
    """Return the job that follows `job` in its split: its retry, or the next remix; None if there is none."""
    following = _find_under_next_key(ledger, job, plan)
    return following if following and _continues(ledger, following, job, plan) else None


def find_taken_key(ledger: Ledger, job: Job, plan: SplitPlanned) -> str | None:
    """Return the request key of the next remix if a request outside the split has it, else None."""
    following = _find_under_next_key(ledger, job, plan)
    is_taken = following is not None and not _continues(ledger, following, job, plan)
    return _next_key(job, plan) if is_taken else None


def _next_key(job: Job, plan: SplitPlanned) -> str:
    is_over = job.state in {State.STORED, State.DELETED}
    return step_key(plan.split_key, plan.number + 1) if is_over else retry_key(job.job_id)


def _find_under_next_key(ledger: Ledger, job: Job, plan: SplitPlanned) -> Job | None:
    record = ledger.event(request_id(_next_key(job, plan)))
    return ledger.store.job(record.stream) if record else None


def _continues(ledger: Ledger, following: Job, job: Job, plan: SplitPlanned) -> bool:
    planned = plan_of(ledger, following)
    is_remix_of_it = following.operation is Operation.REMIX and following.source_job == job.job_id
    return is_remix_of_it or (planned is not None and planned.split_key == plan.split_key)


def find_split_progress(ledger: Ledger, job: Job) -> SplitProgress | None:
    """Return the progress of the split that `job` is part of; None if it is part of none."""
    plan = plan_of(ledger, job)
    if plan is None:
        return None
    while (following := follower_of(ledger, job, plan)) is not None:
        then = plan_of(ledger, following)
        if then is None:
            break
        job, plan = following, then
    return _measure_progress(ledger, job, plan)


def _measure_progress(ledger: Ledger, job: Job, plan: SplitPlanned) -> SplitProgress:
    progress, command = _progress(job, plan), None
    taken = find_taken_key(ledger, job, plan) if progress is Progress.READY else None
    if taken:
        progress, command = (
            Progress.STOPPED,
            f"sora-ledger remix --id {job.job_id} --prompt TEXT --split --queue",
        )
    elif progress is Progress.READY:
        command = "sora-ledger worker"
    elif progress is Progress.HELD:
        command = f"sora-ledger approve {job.job_id}"
    elif progress is Progress.STOPPED and job.detail_code != SOURCE_DELETED:
        command = f"sora-ledger retry {job.job_id}"
        if job.state not in RETRYABLE:
            command = f"sora-ledger remix --id {job.source_job} --prompt TEXT --split --queue"
    return SplitProgress(
        progress=progress,
        number=plan.number,
        total=plan.number + len(plan.rest),
        remaining=len(plan.rest),
        job_id=job.job_id,
        state=job.state,
        next=command,
        taken_key=taken,
    )


def _progress(job: Job, plan: SplitPlanned) -> Progress:
    if is_withdrawn(plan) and job.state not in {State.HELD, State.APPROVED}:
        return Progress.WITHDRAWN
    if job.state is State.STORED:
        return Progress.READY if plan.rest else Progress.DONE
    if job.state in {State.HELD, State.APPROVED}:
        return Progress.HELD
    open_again = job.outcome is None and job.state in {State.REJECTED, State.ABSENT}
    if job.state in _UNDER_WAY or open_again:
        return Progress.UNDER_WAY
    return Progress.DONE if job.state is State.DELETED and not plan.rest else Progress.STOPPED


class OpenSplits:
    """The unfinished splits of a ledger, as last read; `renew` reads the records since."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._position = 0
        self._last: set[str] = set()

    def renew(self) -> list[SplitProgress]:
        """Return the state of each split that is neither done nor withdrawn."""
        for record in self._ledger.read(RecordFilter(type=SplitPlanned.type), after=self._position):
            self._last.add(record.stream)
            self._position = record.position
        return list(self._list_still_open())

    def _list_still_open(self) -> Iterator[SplitProgress]:
        for job_id in sorted(self._last):
            job = self._ledger.store.job(job_id)
            plan = plan_of(self._ledger, job) if job else None
            if job is None or plan is None or follower_of(self._ledger, job, plan) is not None:
                self._last.discard(job_id)
                continue
            standing = _measure_progress(self._ledger, job, plan)
            ended = (
                standing.progress is Progress.STOPPED and not plan.rest
            )  # like any other job without a video
            if ended or standing.progress in {Progress.DONE, Progress.WITHDRAWN}:
                self._last.discard(job_id)
            else:
                yield standing
