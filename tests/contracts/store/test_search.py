"""Jobs are found by the words of their prompts and by their properties, and counted without reading them."""

from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any, get_args

import pytest
from msgspec import structs

from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private import private_values
from ledger.store.filters import ALL_JOBS, JobFilter, RecordFilter
from ledger.store.interface import EventStore, Match, Money, SpentBy, facets_of, money_of
from ledger.terms import State, Status
from tests.contracts.store.conftest import Kit
from tests.ledger.scribe import Scribe

PROMPTS = {
    "job_a": "A paper boat on the canal at dusk, naïve style",
    "job_b": "The red BOATS of Straße 7 (slow push-in)",
    "job_c": "東京タワーの夜景を歩く狐 🦊",
    "job_d": "猫在雨中的城市街道上行走",
}


@pytest.fixture
def find(store: EventStore, scribe: Scribe, vocabulary: ModuleType) -> Callable[..., list[str]]:
    """Return a function that finds job ids in a store with four prompts."""
    for job_id, prompt in PROMPTS.items():
        store.append([scribe.batch(job_id, vocabulary.requested(prompt))])

    def find(words: str, **where: Any) -> list[str]:
        return [found.job.job_id for found in store.search(words, JobFilter(**where), 50)]

    return find


QUERIES = {
    "paper": ["job_a"],
    "BOAT": ["job_b", "job_a"],
    "boats": ["job_b"],
    "boat paper": ["job_a"],
    "naive": ["job_a"],
    "NAÏVE": ["job_a"],
    "strasse": ["job_b"],
    "push": ["job_b"],
    "7": ["job_b"],
    "oat": [],
    "boat nowhere": [],
    "夜景": ["job_c"],
    "狐": ["job_c"],
    "タワーの夜": ["job_c"],
    "夜東": [],
    "城市": ["job_d"],
    "雨中 街道": ["job_d"],
    "🦊": ["job_c"],
    "": ["job_d", "job_c", "job_b", "job_a"],
    "  \n": ["job_d", "job_c", "job_b", "job_a"],
    "--": [],
}
OPERATORS = {
    '"paper boat"': ["job_a"],
    "boat'paper": ["job_a"],
    "paper -boat": ["job_a"],
    "boat:* & paper": ["job_a"],
    "(paper | boat": ["job_a"],
    "^paper* {boat": ["job_a"],
    "boat\0paper": ["job_a"],
    "paper \\ boat %s ? \u202e": ["job_a"],  # "s" begins "style"
    "paper boat; DROP TABLE jobs": [],
    "paper OR boat": [],
    "boat NEAR/2 paper": [],
}
LONG = ["boat ", "夜", "x", "(\"'", "\0", "é*:&|!<-> "]


def test_every_word_of_a_query_begins_a_word_of_the_prompt(find: Callable[..., list[str]]) -> None:
    assert {words: find(words) for words in QUERIES} == QUERIES


def test_operators_and_quotes_are_only_text(find: Callable[..., list[str]]) -> None:
    assert {words: find(words) for words in OPERATORS} == OPERATORS


def test_a_query_of_32000_characters_is_answered(find: Callable[..., list[str]]) -> None:
    found = {piece: find((piece * 32_000)[:32_000]) for piece in LONG}
    assert found == {piece: [] for piece in LONG} | {"boat ": ["job_b", "job_a"]}


