"""Job rows are the fold of their events, found by what they hold."""

from types import ModuleType

import pytest
from msgspec import structs

from ledger.errors import (
    IllegalTransition,
    WrongExpectedVersion,
)
from ledger.fold import fold
from ledger.store.filters import JobFilter, Unreviewed
from ledger.store.interface import EventStore
from ledger.terms import State, Status
from tests.ledger.scribe import Scribe


def test_a_job_row_is_the_fold_of_its_events(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    job = None
    for record in scribe.live(store, vocabulary.JOB):
        job = fold(job, record)
    assert store.job(vocabulary.JOB) == job


def test_events_of_one_append_fold_one_after_the_other(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    life = vocabulary.life()
    store.append([scribe.batch(vocabulary.JOB, *life[:4]), scribe.batch(vocabulary.JOB, *life[4:])])
    job = store.job(vocabulary.JOB)
    assert job
    assert (job.state, job.version) == (State.STORED, 9)


def test_an_illegal_step_refuses_the_whole_append(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    with pytest.raises(IllegalTransition):
        store.append([scribe.note(), scribe.batch(vocabulary.JOB, vocabulary.asset())])
    assert (store.head().size, store.job(vocabulary.JOB)) == (1, None)


def test_jobs_are_listed_newest_first_up_to_a_limit(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    for number in range(3):
        store.append([scribe.batch(f"job_{number}", vocabulary.requested())])
    assert [job.job_id for job in store.jobs(JobFilter(), limit=2)] == ["job_2", "job_1"]


def ids(store: EventStore, where: JobFilter) -> list[str]:
    return [job.job_id for job in store.jobs(where)]


COUNTED = [
    (JobFilter(states=(State.REQUESTED,)), 1),
    (JobFilter(states=()), 0),
    (JobFilter(profile="sandbox"), 2),
    (JobFilter(profile="other"), 0),
    (JobFilter(video_id="video_1"), 1),
    (JobFilter(videos=("video_2", "video_1")), 1),
    (JobFilter(videos=("video_2",)), 0),
    (JobFilter(videos=()), 0),
    (JobFilter(id_prefix="job_a"), 1),
    (JobFilter(id_prefix="job_"), 2),
    (JobFilter(id_suffix="job_a"), 1),
    (JobFilter(id_suffix="_%"), 0),
    (JobFilter(id_prefix="job_a", states=(State.STORED,)), 0),
]
"""Filters, and how many of two jobs they find."""


def test_a_filter_restricts_the_jobs(store: EventStore, scribe: Scribe, vocabulary: ModuleType) -> None:
    store.append([scribe.batch("job_a", vocabulary.requested())])
    scribe.live(store, "job_b")
    assert [(where, len(store.jobs(where))) for where, _ in COUNTED] == COUNTED


HELD = [
    (JobFilter(model="sora-2"), ["job_b"]),
    (JobFilter(model="auto"), ["job_b"]),
    (JobFilter(model="sora"), []),
    (JobFilter(model='a "draft" \0 \\ \u00e9'), ["job_a"]),
    (JobFilter(model="a"), []),
    (JobFilter(purpose="draft"), ["job_b", "job_a"]),
    (JobFilter(actor="ana"), ["job_b", "job_a"]),
    (JobFilter(actor="an"), []),
    (JobFilter(actor="'; DROP TABLE jobs; --"), []),
    (JobFilter(statuses=(Status.COMPLETED, Status.QUEUED)), ["job_b"]),
    (JobFilter(statuses=()), []),
    (JobFilter(derived=True), ["job_a"]),
    (JobFilter(team="film"), ["job_b", "job_a"]),
    (JobFilter(team="news"), []),
    (JobFilter(team="film", project="spring", access_key_id="0a1b2c3d"), ["job_b", "job_a"]),
    (JobFilter(team="film", project="autumn"), []),
    (JobFilter(access_key_id="00000000"), []),
    (JobFilter(model='a "draft" \0 \\ \u00e9', statuses=(Status.COMPLETED,)), []),
]
"""Filters by what the row of a job holds, and the jobs they find."""


def test_jobs_are_found_by_what_their_rows_hold(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    told = structs.replace(
        vocabulary.requested(), requested_model='a "draft" \0 \\ \u00e9', source_job="job_b"
    )
    store.append([scribe.batch("job_a", told)])
    scribe.live(store, "job_b")
    assert [(where, ids(store, where)) for where, _ in HELD] == HELD


def test_jobs_are_found_by_when_they_were_begun(store: EventStore, scribe: Scribe) -> None:
    for number in range(3):
        scribe.live(store, f"job_{number}")
    [_, second, first] = [job.created_at for job in store.jobs(JobFilter())]
    since, until = JobFilter(since=second), JobFilter(until=second)
    assert [job.job_id for job in store.jobs(since)] == ["job_2", "job_1"]
    assert [job.job_id for job in store.jobs(until)] == ["job_0"]
    assert [job.job_id for job in store.jobs(JobFilter(since=first, until=second))] == ["job_0"]


def test_jobs_are_read_in_parts_by_what_is_before_the_last(store: EventStore, scribe: Scribe) -> None:
    for number in range(3):
        scribe.live(store, f"job_{number}")
    assert [job.job_id for job in store.jobs(JobFilter(before="job_2"), limit=1)] == ["job_1"]
    assert [job.job_id for job in store.jobs(JobFilter(before="job_1"))] == ["job_0"]
    assert store.jobs(JobFilter(before="job_0")) == []


def test_jobs_are_listed_oldest_first_after_one(store: EventStore, scribe: Scribe) -> None:
    for number in range(3):
        scribe.live(store, f"job_{number}")
    oldest = JobFilter(oldest_first=True)
    assert [job.job_id for job in store.jobs(oldest, limit=2)] == ["job_0", "job_1"]
    after = JobFilter(oldest_first=True, after="job_0")
    assert [job.job_id for job in store.jobs(after)] == ["job_1", "job_2"]
    between = JobFilter(after="job_0", before="job_2")
    assert [job.job_id for job in store.jobs(between)] == ["job_1"]


OWNED = [
    (JobFilter(of_team="film"), ["job_3", "job_1"]),
    (JobFilter(of_team="fil"), []),
    (JobFilter(of_actor="ana"), ["job_3", "job_2", "job_1", "job_0"]),
    (JobFilter(of_actor="ana", teamless=True), ["job_2"]),
    (JobFilter(of_actor="ana", of_team="games"), ["job_0"]),
    (JobFilter(teamless=True), ["job_2"]),
    (JobFilter(of_actor="ben"), []),
    (JobFilter(of_team="film", before="job_3"), ["job_1"]),
    (JobFilter(of_team="film", states=(State.STORED,)), ["job_3"]),
]
"""Filters by whose a job is, and the jobs they find."""


def test_jobs_are_found_by_whose_they_are(store: EventStore, scribe: Scribe, vocabulary: ModuleType) -> None:
    for number, team in enumerate(("games", "film", None)):
        told = structs.replace(vocabulary.requested(), team=team)
        store.append([scribe.batch(f"job_{number}", told)])
    scribe.live(store, "job_3")
    assert [(where, ids(store, where)) for where, _ in OWNED] == OWNED


LONG = "video_" + "bGl0ZWxsbTpvcGVuYWk7" * 30
"""Gateways encode their routing into ids, so that many begin in the same way."""


@pytest.mark.parametrize(
    "video",
    ["video_1", 'a "video" \0 \\ \u00e9', LONG + "1", "\U0010ffff"],
    ids=["short", "odd", "long", "last"],
)
def test_jobs_are_found_by_what_they_were_made_from(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType, video: str
) -> None:
    made_from = [
        {"source_job": "job_1"},
        {"source_job": "job_1", "remix_video_id": video},
        {"source_job": "job_10", "remix_video_id": video + "0"},
        {"source_job": None, "remix_video_id": video},
        {"source_job": None, "remix_video_id": video + "0"},
        {"source_job": None, "remix_video_id": None},
    ]
    for number, update in enumerate(made_from):
        store.append([scribe.batch(f"job_{number}", structs.replace(vocabulary.requested(), **update))])

    def found(where: JobFilter) -> list[str]:
        return [job.job_id for job in store.jobs(where)]

    assert found(JobFilter(source_job="job_1", oldest_first=True)) == ["job_0", "job_1"]
    assert found(JobFilter(source_job="job_10")) == ["job_2"]
    assert found(JobFilter(source_job="job_")) == []
    assert found(JobFilter(source_video=video)) == ["job_3"]
    assert found(JobFilter(source_video=video, profile="elsewhere")) == []


def test_replaced_job_rows_are_found_by_whose_they_are(store: EventStore, scribe: Scribe) -> None:
    scribe.live(store, "job_1")
    store.replace_jobs(store.jobs(JobFilter()), at_position=store.head().size)
    assert [job.job_id for job in store.jobs(JobFilter(of_team="film", of_actor="ana"))] == ["job_1"]


def test_an_unknown_job_is_none(store: EventStore) -> None:
    assert store.job("job_x") is None


def test_all_job_rows_can_be_replaced(store: EventStore, scribe: Scribe, vocabulary: ModuleType) -> None:
    for number in range(3):
        store.append([scribe.batch(f"job_{number}", vocabulary.requested())])
    kept = store.jobs(JobFilter(), limit=1)
    store.replace_jobs(kept, at_position=4)
    assert store.jobs(JobFilter()) == kept


def test_job_rows_are_not_replaced_when_the_head_has_moved(store: EventStore, scribe: Scribe) -> None:
    store.append([scribe.note()])
    with pytest.raises(WrongExpectedVersion):
        store.replace_jobs([], at_position=1)


def test_finished_videos_without_a_review_are_found(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    for number, purpose in enumerate(("draft", "final", "client", "final")):
        first = structs.replace(vocabulary.requested(), purpose=purpose)
        scribe.live(store, f"job_{number}", [first, *vocabulary.life()[1:-1]])
    store.append([scribe.batch("job_9", vocabulary.requested())])
    store.append([scribe.batch("job_3", vocabulary.sample("review.recorded"))])

    def found(which: Unreviewed) -> list[str]:
        return [job.job_id for job in store.jobs(JobFilter(unreviewed=which, oldest_first=True))]

    assert found(Unreviewed.ALL) == ["job_0", "job_1", "job_2"]
    assert found(Unreviewed.FINALS) == ["job_1", "job_2"]
