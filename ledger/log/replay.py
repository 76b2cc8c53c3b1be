"""Replay: fold jobs from the log again, to compare them with the live rows or to see them at a position.

Replay has no effects: it only reads, and calls nothing outside. `swap` is the one exception.

`PastJobs` finds what `jobs_at` finds, without reading the log:

1. A job without a record after the position was then what its row says now.
2. A job that has one is folded from its records up to the position, as replay folds it.

Few jobs are of the second kind, unless all of them changed later; then this is as much work as a replay.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple

from msgspec import MsgspecError, Struct, defstruct, to_builtins
from msgspec.json import Decoder

from ledger.errors import LedgerUnusable
from ledger.events import ProjectionRecorded
from ledger.fold import COPIED, fold
from ledger.job import JOB_PREFIX, ROW_FORM, Job
from ledger.log.ledger import Ledger
from ledger.log.projection import Drifted, Milestones, digest_of, row_number
from ledger.record import Record, StoredRow
from ledger.store.filters import ALL_JOBS, JobFilter, RecordFilter
from ledger.store.interface import ListDrift, Standing
from ledger.terms import State
from ledger.verify.shapes import encode
from ledger.verify.slim_fold import NotSound
from ledger.verify.slim_fold import fold as fold_slim


class _Envelope(Struct, gc=False):
    """The fields of a record that a row needs."""

    actor: str
    occurred_at: str
    position: int
    stream: str
    trace_id: str
    type: str
    version: int


class _Hold(Struct, gc=False):
    budget: str
    usd_micros: int


class _Detail(Struct, gc=False):
    """The fields of a decision's basis, a denial and an error that a row needs."""

    decision_id: Any = None
    detail_code: Any = None
    code: Any = None


_KINDS: dict[str, Any] = {
    "basis": _Detail | str | None,
    "denial_trace": _Detail | None,
    "error": _Detail | None,
    "holds": list[_Hold],
}
"""Facts with more than one value; another kind is refused in every payload."""
_FACTS: dict[str, tuple[str, ...]] = {
    "render.decided": ("cost_usd_micros",),
    "status.observed": ("expires_at",),
    "asset.stored": ("bytes", "media_type", "sha256", "storage_uri", "variant"),
    "asset.lost": ("variant",),
    "cost.settled": ("cost_usd_micros",),
}
"""Further fields of a payload that a row needs, by type of event, beyond the copied ones."""


@lru_cache(maxsize=256)
def _facts_of(type_: str) -> Callable[[bytes], Any]:
    """Return the function that reads only the fields of a payload of this type that a row needs."""
    names = sorted({*_KINDS, *COPIED.get(type_, ()), *_FACTS.get(type_, ())})
    fields: list[Any] = [(name, _KINDS.get(name, Any), () if name == "holds" else None) for name in names]
    return Decoder(defstruct("Facts", fields, gc=False)).decode


_read_envelope = Decoder(_Envelope).decode


class Drift(NamedTuple):
    """A job row that differs from its events; `live` or `replayed` is None if there is no such job."""

    job_id: str
    live: Job | None
    replayed: Job | None

    def fields(self) -> dict[str, tuple[object, object]]:
        """Return the differing fields: (live, replayed)."""
        live = to_builtins(self.live) if self.live else {}
        replayed = to_builtins(self.replayed) if self.replayed else {}
        names = sorted(live.keys() | replayed.keys())
        return {n: (live.get(n), replayed.get(n)) for n in names if live.get(n) != replayed.get(n)}


class Replay(NamedTuple):
    """The number of jobs up to `position`, and how the live rows differ now.

    Of the digests recorded along the way, `compared` were compared; `not_compared` were recorded by software
    with another row format. `drifted` has the spans in which the live rows differed.
    """

    position: int
    jobs: int
    drift: list[Drift]
    compared: int = 0
    not_compared: int = 0
    drifted: tuple[Drifted, ...] = ()
    lists: tuple[ListDrift, ...] = ()
    """Differences between the job rows and the tables behind lists, counts and charts."""

    @property
    def is_clean(self) -> bool:
        """Whether the rows are right now, and were when they were last recorded."""
        return not self.drift and not self.lists and (not self.drifted or self.drifted[-1].until is not None)


