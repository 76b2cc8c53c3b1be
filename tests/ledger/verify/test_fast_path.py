"""The quick way through verification says yes to nothing that the slow way would object to."""

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.verify import spill
from ledger.verify.strict import NotCanonicalError, odd_fields, parse, parse_payload, parse_sound
from ledger.verify.tree import leaf
from tests.ledger.scribe import Scribe

Row = tuple[Any, ...]
ENVELOPE: dict[str, Any] = {
    "actor": "ana",
    "actor_source": "flag",
    "authority": "SYSTEM",
    "causation_id": None,
    "event_id": "00000000-0000-0000-0000-000000000003",
    "kind": "OBSERVATION",
    "occurred_at": "2026-11-20T09:00:03.000000Z",
    "position": 3,
    "recorded_at": "2026-11-20T09:00:03.000000Z",
    "schema_version": 1,
    "span_id": "00f067aa0ba902b7",
    "stream": "notes",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "type": "output.attached",
    "version": 1,
}
COLUMNS = ("position", "event_id", "stream", "version", "type", "actor", "trace_id", "recorded_at")
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.text(max_size=8)
    | st.sampled_from(["", '"', "\\", "\x00", "\x7f", "\u2028", "\U0001f3a5", 'a":1.5', "1e5"])
)
KEYS = st.text("abz_09", min_size=1, max_size=4) | st.text(max_size=3) | st.just("commitment")
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner), max_leaves=6
    ),
    max_size=5,
)


def canonical(document: Any) -> bytes:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="surrogatepass")


def row(payload: bytes, **changes: Any) -> Row:
    """Return the row of one record over `payload`; `changes` are made in record and columns alike."""
    envelope = ENVELOPE | {"payload_sha256": hashlib.sha256(payload).hexdigest()} | changes
    record = canonical(envelope)
    return (*(envelope[name] for name in COLUMNS), record, payload, leaf(record))


def objections(stored: Row) -> list[object]:
    """Return what the slow way has against a row."""
    try:
        record, _ = parse(stored[8]), parse_payload(stored[9])
    except NotCanonicalError as error:
        return [error]
    differing = [name for name, value in zip(COLUMNS, stored, strict=False) if record[name] != value]
    return [*odd_fields(record), *differing]


@given(DOCUMENTS)
@settings(deadline=None)
def test_what_is_quickly_accepted_is_canonical(document: Any) -> None:
    stored = row(canonical(document))
    if parse_sound(stored):
        assert objections(stored) == []


@given(st.binary(max_size=12), st.integers(0, 60), st.integers(0, 12))
@settings(deadline=None)
def test_spoilt_bytes_are_not_quickly_accepted(noise: bytes, start: int, length: int) -> None:
    payload = canonical({"progress": 30, "status": "queued", "error": {"commitment": "ab"}})
    stored = row(payload[:start] + noise + payload[start + length :])
    if parse_sound(stored):
        assert objections(stored) == []


@given(st.sampled_from(sorted(ENVELOPE)), SCALARS)
@settings(deadline=None)
def test_a_record_that_is_quickly_accepted_has_its_shape(name: str, value: Any) -> None:
    try:
        stored = row(b'{"a":1}', **{name: value})
    except UnicodeEncodeError:  # no record is made of it
        return
    if parse_sound(stored):
        assert objections(stored) == []


def test_a_record_in_order_is_quickly_accepted() -> None:
    assert parse_sound(row(b'{"uri":"u","workflow":"trailer"}'))


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1.0}',
        b'{"a":1e16}',
        b'{"a":[{"b":0.5}]}',
        b'{"a":-0}',
        b'{"a":9007199254740992}',
        b'{"a":1,"a":1}',
        b'{"A":1}',
        b'{"":1}',
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":NaN}',
        b"[1]",
        b'"a"',
        b"",
    ],
)
def test_what_is_not_canonical_goes_the_slow_way(payload: bytes) -> None:
    assert parse_sound(row(payload)) is None


def test_the_commitments_of_a_payload_are_found_however_deep() -> None:
    payload = canonical({"a": {"commitment": "1"}, "b": [{"c": {"commitment": "2"}}], "commitment": "3"})
    found = parse_sound(row(payload))
    assert found
    assert sorted(found.commitments) == ["1", "2"]


def test_a_stream_that_was_put_away_goes_on_where_it_stood(
    path: Path,
    scribe: Scribe,
    vocabulary: ModuleType,
    check: Callable[..., list[tuple[str, int | None]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spill, "NEAR", 1)
    ids = [f"job_{number:032x}" for number in range(5)]
    with scribe.ledger(path) as ledger:
        for step in range(len(vocabulary.life())):
            for job_id in ids:
                scribe.live(ledger.store, job_id, [vocabulary.life()[step]])
    assert check(path) == []


def test_text_that_is_no_utf_8_is_read_as_it_is(path: Path, scribe: Scribe) -> None:
    with scribe.ledger(path) as ledger:
        ledger.append([scribe.note(), scribe.note()])
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("DROP TRIGGER events_no_update")
    db.execute("UPDATE events SET actor = CAST(x'ff' AS TEXT) WHERE position = 2")
    db.close()
    with SqliteSnapshot(path) as tables:
        assert [(stored[0], stored[5]) for stored in tables.events()] == [
            (1, "ana"),
            (2, "\udcff"),
            (3, "ana"),
        ]
