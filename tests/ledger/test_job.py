import json
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.canonical import canonical_json
from ledger.errors import IllegalTransition
from ledger.events import EVENT_TYPES
from ledger.fold import fold
from ledger.job import ANNOTATIONS, NOT_AFTER_CLOSING, TRANSITIONS, Job, next_state, step
from ledger.log.replay import fold_bytes
from ledger.record import Record, StoredRow
from ledger.terms import State
from ledger.verify import rules, slim_fold
from ledger.verify.shapes import as_namespace, encode
from tests.ledger.scribe import Scribe


def record(scribe: Scribe, event: Any, version: int) -> Record:
    return scribe.draft(event).placed("job_1", version + 10, version)


def walk(scribe: Scribe, events: list[Any]) -> Job | None:
    job = None
    for version, event in enumerate(events, 1):
        job = fold(job, record(scribe, event, version))
    return job


def test_verify_has_the_same_table_of_transitions() -> None:
    ours = {
        state.value if state else "-": {name: after.value for name, after in steps.items()}
        for state, steps in TRANSITIONS.items()
    }
    assert ours == rules.STEPS


def test_verify_has_the_same_annotations() -> None:
    assert ANNOTATIONS == rules.ANYWHERE


def test_verify_closes_sessions_as_we_do() -> None:
    assert NOT_AFTER_CLOSING == rules.ONCE_OPEN


def test_every_state_can_be_reached() -> None:
    assert {after for steps in TRANSITIONS.values() for after in steps.values()} == set(State)


def test_every_state_has_a_row_in_the_table() -> None:
    assert TRANSITIONS.keys() == {None, *State}


def test_every_name_in_the_table_belongs_to_an_event() -> None:
    names = {name.partition(":")[0] for steps in TRANSITIONS.values() for name in steps}
    assert names <= EVENT_TYPES.keys()