def test_a_long_prompt_is_found_by_its_last_word(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    for number, piece in enumerate(("ordinary words ", "夜景の", "x")):
        prompt = (piece * 32_000)[:31_990] + " zebra"
        store.append([scribe.batch(f"job_{number}", vocabulary.requested(prompt))])
    assert len(store.search("zebra", JobFilter(), 50)) == 3


def test_a_found_job_comes_with_its_prompt_and_row(store: EventStore, find: Callable[..., list[str]]) -> None:
    [found] = store.search("paper", JobFilter(), 50)
    assert (found.prompt, found.job) == (PROMPTS["job_a"], store.job("job_a"))


def test_a_long_list_is_read_in_parts(store: EventStore, find: Callable[..., list[str]]) -> None:
    for oldest_first in (False, True):
        where, beyond, read = JobFilter(oldest_first=oldest_first), None, []
        while part := store.search("", where, 3, beyond=beyond):
            read += [found.job.job_id for found in part]
            beyond = part[-1].position
        assert read == sorted(PROMPTS, reverse=not oldest_first)


FILTERS = [
    JobFilter(),
    JobFilter(states=(State.STORED,)),
    JobFilter(states=()),
    JobFilter(states=(State.REQUESTED, State.STORED)),
    JobFilter(profile="sandbox"),
    JobFilter(profile="other"),
    JobFilter(video_id="video_1"),
    JobFilter(videos=("video_1", "video_2")),
    JobFilter(id_prefix="job_b"),
    JobFilter(id_suffix="b"),
    JobFilter(before="job_b"),
    JobFilter(after="job_b"),
    JobFilter(oldest_first=True),
    JobFilter(of_team="blue"),
    JobFilter(of_actor="ana"),
    JobFilter(of_actor="ana", teamless=True),
    JobFilter(statuses=(Status.COMPLETED,)),
    JobFilter(model="sora-2"),
    JobFilter(model="auto"),
    JobFilter(model='a "draft" \0 \\ é'),
    JobFilter(actor="ana"),
    JobFilter(actor="an"),
    JobFilter(team="blue"),
    JobFilter(project="films"),
    JobFilter(access_key_id="key_1"),
    JobFilter(since="2026-11-20"),
    JobFilter(until="2026-11-20"),
    JobFilter(derived=True),
    JobFilter(source_job="job_a"),
]


def test_a_filter_restricts_a_search_as_it_does_a_list(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    blue = structs.replace(vocabulary.requested("a zeppelin"), team="blue", project="films")
    store.append([scribe.batch("job_a", blue)])
    odd = structs.replace(vocabulary.requested("a zeppelin"), requested_model='a "draft" \0 \\ é')
    store.append([scribe.batch("job_b", odd)])
    scribe.live(store, "job_c")
    remix = structs.replace(vocabulary.requested("another zeppelin"), source_job="job_a")
    store.append([scribe.batch("job_d", remix)])
    for where in FILTERS:
        listed = [job.job_id for job in store.jobs(where)]
        assert (where, [found.job.job_id for found in store.search("", where, 50)]) == (where, listed)
        zeppelins = [job_id for job_id in listed if job_id != "job_c"]
        assert (where, [found.job.job_id for found in store.search("zeppelin", where, 50)]) == (
            where,
            zeppelins,
        )


def test_a_caller_finds_and_counts_only_what_they_may_see(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    for number, team in enumerate(("blue", None, "red")):
        event = structs.replace(vocabulary.requested("a boat"), team=team)
        store.append([scribe.batch(f"job_{number}", event)])
    sees = (JobFilter(of_team="blue"), JobFilter(of_actor="ana", teamless=True))
    for words in ("", "boat"):
        found = store.search(words, JobFilter(), 50, sees=sees)
        assert [each.job.job_id for each in found] == ["job_1", "job_0"]
    assert store.search("boat", JobFilter(of_team="red"), 50, sees=sees) == []
    assert store.counts("team", sees=sees) == {"blue": 1, "": 1}
    assert store.search("", JobFilter(), 50, sees=()) == []


def test_counts_are_those_of_the_jobs_after_every_step(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    store.append([scribe.batch("job_b", vocabulary.requested())])
    for event in vocabulary.life():
        store.append([scribe.batch("job_a", event)])
        assert store.counts("state") == Counter(job.state for job in store.jobs(JobFilter()))


def test_counts_are_those_of_the_jobs_a_filter_describes(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    for number in range(6):
        changed = {"team": ("blue", None)[number % 2], "purpose": ("draft", "final", "a_b")[number % 3]}
        event = structs.replace(vocabulary.requested(), **changed)
        store.append([scribe.batch(f"job_{number}", event, actor=("ana", "ben")[number // 4])])
    scribe.live(store, "job_6")
    for where in (
        JobFilter(),
        JobFilter(team="blue"),
        JobFilter(teamless=True),
        JobFilter(purpose="a_b"),
        JobFilter(actor="ben", purpose="draft"),
        JobFilter(model="sora-2"),
        JobFilter(model="auto", states=(State.REQUESTED,)),
        JobFilter(states=()),
        JobFilter(since="2026-01"),
        JobFilter(since="2026-02", until="2026-03"),
    ):
        jobs = store.jobs(where)
        by = {
            "state": Counter(job.state.value for job in jobs),
            "purpose": Counter(job.purpose for job in jobs),
            "team": Counter(job.team or "" for job in jobs),
            "actor": Counter(job.actor for job in jobs),
            "month": Counter(job.created_at[:7] for job in jobs),
            "model": Counter(m for job in jobs for m in {job.model or "", job.requested_model}),
        }
        assert (where, {name: store.counts(name, where) for name in by}) == (where, by)


def test_jobs_of_one_append_are_listed_and_counted(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    life = vocabulary.life()
    other = scribe.batch("job_b", vocabulary.requested())
    store.append([scribe.batch("job_a", *life[:4]), other, scribe.batch("job_a", *life[4:])])
    assert [found.job.job_id for found in store.search("", JobFilter(states=(State.STORED,)), 9)] == ["job_a"]
    assert store.counts("state") == {"stored": 1, "requested": 1}
    assert store.counts("model") == {"auto": 2, "sora-2": 1, "": 1}


def erase(store: EventStore, scribe: Scribe, vocabulary: Any, job_id: str) -> None:
    [record] = Ledger(store).read(RecordFilter(stream=job_id), limit=1)
    gone = tuple(private.commitment for _, private in private_values(record.event))
    erased = structs.replace(vocabulary.sample("private.erased"), commitments=gone)
    store.append([scribe.batch(job_id, erased)])


def test_an_erased_prompt_is_found_no_more(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType, find: Callable[..., list[str]]
) -> None:
    erase(store, scribe, vocabulary, "job_a")
    assert (find("paper"), find("boat")) == ([], ["job_b"])
    store.scrub()
    assert (find("paper"), find("boat"), find("夜景")) == ([], ["job_b"], ["job_c"])
    listed = store.search("", JobFilter(), 50)
    assert [found.prompt for found in listed] == [*list(PROMPTS.values())[:0:-1], None]


def test_what_is_read_of_an_erased_job_has_no_words(
    store: EventStore,
    scribe: Scribe,
    vocabulary: ModuleType,
    find: Callable[..., list[str]],
    clean: Callable[[], bool],
) -> None:
    erase(store, scribe, vocabulary, "job_a")
    erase(store, scribe, vocabulary, "job_c")
    store.replace_jobs(store.jobs(JobFilter()), store.head().size)
    assert (find("paper"), find("夜景"), find("boat")) == ([], [], ["job_b"])
    assert clean()


def test_replaced_jobs_are_found_and_counted(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType, find: Callable[..., list[str]]
) -> None:
    before = store.search("boat", JobFilter(), 9), store.counts("month")
    jobs = store.jobs(JobFilter())
    store.replace_jobs(jobs[:2], store.head().size)
    assert find("boat") == []
    store.replace_jobs(jobs, store.head().size)
    assert (store.search("boat", JobFilter(), 9), store.counts("month")) == before


def test_imported_jobs_are_found(
    kit: Kit, store: EventStore, scribe: Scribe, vocabulary: ModuleType, find: Callable[..., list[str]]
) -> None:
    erase(store, scribe, vocabulary, "job_b")
    copy = kit.open("two")
    rows = enumerate(store.rows(0, 100, RecordFilter()), 1)
    copy.import_rows((row, list(store.bodies([at]).values())) for at, row in rows)
    assert copy.search("boat", JobFilter(), 9) == store.search("boat", JobFilter(), 9)
    assert copy.counts("team") == store.counts("team") == {"film": 4}
    copy.close()


def test_money_is_summed_by_each_property_as_it_changes(store: EventStore, scribe: Scribe) -> None:
    store.append([scribe.reserve("job_a", 400_000)])
    store.append([scribe.reserve("job_b", 1_200_000)])
    assert (spent(store, "model"), spent(store, "team")) == (
        {"sora-2": (2, 1_600_000, 0, 0)},
        {"film": (2, 1_600_000, 0, 0)},
    )
    store.append([scribe.settle("job_a", 390_000)])
    for by in get_args(SpentBy):
        assert spent(store, by) == sums_of(store.jobs(JobFilter()), by), by
    (day,) = spent(store, "day")
    assert (len(day), spent(store, "day", since="2027-01-01T00:00:00.000Z")) == (10, {})
    assert (spent(store, "actor", team="film"), spent(store, "actor", team="ads")) == (
        spent(store, "actor"),
        {},
    )


def test_money_is_summed_from_any_time(store: EventStore, scribe: Scribe) -> None:
    store.append([scribe.reserve("job_a", 400_000)])
    [job] = store.jobs(JobFilter())
    day, begun = job.created_at[:10], job.created_at
    sums = {"film": (1, 400_000, 0, 0)}
    for since in (day, f"{day}T00:00:00.000000Z", f"{day}T00:00:00Z", begun):
        assert spent(store, "team", since=since) == sums, since
    assert spent(store, "team", since=begun.replace("Z", "~")) == {}
    assert spent(store, "team", until=f"{day}T00:00:00Z") == spent(store, "team", until=begun) == {}
    assert spent(store, "team", model="sora-2") == sums


def test_a_word_that_many_words_begin_with_is_found(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    prompts = [vocabulary.requested(f"boat {number}") for number in range(100, 140)]
    store.append([scribe.batch(f"job_{number}", each) for number, each in enumerate(prompts)])

    def found(words: str) -> int:
        return len(store.search(words, JobFilter(), 99))

    assert [found(words) for words in ("1", "12", "123", "boat 13", "boa 1", "boat 14")] == [
        40,
        10,
        1,
        10,
        40,
        0,
    ]
    assert len(store.matches("boat 1", 99)) == 40


def test_every_step_leaves_lists_that_agree_with_the_jobs(
    store: EventStore, scribe: Scribe, vocabulary: ModuleType
) -> None:
    for event in vocabulary.life():
        store.append([scribe.batch("job_a", event)])
        assert store.list_drift() == []


WHERE = [
    JobFilter(),
    JobFilter(oldest_first=True),
    JobFilter(states=(State.REQUESTED,)),
    JobFilter(states=(State.STORED,)),
    JobFilter(states=(State.STORED,), oldest_first=True),
    JobFilter(states=(State.FAILED,)),
    JobFilter(team="blue"),
    JobFilter(team="blue", oldest_first=True),
    JobFilter(team="blue", id_suffix="0"),
    JobFilter(actor="ben", purpose="draft"),
    JobFilter(actor="nobody"),
    JobFilter(model="sora-2", since="2026-01-01T00:30:00.000Z", until="2026-01-01T01:30:00.000Z"),
    JobFilter(since="2026-01", until="2026-01~"),
    JobFilter(project="none"),
]
WORDS = ["", "boat", "comet", "boat comet", "bo odd", "odd even", "boat 7", "bo 77 od", "nowhere boat", "lo"]


def test_a_search_in_thousands_of_records_finds_what_a_reader_of_all_prompts_finds(
    long_log: EventStore,
) -> None:
    everything = long_log.search("", JobFilter(), 2_000)
    assert len(everything) == 620
    for where, sees in [(each, ALL_JOBS) for each in WHERE] + [(JobFilter(), [JobFilter(of_team="blue")])]:
        listed = {job.job_id for job in long_log.jobs(where)}
        for words in WORDS:
            right = [
                found
                for found in everything
                if found.job.job_id in listed
                and (sees is ALL_JOBS or found.job.team == "blue")
                and all(
                    any(word.startswith(each) for text in found.texts.values() for word in text.split())
                    for each in words.split()
                )
            ]
            right.sort(key=lambda found: found.position, reverse=not where.oldest_first)
            first = long_log.search(words, where, 5, sees=sees)
            assert first == right[:5], (words, where)
            if first:
                rest = long_log.search(words, where, 700, sees=sees, beyond=first[-1].position)
                assert [each.position for each in rest] == [each.position for each in right[5:]], (
                    words,
                    where,
                )
            if where == JobFilter() and words:
                matches = long_log.matches(words, 40, sees=sees)
                assert matches == [Match(each.position, facets_of(each.job)) for each in right[:40]]
                positions = [each.position for each in matches]
                assert long_log.listed(positions[::-1]) == right[:40][::-1]


def test_lists_of_thousands_of_records_agree_with_the_jobs(long_log: EventStore) -> None:
    assert long_log.list_drift() == []
    jobs = long_log.jobs(JobFilter())
    before = [long_log.standing(position) for position in range(1, long_log.head().size, 500)]
    long_log.replace_jobs(jobs, long_log.head().size)
    assert long_log.list_drift() == []
    after = [long_log.standing(position) for position in range(1, long_log.head().size, 500)]
    assert [(each.unchanged, sorted(each.changed)) for each in after] == [
        (each.unchanged, sorted(each.changed)) for each in before
    ]


def spent(store: EventStore, by: SpentBy, **where: Any) -> dict[str, Money]:
    return dict(store.spent(by, JobFilter(**where)))


def sums_of(jobs: list[Job], by: SpentBy) -> dict[str, Money]:
    """Add up the rows of jobs."""
    found: dict[str, Money] = {}
    for job in jobs:
        name = job.created_at[:10] if by == "day" else getattr(job, by) or ""
        before = found.get(name, (0, 0, 0, 0))
        found[name] = Money(*map(sum, zip(before, (1, *money_of(job)), strict=True)))
    return found
