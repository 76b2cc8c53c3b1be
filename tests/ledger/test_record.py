import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from types import ModuleType
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from ledger.canonical import canonical_json
from ledger.errors import LedgerUnusable, RecordTooLarge
from ledger.events import OutputAttached, RenderCancelled
from ledger.private import Private, commit
from ledger.record import Record, StoredRow, draft, entries, new_event_id, new_job_id, timestamp
from tests.ledger.scribe import Scribe

NOTE = OutputAttached(workflow="trailer", uri="u")


def test_a_record_has_exactly_the_keys_of_the_format(scribe: Scribe) -> None:
    expected = (
        "actor actor_source authority causation_id event_id kind occurred_at payload_sha256 position "
        "recorded_at schema_version span_id stream trace_id type version"
    )
    assert " ".join(json.loads(scribe.draft(NOTE).placed("notes", 1, 1).record)) == expected


NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)


@given(
    actor=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=256),
    names=st.tuples(NAMES, NAMES, st.none() | NAMES),
    moment=st.datetimes(timezones=st.just(UTC)),
    place=st.tuples(st.integers(1, 2**53 - 1), st.integers(1, 2**53 - 1)),
)
def test_a_record_is_canonical_json(
    vocabulary: ModuleType, actor: str, names: tuple[str, str, str | None], moment: datetime, place: Any
) -> None:
    stream, event_id, cause = names
    who = vocabulary.provenance(actor=actor)
    made = draft(NOTE, who, moment, event_id=event_id, causation_id=cause).placed(stream, *place)
    fields = json.loads(made.record)
    assert made.record == canonical_json(fields)
    assert fields == asdict(made.envelope)
    shown = [fields[name] for name in ("actor", "stream", "event_id", "causation_id", "position", "version")]
    assert shown == [actor, *names, *place]


def test_a_record_holds_the_digest_of_its_payload(scribe: Scribe) -> None:
    record = scribe.draft(NOTE).placed("notes", 1, 1)
    assert record.envelope.payload_sha256 == hashlib.sha256(record.payload).hexdigest()


def test_the_leaf_is_the_hash_of_zero_and_the_record(scribe: Scribe) -> None:
    record = scribe.draft(NOTE).placed("notes", 1, 1)
    assert record.leaf == hashlib.sha256(b"\0" + record.record).digest()


def test_a_record_survives_its_row(scribe: Scribe, vocabulary: ModuleType) -> None:
    made = scribe.draft(vocabulary.requested())
    record = made.placed("job_1", 3, 1)
    bodies = {body.commitment: body for body in made.bodies}
    again = Record.from_row(StoredRow(record.record, record.payload, record.leaf), bodies)
    assert (again.envelope, again.event) == (record.envelope, record.event)


def test_many_rows_are_read_as_each_alone(scribe: Scribe, vocabulary: ModuleType) -> None:
    made = [scribe.draft(event).placed("notes", 1, 1) for event in vocabulary.samples()]
    rows = [StoredRow(record.record, record.payload, record.leaf) for record in made]
    assert Record.from_rows(rows) == [Record.from_row(row, {}) for row in rows]


@pytest.mark.parametrize("damaged", ["cut", "two and none", "no bytes"])
def test_many_rows_with_a_damaged_record_are_refused(scribe: Scribe, damaged: str) -> None:
    record = scribe.draft(NOTE).placed("notes", 1, 1).record
    records: Any = {
        "cut": (record, record[:-1]),
        "two and none": (record + b"\n" + record, b""),
        "no bytes": (record, None),
    }[damaged]
    with pytest.raises(LedgerUnusable, match="damaged"):
        Record.from_rows([StoredRow(each, b"{}", b"") for each in records])


def test_an_event_occurs_when_it_is_recorded_unless_told(scribe: Scribe) -> None:
    made = scribe.draft(NOTE)
    assert made.occurred_at == made.recorded_at