@given(data=st.data())
@settings(max_examples=settings.default.max_examples * 60 // 100, deadline=None)
def test_random_walks_fold_the_same_in_the_job_and_in_verify(
    vocabulary: ModuleType, data: st.DataObject
) -> None:
    scribe = vocabulary.Scribe()
    events = vocabulary.samples()
    job: Job | None = None
    theirs: Any = None
    slim: Any = None
    rows = []
    for version in range(1, data.draw(st.integers(1, 14)) + 1):
        legal = [event for event in events if next_state(job, event) is not None]
        placed = record(scribe, data.draw(st.sampled_from(legal)), version)
        job = fold(job, placed)
        payload = json.loads(placed.payload)
        state = rules.state_after(theirs, rules.step_name(placed.type, payload))
        theirs = rules.fold_record(theirs, str(state), json.loads(placed.record), payload)
        assert job.canonical() == canonical_json(theirs)
        slim = slim_fold.fold(slim, placed.type, placed.envelope, as_namespace(placed.payload))
        assert encode(slim) == job.canonical()
        rows.append((placed.envelope, StoredRow(placed.record, placed.payload, placed.leaf)))
        assert fold_bytes(rows) == job


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("state", list(TRANSITIONS), ids=lambda state: state or "none")
def test_both_statements_of_the_rules_refuse_the_same_steps(
    vocabulary: ModuleType, scribe: Scribe, state: State | None, *, closed: bool
) -> None:
    job = walk(scribe, [vocabulary.requested()])
    assert job
    there = replace(job, state=state, outcome="stored" if closed else None)
    row = {"state": state, "outcome": "stored" if closed else None} if state else None
    for event in vocabulary.samples():
        name = rules.step_name(event.type, event.as_json())
        expected = next_state(there if state else None, event)
        assert expected == rules.state_after(row, name)
        assert slim_state(there if state else None, event) == expected


def slim_state(job: Job | None, event: Any) -> str | None:
    """Return the state that the slim fold of `verify` comes to."""
    row = None
    if job is not None:
        row = slim_fold.Row(
            **{
                name: getattr(job, name)
                for name in Job.__struct_fields__
                if name not in ("assets", "budgets")
            },
            assets={},
            budgets={},
        )
    payload = as_namespace(canonical_json(event.as_json()))
    envelope = SimpleNamespace(
        stream="job_1", occurred_at="", actor="", trace_id="", version=1, position=1, type=event.type
    )
    try:
        state: str = slim_fold.fold(row, event.type, envelope, payload).state
    except slim_fold.NotSound:
        return None
    return state


def test_both_statements_name_steps_alike(vocabulary: ModuleType) -> None:
    samples = vocabulary.samples()
    theirs = [rules.step_name(event.type, event.as_json()) for event in samples]
    assert [step(event) for event in samples] == theirs


def test_an_illegal_step_is_refused_and_named(vocabulary: ModuleType, scribe: Scribe) -> None:
    with pytest.raises(
        IllegalTransition, match=r"submission\.accepted cannot follow here: job_1 is requested"
    ):
        walk(scribe, [vocabulary.requested(), vocabulary.sample("submission.accepted")])


def test_a_job_does_not_begin_in_the_middle(vocabulary: ModuleType, scribe: Scribe) -> None:
    with pytest.raises(IllegalTransition, match="job_1 does not exist yet"):
        walk(scribe, [vocabulary.asset()])


def test_a_closed_job_takes_no_second_closing(vocabulary: ModuleType, scribe: Scribe) -> None:
    with pytest.raises(IllegalTransition, match="is stored and closed"):
        walk(scribe, [*vocabulary.life(), vocabulary.sample("render.closed")])


def test_a_job_that_ends_well_says_so(vocabulary: ModuleType, scribe: Scribe) -> None:
    job = walk(scribe, vocabulary.life())
    assert job
    facts = (job.state, job.outcome, job.verdict, job.settled_usd_micros, job.reserved_usd_micros)
    assert facts == ("stored", "stored", "approved", 390_000, 0)


def test_a_second_attempt_reserves_again(vocabulary: ModuleType, scribe: Scribe) -> None:
    intended = vocabulary.sample("submission.intended")
    rejected = vocabulary.sample("submission.rejected")
    job = walk(scribe, [vocabulary.requested(), vocabulary.decided(), intended, rejected, intended])
    assert job
    assert (job.attempts, job.reserved_usd_micros) == (2, 400_000)


def test_an_unknown_outcome_keeps_its_money(vocabulary: ModuleType, scribe: Scribe) -> None:
    names = ["submission.intended", "submission.unknown"]
    start = [vocabulary.requested(), vocabulary.decided()]
    job = walk(scribe, start + [vocabulary.sample(name) for name in names])
    assert job
    assert job.reserved_usd_micros == 400_000


def test_a_job_survives_its_row(vocabulary: ModuleType, scribe: Scribe) -> None:
    job = walk(scribe, vocabulary.life())
    assert job
    assert Job.from_canonical(job.canonical()) == job


def test_folding_leaves_the_job_before_as_it_was(vocabulary: ModuleType, scribe: Scribe) -> None:
    before = walk(scribe, [vocabulary.requested()])
    fold(before, record(scribe, vocabulary.decided(), 2))
    assert before == walk(vocabulary.Scribe(), [vocabulary.requested()])


def test_a_job_says_what_may_follow(scribe: Scribe, vocabulary: ModuleType) -> None:
    job = walk(scribe, vocabulary.life()[:2])
    assert job
    assert job.allows(vocabulary.sample("submission.intended"))
    assert not job.allows(vocabulary.sample("render.held"))


@pytest.mark.parametrize("type_", ["render.decided", "render.held", "render.denied"])
def test_a_job_has_the_id_of_its_last_decision(scribe: Scribe, vocabulary: ModuleType, type_: str) -> None:
    job = walk(scribe, [vocabulary.requested(), vocabulary.sample(type_)])
    assert job
    assert job.decision_id == vocabulary.basis().decision_id
