"""One payload of every version of every event, frozen: this version reads all of them."""

import json
import re
from pathlib import Path
from shutil import copyfile
from typing import Any, ClassVar

import pytest
from msgspec.structs import asdict, replace

from ledger import upcast
from ledger.canonical import canonical_json
from ledger.errors import LedgerUnusable
from ledger.events import EVENT_TYPES, OutputAttached
from ledger.log.opening import open_ledger
from ledger.private import private_values
from ledger.record import Record, StoredRow, parse_event
from ledger.verify import rules

ROOT = Path(__file__).parents[2]
EXAMPLES = Path(__file__).parent / "events"
VERSIONS = [
    (type_, version) for type_, model in EVENT_TYPES.items() for version in range(1, model.schema_version + 1)
]
GUIDE = (ROOT / "docs" / "adding-an-event-type.md").read_text(encoding="utf-8")


@pytest.fixture
def golden(tmp_path: Path) -> str:
    """Return the ledger of version 1, copied, because SQLite leaves files beside one that is opened."""
    return str(copyfile(EXAMPLES.parent / "v1" / "ledger.db", tmp_path / "ledger.db"))


def stored(type_: str, version: int = 1) -> bytes:
    return (EXAMPLES / f"{type_}.{version}.json").read_bytes()


@pytest.mark.parametrize(("type_", "version"), VERSIONS)
def test_every_version_of_every_event_has_an_example_that_is_read(type_: str, version: int) -> None:
    event = parse_event(type_, json.loads(stored(type_, version)), {}, version)
    assert isinstance(event, EVENT_TYPES[type_])


@pytest.mark.parametrize("type_", sorted(EVENT_TYPES))
def test_the_example_of_todays_version_is_written_as_it_was(type_: str) -> None:
    payload = stored(type_, EVENT_TYPES[type_].schema_version)
    event = parse_event(type_, json.loads(payload), {}, EVENT_TYPES[type_].schema_version)
    assert canonical_json(event.as_json()) == payload


def test_an_absent_body_reads_as_erased() -> None:
    event = parse_event("render.requested", json.loads(stored("render.requested")), {})
    assert {private.text for _, private in private_values(event)} == {None}


# --- a version that does not exist, to show how one would be read ---


class OutputAttachedV2(OutputAttached):
    """What an attached output might look like one day: with the kind of its URI."""

    schema_version: ClassVar[int] = 2
    scheme: str


class OutputAttachedV3(OutputAttachedV2):
    """And later: with a label."""

    schema_version: ClassVar[int] = 3
    label: str | None


def with_scheme(payload: dict[str, Any]) -> dict[str, Any]:
    return payload | {"scheme": payload["uri"].split(":")[0]}


def with_label(payload: dict[str, Any]) -> dict[str, Any]:
    return payload | {"label": None}


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> type[OutputAttachedV3]:
    """Have the vocabulary hold version 3 of an event, and the steps to it."""
    monkeypatch.setitem(EVENT_TYPES, "output.attached", OutputAttachedV3)
    monkeypatch.setitem(upcast.STEPS, ("output.attached", 1), with_scheme)
    monkeypatch.setitem(upcast.STEPS, ("output.attached", 2), with_label)
    return OutputAttachedV3


def test_an_old_version_is_read_step_by_step(later: type[OutputAttachedV3]) -> None:
    event: Any = parse_event("output.attached", json.loads(stored("output.attached")), {}, 1)
    assert (event.scheme, event.label) == ("https", None)


def test_a_version_in_between_takes_only_the_steps_that_are_left(later: type[OutputAttachedV3]) -> None:
    payload = with_scheme(json.loads(stored("output.attached"))) | {"scheme": "ftp"}
    event: Any = parse_event("output.attached", payload, {}, 2)
    assert event.scheme == "ftp"


def test_steps_leave_the_stored_payload_alone(later: type[OutputAttachedV3]) -> None:
    payload = json.loads(stored("output.attached"))
    parse_event("output.attached", payload, {}, 1)
    assert canonical_json(payload) == stored("output.attached")


def test_a_record_that_is_read_through_steps_keeps_its_bytes(
    later: type[OutputAttachedV3], golden: str
) -> None:
    with open_ledger(golden) as ledger:
        record = next(record for record in ledger.read() if record.type == "output.attached")
        row = ledger.store.event(record.event_id)
    assert isinstance(record.event, later)
    assert row == StoredRow(record.record, record.payload, record.leaf)


def test_a_missing_step_is_named(later: type[OutputAttachedV3], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(upcast.STEPS, ("output.attached", 2))
    with pytest.raises(LedgerUnusable, match="has no step from version 2 to 3"):
        parse_event("output.attached", json.loads(stored("output.attached")), {}, 1)


def test_a_newer_version_says_which_is_needed_and_where_it_stands(golden: str) -> None:
    with open_ledger(golden) as ledger:
        record = next(record for record in ledger.read() if record.type == "output.attached")
    newer = canonical_json(asdict(replace(record.envelope, schema_version=2)))
    read = Record.from_row(StoredRow(newer, record.payload, record.leaf), {})
    with pytest.raises(
        LedgerUnusable,
        match=rf"position {record.position}: a output.attached was recorded in schema version 2, this "
        "sora-ledger knows up to version 1: upgrade",
    ):
        _ = read.event


# --- the guide ---


def named_in_guide() -> list[str]:
    return re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.\w+)`", GUIDE)


def test_the_guide_names_files_that_exist() -> None:
    assert [name for name in named_in_guide() if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("place", ["ledger/events.py", "ledger/verify/rules.py", "docs/FORMAT.md"])
def test_every_event_is_in_every_place_the_guide_says(place: str) -> None:
    assert place in named_in_guide()
    text = (ROOT / place).read_text(encoding="utf-8")
    assert [type_ for type_ in EVENT_TYPES if type_ not in text] == []


def test_verification_knows_every_event() -> None:
    assert {type_: model.kind.value for type_, model in EVENT_TYPES.items()} == rules.KINDS


def test_the_guide_is_where_contributing_points() -> None:
    assert "docs/adding-an-event-type.md" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