def test_times_are_utc_with_microseconds() -> None:
    moment = datetime(2026, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(moment) == "2025-12-31T23:00:00.000000Z"


def test_ids_made_in_one_moment_differ() -> None:
    assert len({new_event_id() for _ in range(1000)}) == 1000


def test_job_ids_are_their_streams_names() -> None:
    assert len(new_job_id()) == len("job_") + 32


def test_text_sealed_for_another_field_is_refused(vocabulary: ModuleType) -> None:
    event = RenderCancelled(why=Private.seal("notes", "x"))
    with pytest.raises(ValueError, match="the text at why was sealed as notes; seal it as why"):
        draft(event, vocabulary.provenance(), datetime(2026, 1, 1, tzinfo=UTC))


def test_a_commitment_without_text_is_refused(vocabulary: ModuleType) -> None:
    event = RenderCancelled(why=Private(commitment=commit("why", "x", bytes(32))))
    with pytest.raises(ValueError, match="why has no text"):
        draft(event, vocabulary.provenance(), datetime(2026, 1, 1, tzinfo=UTC))


def test_an_event_may_be_recorded_once_more_with_an_id_of_its_own(scribe: Scribe) -> None:
    first = scribe.draft(NOTE)
    again = first.again(datetime(2026, 1, 2, tzinfo=UTC), causation_id=first.event_id)
    assert (again.payload, again.causation_id, again.recorded_at) == (
        first.payload,
        first.event_id,
        "2026-01-02T00:00:00.000000Z",
    )
    assert again.event_id != first.event_id


def test_an_event_with_private_text_is_recorded_once(scribe: Scribe, vocabulary: ModuleType) -> None:
    with pytest.raises(ValueError, match="seal it again"):
        scribe.draft(vocabulary.requested()).again(datetime(2026, 1, 2, tzinfo=UTC), causation_id=None)


def test_a_payload_over_its_limit_is_refused(vocabulary: ModuleType) -> None:
    event = OutputAttached(workflow="w", uri="u" * 1_048_577)
    with pytest.raises(RecordTooLarge, match="a payload has at most 1048576 bytes"):
        draft(event, vocabulary.provenance(), datetime(2026, 1, 1, tzinfo=UTC))


def test_a_record_at_its_widest_is_far_below_its_limit(scribe: Scribe) -> None:
    widest = scribe.draft(NOTE, actor="\U0001f600" * 256).placed("s" * 128, 2**53 - 1, 2**53 - 1)
    assert len(widest.record) < 2_500


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("actor", ""),
        ("actor", "a\0b"),
        ("actor", "a" * 257),
        ("trace_id", "0AF7651916CD43DD8448EB211C80319C"),
        ("trace_id", "short"),
        ("span_id", "b7ad6b716920333100"),
    ],
)
def test_a_record_refuses_a_provenance_of_another_shape(scribe: Scribe, field: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"output.attached: {field} must match"):
        scribe.draft(NOTE, **{field: value}).placed("notes", 1, 1)


@pytest.mark.parametrize("stream", ["", "two words", "null\0", "s" * 129, "café"])
def test_a_record_refuses_a_stream_of_another_shape(scribe: Scribe, stream: str) -> None:
    with pytest.raises(ValueError, match="stream must match"):
        scribe.draft(NOTE).placed(stream, 1, 1)


def test_a_record_over_its_limit_is_refused(scribe: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(scribe.draft(NOTE).placed("notes", 1, 1).record)
    monkeypatch.setattr("ledger.record.RECORD_LIMIT_BYTES", size - 1)
    with pytest.raises(RecordTooLarge, match=f"a record has at most {size - 1} bytes, this one {size}"):
        scribe.draft(NOTE).placed("notes", 1, 1)


@pytest.mark.parametrize("type_", ["a.type_before", "z.type_after"])
def test_of_records_of_other_types_no_event_is_parsed(scribe: Scribe, type_: str) -> None:
    class Unreadable:
        type = type_

        @property
        def event(self) -> Any:
            raise AssertionError("it was parsed")

    wanted = scribe.draft(NOTE).placed("notes", 1, 1)
    records = cast("Any", [Unreadable(), wanted])
    assert [entry.event for entry in entries(records, OutputAttached)] == [NOTE]