def fold_jobs(ledger: Ledger, position: int, milestones: Milestones | None = None) -> Iterator[Job]:
    """Fold every job up to `position`, adding it to `milestones`; yield them by id, one at a time.

    The bytes were checked when they were recorded, and `verify` checks them: only the fields that a row needs
    are read and folded as `verify` does. Records that this does not accept are folded as in an append.
    """
    for rows in _streams(ledger, position):
        job = _fold_rows(rows)
        if milestones is not None:
            positions = [envelope.position for envelope, _ in rows]
            milestones.add(positions, job, partial(_fold_first, rows))
        yield job


def _fold_first(rows: list[tuple[Any, StoredRow]], count: int) -> Job:
    return _fold_rows(rows[:count])


def _fold_rows(rows: list[tuple[Any, StoredRow]]) -> Job:
    return fold_bytes(rows) or _fold(rows)


def fold_newest_first(ledger: Ledger, position: int) -> Iterator[tuple[Job, list[tuple[Any, StoredRow]]]]:
    """Fold every job up to `position`; yield them by id, backwards, each with its envelopes and rows."""
    for rows in _streams(ledger, position, backwards=True):
        rows.reverse()
        yield _fold_rows(rows), rows


def _streams(
    ledger: Ledger, position: int, *, backwards: bool = False
) -> Iterator[list[tuple[Any, StoredRow]]]:
    """Yield the records of each job, with their envelopes."""
    records: list[tuple[Any, StoredRow]] = []
    stream = ""
    for row in ledger.store.histories(JOB_PREFIX, position, backwards=backwards):
        envelope: Any
        try:
            envelope = _read_envelope(row.record)
        except (MsgspecError, TypeError):
            envelope = Record.from_row(row, {}).envelope  # says what is wrong
        if envelope.stream != stream:
            if records:
                yield records
            records, stream = [], envelope.stream
        records.append((envelope, row))
    if records:
        yield records


def fold_bytes(records: list[tuple[Any, StoredRow]]) -> Job | None:
    """Fold the records of a job from their bytes; None leaves it to the fold of an append."""
    row = None
    try:
        for envelope, stored in records:
            row = fold_slim(row, envelope.type, envelope, _facts_of(envelope.type)(stored.payload))
        return Job.from_canonical(encode(row))
    except (AttributeError, TypeError, ValueError, NotSound, LedgerUnusable):
        return None


def _fold(records: list[tuple[Any, StoredRow]]) -> Job:
    job: Job | None = None
    for _, stored in records:
        job = fold(job, Record.from_row(stored, {}))
    assert job is not None  # a stream has records
    return job


def jobs_at(ledger: Ledger, position: int) -> dict[str, Job]:
    """Return every job as of `position`, by id."""
    return {job.job_id: job for job in fold_jobs(ledger, position)}


def position_at(ledger: Ledger, moment: str) -> int:
    """Return the last position recorded at or before `moment` (RFC 3339 UTC with microseconds), 0 if none."""
    until = RecordFilter(until=moment.removesuffix("Z") + "~")  # sorts after the moment itself
    newest = ledger.newest(until, before=ledger.head().size + 1, limit=1)
    return newest[0].position if newest else 0


def replay(ledger: Ledger) -> Replay:
    """Fold all jobs again and compare them with the live rows; rows that have changed since are skipped.

    The tables behind lists are compared with the live rows too.
    """
    position = ledger.head().size
    jobs = 0
    drift: list[Drift] = []
    milestones = Milestones(ledger, position)
    watched = milestones if milestones.recorded else None
    for live, replayed in _pair_by_id(ledger.store.all_jobs(), fold_jobs(ledger, position, watched)):
        jobs += replayed is not None
        if live != replayed and (live is None or live.position <= position):
            job = live or replayed
            assert job is not None  # they differ, so one of them exists
            again = fold_up_to(ledger, job.job_id, position)
            if live != again:
                drift.append(Drift(job.job_id, live, again))
    compared, not_compared = len(milestones.recorded), milestones.of_other_forms
    drifted, lists = tuple(milestones.find_drifts()), tuple(ledger.store.list_drift())
    return Replay(position, jobs, drift, compared, not_compared, drifted, lists)


