"""The jobs as of a position are those that replay folds from the log."""

from collections import Counter
from random import Random
from types import ModuleType

import pytest
from msgspec import structs

from ledger.fold import fold
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.log.replay import PastJobs, jobs_at, position_at
from ledger.store.filters import ALL_JOBS, JobFilter
from ledger.store.interface import EventStore
from ledger.terms import State
from tests.ledger.scribe import Scribe

JOBS = 7


@pytest.fixture
def ledger(store: EventStore, scribe: Scribe, vocabulary: ModuleType) -> Ledger:
    """Return a ledger whose jobs live at the same time; those with an odd number have no team."""
    lives = {}
    for number in range(JOBS):
        request, *rest = vocabulary.life()
        request = structs.replace(request, team=None) if number % 2 else request
        lives[f"job_{number}"] = [request, *rest][: 3 + 2 * number]
    random = Random(7)
    while lives:
        job_id = random.choice(sorted(lives))
        store.append([scribe.batch(job_id, lives[job_id].pop(0))])
        if not lives[job_id]:
            del lives[job_id]
    return Ledger(store)


def began(ledger: Ledger, job: Job) -> int:
    return ledger.history(job.job_id)[0].position


def test_they_are_what_replay_folds_at_every_position(ledger: Ledger) -> None:
    for position in range(ledger.head().size + 1):
        folded = jobs_at(ledger, position)
        then = PastJobs(ledger, position)
        assert then.states == Counter(job.state for job in folded.values())
        assert {each.job.job_id: each.job for each in then.newest(JOBS)} == folded


def test_they_are_listed_in_the_order_in_which_they_began_and_in_parts(ledger: Ledger) -> None:
    for position in range(0, ledger.head().size + 1, 5):
        folded = sorted(jobs_at(ledger, position).values(), key=lambda job: began(ledger, job), reverse=True)
        then, listed, before = PastJobs(ledger, position), [], None
        while part := then.newest(2, before=before):
            listed += [each.job for each in part]
            before = part[-1].began
        assert listed == folded


def test_those_of_each_state_are_listed(ledger: Ledger) -> None:
    for position in range(0, ledger.head().size + 1, 3):
        folded, then = jobs_at(ledger, position), PastJobs(ledger, position)
        for state in State:
            wanted = {job_id for job_id, job in folded.items() if job.state is state}
            listed = {each.job.job_id for each in then.newest(JOBS, state=state)}
            assert (state, listed) == (state, wanted)


def test_a_person_counts_and_lists_their_own(ledger: Ledger) -> None:
    for position in range(0, ledger.head().size + 1, 3):
        folded = jobs_at(ledger, position).values()
        then = PastJobs(ledger, position, [JobFilter(of_team="film")])
        assert then.states == Counter(job.state for job in folded if job.team == "film")
        assert {each.job.job_id for each in then.newest(JOBS)} == {
            job.job_id for job in folded if job.team == "film"
        }
        assert not PastJobs(ledger, position, []).states


def test_only_changed_jobs_are_read_from_the_log(ledger: Ledger) -> None:
    size = ledger.head().size
    assert ledger.store.standing(size, sees=ALL_JOBS).changed == []
    [last] = ledger.newest(before=size + 1, limit=1)
    assert list(ledger.store.standing(size - 1).changed) == [last.stream]


@pytest.fixture
def longer(store: EventStore, scribe: Scribe, vocabulary: ModuleType) -> Ledger:
    """Return a ledger of several blocks of 256 records, with jobs of short and of long lives."""
    lives = {f"job_{number}": list(vocabulary.life())[: 4 + number % 20] for number in range(80)}
    random = Random(8)
    while lives:
        batches = []
        for job_id in random.sample(sorted(lives), min(3, len(lives))):
            batches.append(scribe.batch(job_id, *lives[job_id][:2]))
            del lives[job_id][:2]
        store.append(batches)
        lives = {job_id: rest for job_id, rest in lives.items() if rest}
    return Ledger(store)


def test_they_are_what_replay_folds_in_every_part_of_a_longer_log(longer: Ledger) -> None:
    size = longer.head().size
    assert size > 2 * 256
    for position in (0, 1, 255, 256, 257, 300, size // 2, size // 2 + 1, 511, 512, 513, size - 1, size):
        folded = jobs_at(longer, position)
        then = PastJobs(longer, position)
        assert then.states == Counter(job.state for job in folded.values()), position
        assert {each.job.job_id for each in then.newest(99)} == folded.keys(), position


def test_lists_agree_with_the_jobs_after_every_block(longer: Ledger) -> None:
    assert longer.store.list_drift() == []


def test_a_time_is_the_last_position_recorded_by_then(ledger: Ledger) -> None:
    records = list(ledger.read())
    for record in records:
        expected = max(each.position for each in records if each.recorded_at <= record.recorded_at)
        assert position_at(ledger, record.recorded_at) == expected
    assert position_at(ledger, "2000-01-01T00:00:00.000000Z") == 0


def test_they_are_what_replay_folds_in_a_log_of_thousands_of_records(long_log: EventStore) -> None:
    ledger, size = Ledger(long_log), long_log.head().size
    assert size > 4_096 + 256  # more than one of the parts that SQLite counts
    positions = [1, 255, 256, 257, 300, 2_000, 4_095, 4_096, 4_097, size - 300, size - 1]
    jobs: dict[str, Job] = {}
    for record in ledger.read():
        if record.stream.startswith("job_"):
            jobs[record.stream] = fold(jobs.get(record.stream), record)
        if record.position in positions:
            for sees in (ALL_JOBS, [JobFilter(of_team="blue")], [JobFilter(of_actor="ben", teamless=True)]):
                observations = [job for job in jobs.values() if any(may_see(job, each) for each in sees)]
                then = PastJobs(ledger, record.position, sees)
                assert then.states == Counter(job.state for job in observations), (record.position, sees)


def may_see(job: Job, where: JobFilter) -> bool:
    return (
        where.of_team in (None, job.team)
        and where.of_actor in (None, job.actor)
        and not (where.teamless and job.team)
    )
