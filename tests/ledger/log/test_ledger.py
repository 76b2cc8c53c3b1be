from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ledger.errors import AmbiguousJob, JobNotFound, WrongExpectedVersion
from ledger.log.ledger import Ledger
from ledger.store.filters import JobFilter, RecordFilter
from ledger.store.interface import NEW
from ledger.terms import State
from tests.ledger.scribe import Scribe


def positions(records: Any) -> list[int]:
    return [record.position for record in records]


class Enough(Exception):
    """Ends a `follow` from its `wait`."""


def test_a_new_ledger_begins_with_its_creation(ledger: Ledger) -> None:
    assert [(record.position, record.type) for record in ledger.read()] == [(1, "ledger.created")]


def test_opening_again_adds_nothing(ledger: Ledger, scribe: Scribe, path: Path) -> None:
    with scribe.ledger(path) as again:
        assert again.head() == ledger.head()


def test_what_is_appended_is_read_back_with_its_text(
    ledger: Ledger, scribe: Scribe, vocabulary: ModuleType
) -> None:
    ledger.append([scribe.batch(vocabulary.JOB, vocabulary.requested("a kite"))])
    assert next(ledger.read(after=1)).event.prompt.text == "a kite"


def test_reads_one_stream(ledger: Ledger, scribe: Scribe) -> None:
    ledger.append([scribe.note("a"), scribe.note("b"), scribe.note("a")])
    assert positions(ledger.read(RecordFilter(stream="a"))) == [2, 4]


def test_reads_from_a_position(ledger: Ledger, scribe: Scribe) -> None:
    ledger.append([scribe.note(), scribe.note(), scribe.note()])
    assert positions(ledger.read(after=2)) == [3, 4]


def test_reads_at_most_the_limit(ledger: Ledger, scribe: Scribe) -> None:
    ledger.append([scribe.note(), scribe.note(), scribe.note()])
    assert positions(ledger.read(after=1, limit=2)) == [2, 3]


def test_reads_nothing_with_a_limit_of_zero(ledger: Ledger) -> None:
    assert positions(ledger.read(limit=0)) == []


def test_reads_across_chunks(ledger: Ledger, scribe: Scribe) -> None:
    ledger.append([scribe.note() for _ in range(1_200)])
    assert positions(ledger.read(limit=1_100)) == list(range(1, 1_101))


def test_reads_one_type(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> None:
    ledger.append([scribe.note(), scribe.batch("x", vocabulary.sample("external.recorded"))])
    assert positions(ledger.read(RecordFilter(type="external.recorded"))) == [3]


def test_reads_one_actor(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> None:
    event = vocabulary.sample("output.attached")
    ledger.append([scribe.batch("x", event, actor="bo"), scribe.batch("x", event, actor="cy")])
    assert positions(ledger.read(RecordFilter(actor="cy"))) == [3]


def test_reads_one_trace(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> None:
    event = vocabulary.sample("output.attached")
    ledger.append([scribe.batch("x", event, trace_id="1" * 32), scribe.note()])
    assert positions(ledger.read(RecordFilter(trace_id="1" * 32))) == [2]


def test_reads_a_span_of_time_without_its_end(ledger: Ledger, scribe: Scribe) -> None:
    ledger.append([scribe.note(), scribe.note(), scribe.note()])  # recorded at 12:00:01, :02, :03
    span = RecordFilter(since="2026-01-01T12:00:02.000000Z", until="2026-01-01T12:00:03.000000Z")
    assert positions(ledger.read(span)) == [3]


def test_finds_an_event_by_its_id(ledger: Ledger, scribe: Scribe) -> None:
    [record] = ledger.append([scribe.note()])
    found = ledger.event(record.event_id)
    assert found
    assert found.record == record.record


def test_an_unknown_event_id_is_none(ledger: Ledger) -> None:
    assert ledger.event("nobody") is None


def test_follow_yields_what_is_there_and_what_comes(ledger: Ledger, scribe: Scribe) -> None:
    following = ledger.follow(wait=lambda _: ledger.append([scribe.note(), scribe.note()]))
    assert positions(islice(following, 4)) == [1, 2, 3, 4]


def test_follow_looks_at_the_interval_it_was_given(ledger: Ledger) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        raise Enough

    with pytest.raises(Enough):
        list(ledger.follow(interval_s=0.125, wait=wait))
    assert waits == [0.125]


def test_a_job_is_found_by_its_id(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> None:
    scribe.live(ledger.store, vocabulary.JOB)
    assert ledger.job(vocabulary.JOB).state is State.STORED


def test_a_job_is_found_by_its_video_id(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> None:
    scribe.live(ledger.store, vocabulary.JOB)
    assert ledger.job("video_1").job_id == vocabulary.JOB


@pytest.mark.parametrize("prefix", ["job_0190", "0190", "job_01900000000070008000000000000001"])
def test_a_job_is_found_by_a_unique_prefix(
    ledger: Ledger, scribe: Scribe, vocabulary: ModuleType, prefix: str
) -> None:
    scribe.live(ledger.store, vocabulary.JOB)
    assert ledger.job(prefix).job_id == vocabulary.JOB


def test_a_prefix_of_several_jobs_names_them(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> None:
    for job in (vocabulary.JOB, vocabulary.OTHER_JOB):
        ledger.append([scribe.batch(job, vocabulary.requested())])
    with pytest.raises(AmbiguousJob, match=rf"{vocabulary.OTHER_JOB} \(.*{vocabulary.JOB} \(.*type more"):
        ledger.job("0190")


def test_a_video_id_of_two_profiles_is_ambiguous(
    ledger: Ledger, scribe: Scribe, vocabulary: ModuleType
) -> None:
    for job in (vocabulary.JOB, vocabulary.OTHER_JOB):
        scribe.live(ledger.store, job)
    with pytest.raises(AmbiguousJob):
        ledger.job("video_1")


@pytest.mark.parametrize("name", ["nobody", "", "job_", "%", "job_01900000000070008000000000000001x"])
def test_a_name_of_no_job_is_not_found(
    ledger: Ledger, scribe: Scribe, vocabulary: ModuleType, name: str
) -> None:
    scribe.live(ledger.store, vocabulary.JOB)
    with pytest.raises(JobNotFound, match=r"`sora-ledger jobs` lists the jobs"):
        ledger.job(name)


def test_jobs_come_newest_first(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> None:
    for job in (vocabulary.JOB, vocabulary.OTHER_JOB):
        ledger.append([scribe.batch(job, vocabulary.requested())])
    assert [job.job_id for job in ledger.jobs()] == [vocabulary.OTHER_JOB, vocabulary.JOB]


def test_jobs_are_listed_by_state(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> None:
    ledger.append([scribe.batch(vocabulary.OTHER_JOB, vocabulary.requested())])
    scribe.live(ledger.store, vocabulary.JOB)
    stored = ledger.jobs(JobFilter(states=(State.STORED, State.FAILED)))
    assert [job.job_id for job in stored] == [vocabulary.JOB]


def test_a_history_is_the_jobs_stream(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> None:
    scribe.live(ledger.store, vocabulary.JOB)
    assert [record.version for record in ledger.history(vocabulary.JOB)] == list(range(1, 10))


def test_creation_is_only_for_a_new_stream(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> None:
    with pytest.raises(WrongExpectedVersion):
        ledger.append([scribe.batch("ledger", vocabulary.sample("ledger.created"), at=NEW)])