def fold_up_to(ledger: Ledger, job_id: str, position: int) -> Job | None:
    """Fold a job from its records up to `position`; None if it had not begun by then."""
    job: Job | None = None
    for record in ledger.read(RecordFilter(stream=job_id, before=position + 1)):
        job = fold(job, record)
    return job


def digest_live_rows(ledger: Ledger) -> ProjectionRecorded:
    """Return the digest of the live rows at the end of the log; a row that changes meanwhile is folded."""
    position = ledger.head().size
    jobs = total = 0
    for live in ledger.store.all_jobs():
        job = live if live.position <= position else fold_up_to(ledger, live.job_id, position)
        if job is not None:
            jobs += 1
            total += row_number(job.canonical())
    return ProjectionRecorded(position=position, jobs=jobs, digest=digest_of(total), row_form=ROW_FORM)


def _pair_by_id(lives: Iterator[Job], replays: Iterator[Job]) -> Iterator[tuple[Job | None, Job | None]]:
    """Yield live and replayed jobs of the same id; both iterators are ordered by id."""
    live, replayed = next(lives, None), next(replays, None)
    while live is not None or replayed is not None:
        if replayed is None or (live is not None and live.job_id < replayed.job_id):
            yield live, None
            live = next(lives, None)
        elif live is None or replayed.job_id < live.job_id:
            yield None, replayed
            replayed = next(replays, None)
        else:
            yield live, replayed
            live, replayed = next(lives, None), next(replays, None)


def swap(ledger: Ledger, result: Replay) -> None:
    """Replace the live rows with the replayed jobs; refused if the ledger has grown since."""
    jobs = map(_fold, _streams(ledger, result.position))
    ledger.store.replace_jobs(jobs, result.position)


_MARGIN = 20
"""Jobs to read beyond those wanted: some of them may have changed since."""


class PastJob(NamedTuple):
    """A job as of the position, and the position of its first record."""

    began: int
    job: Job


class PastJobs:
    """The jobs as of `position`, at most the ledger's size; only jobs that match `sees`."""

    def __init__(self, ledger: Ledger, position: int, sees: Sequence[JobFilter] = ALL_JOBS) -> None:
        self.position = position
        self._ledger = ledger
        self._sees = sees

    @cached_property
    def _standing(self) -> Standing:
        """The unchanged jobs by state, and the ids of the others; from counts alone at the end of the log."""
        store = self._ledger.store
        now = store.counts("state", sees=self._sees)
        if store.head().size == self.position:  # nothing was recorded between the position and the counts
            return Standing(now, ())
        return store.standing(self.position, sees=self._sees)

    @cached_property
    def _changed(self) -> dict[str, PastJob]:
        return {job_id: self._fold_past_job(job_id) for job_id in self._standing.changed}

    def _fold_past_job(self, job_id: str) -> PastJob:
        where = RecordFilter(stream=job_id, before=self.position + 1)
        records = [Record.from_row(row, {}) for row in self._ledger.store.rows(0, self.position, where)]
        job: Job | None = None
        for record in records:
            job = fold(job, record)
        assert job is not None  # it had begun by then
        return PastJob(records[0].position, job)

    @cached_property
    def states(self) -> Mapping[State, int]:
        """How many jobs were in each state."""
        numbers = Counter({State(state): jobs for state, jobs in self._standing.unchanged.items()})
        numbers.update(then.job.state for then in self._changed.values())
        return numbers

    def newest(self, limit: int, *, state: State | None = None, before: int | None = None) -> list[PastJob]:
        """Return up to `limit` jobs, in one state or in any, the last to begin first.

        `before` is the position where the last job returned before had begun.
        """
        end = self.position + 1 if before is None else min(before, self.position + 1)
        changed = [
            then for then in self._changed.values() if then.began < end and state in (None, then.job.state)
        ]
        where = JobFilter(states=None if state is None else (state,))
        unchanged = 0
        while unchanged < limit:
            count = limit - unchanged + _MARGIN
            part = self._ledger.store.search("", where, count, sees=self._sees, beyond=end)
            same = [
                PastJob(each.position, each.job)
                for each in part
                if each.job.position <= self.position and each.job.job_id not in self._changed
            ]
            unchanged += len(same)
            changed += same
            if len(part) < count:
                break
            end = part[-1].position
        return sorted(changed, key=lambda then: then.began, reverse=True)[:limit]
