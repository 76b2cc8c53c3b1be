"""Drafts and records: an event with its ids, times, actor, trace and position, and the bytes that are hashed.

A `Draft` is an event with everything the caller decides: id, times, salts. It is made once, before the
first attempt, so that a retry is the same append. The store adds the position and the version in the
stream, which completes the record's bytes and its leaf. `docs/FORMAT.md` is the normative description.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

from msgspec import DecodeError, MsgspecError, Struct, ValidationError, convert, json
from msgspec.structs import asdict, force_setattr
from uuid_utils import uuid7

from ledger.canonical import NotCanonicalError, canonical_json, encode_valid, leaf_hash, sha256_hex
from ledger.errors import LedgerUnusable, RecordTooLarge
from ledger.events import EVENT_TYPES, Event, EventBase
from ledger.private import PrivateBody, commit, private_values
from ledger.terms import Kind
from ledger.upcast import UPGRADE, upcast

RECORD_LIMIT_BYTES = 65_535
PAYLOAD_LIMIT_BYTES = 1_048_576

_ID = "[!-~]{1,128}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
_SHAPES = {
    "actor": re.compile(r"[^\x00-\x1f\x7f]{1,256}"),
    "causation_id": re.compile(_ID),
    "event_id": re.compile(_ID),
    "occurred_at": re.compile(_TIME),
    "recorded_at": re.compile(_TIME),
    "span_id": re.compile("[0-9a-f]{16}"),
    "stream": re.compile(_ID),
    "trace_id": re.compile("[0-9a-f]{32}"),
}
"""The formats of values that callers supply: text that every database stores unchanged, and W3C ids."""
_VARYING = re.compile(f"{_ID}\n{_ID}\n{_ID}\n{_TIME}\n{_TIME}").fullmatch
"""The formats of values that differ from record to record."""
_NO_BODIES: Mapping[str, PrivateBody] = MappingProxyType({})


class ActorSource(StrEnum):
    """How the actor was identified, weakest first."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    OPERATING_SYSTEM = "operating_system"
    ACCESS_KEY = "access_key"
    OIDC = "oidc"
    SIGNATURE = "signature"


BY_ACCESS = frozenset({ActorSource.ACCESS_KEY, ActorSource.OIDC})
"""Sources that identify a caller of a server: the name came with a key, or a provider vouches for it."""


class Authority(StrEnum):
    """The authority under which an event was recorded."""

    SYSTEM = "SYSTEM"
    POLICY = "POLICY"
    HUMAN = "HUMAN"
    EXTERNAL = "EXTERNAL"


@dataclass(frozen=True, slots=True)
class Provenance:
    """The recording actor, and the trace (W3C ids: 32 and 16 lower-case hex digits)."""

    actor: str
    actor_source: ActorSource
    authority: Authority
    trace_id: str
    span_id: str


def new_event_id() -> str:
    """Return a new event id: a UUIDv7, so that ids sort roughly by time."""
    return str(uuid7())


def new_job_id() -> str:
    """Return the stream name of a new job: ``job_`` and a UUIDv7 in 32 hex digits."""
    return f"job_{uuid7().hex}"


def timestamp(moment: datetime) -> str:
    """Return an aware `moment` as RFC 3339 UTC with microseconds, always 27 characters."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


@dataclass(frozen=True)
class Draft:
    """An event ready to be recorded: everything except its position in the log."""

    event: Event
    event_id: str
    recorded_at: str
    occurred_at: str
    provenance: Provenance
    causation_id: str | None
    payload: bytes
    bodies: tuple[PrivateBody, ...]

    def again(self, now: datetime, *, causation_id: str | None) -> "Draft":
        """Return the same event for a second record, with a new id and new times.

        `ValueError` if it has private text: a commitment belongs to one event.
        """
        if self.bodies:
            raise ValueError(f"{self.event.type}: its text was sealed for another event: seal it again")
        moment = timestamp(now)
        return replace(
            self, event_id=new_event_id(), recorded_at=moment, occurred_at=moment, causation_id=causation_id
        )

    def envelope(self, stream: str, position: int = 0, version: int = 0) -> "Envelope":
        """Return the record's fields; without a place, those that appends of one event id must agree on."""
        provenance, event = self.provenance, self.event
        return Envelope(
            provenance.actor,
            str(provenance.actor_source),
            str(provenance.authority),
            self.causation_id,
            self.event_id,
            str(event.kind),
            self.occurred_at,
            sha256_hex(self.payload),
            position,
            self.recorded_at,
            event.schema_version,
            provenance.span_id,
            stream,
            provenance.trace_id,
            event.type,
            version,
        )

    def placed(self, stream: str, position: int, version: int) -> "Record":
        """Return the record at a position; `RecordTooLarge` if it exceeds the limit."""
        envelope = self.envelope(stream, position, version)
        _check_shapes(envelope)
        record = _print(envelope)  # all other values are canonical: event names, a digest, numbers
        if len(record) > RECORD_LIMIT_BYTES:
            raise RecordTooLarge(
                f"{self.event.type}: a record has at most {RECORD_LIMIT_BYTES} bytes, this one {len(record)}",
                expected=f"at most {RECORD_LIMIT_BYTES} bytes",
                found=len(record),
            )
        return Record(envelope, record, self.payload, leaf_hash(record), _NO_BODIES, self.event)


class Envelope(Struct, frozen=True, gc=False):
    """The fields of a record, in the order of canonical JSON, in which they are printed."""

    actor: str
    actor_source: str
    authority: str
    causation_id: str | None
    event_id: str
    kind: str
    occurred_at: str
    payload_sha256: str
    position: int
    recorded_at: str
    schema_version: int
    span_id: str
    stream: str
    trace_id: str
    type: str
    version: int


_print = json.Encoder().encode
_envelopes = json.Decoder(Envelope)
_read = _envelopes.decode


def _check_shapes(envelope: Envelope) -> None:
    """Refuse a malformed name, id or time; values that many records share are checked once."""
    cause = envelope.causation_id
    names = f"{'-' if cause is None else cause}\n{envelope.event_id}\n{envelope.stream}"
    if _is_sound(envelope.actor, envelope.span_id, envelope.trace_id) and _VARYING(
        f"{names}\n{envelope.occurred_at}\n{envelope.recorded_at}"
    ):
        return
    for name, shape in _SHAPES.items():
        value = getattr(envelope, name)
        if value is cause is None:
            continue
        if not shape.fullmatch(value):
            raise ValueError(f"{envelope.type}: {name} must match {shape.pattern}, found {value!r}")
    encode_valid(asdict(envelope))  # raises if it contains a lone surrogate


@lru_cache(maxsize=1_024)
def _is_sound(actor: str, span_id: str, trace_id: str) -> bool:
    values = {"actor": actor, "span_id": span_id, "trace_id": trace_id}
    is_unicode = not any("\ud800" <= character <= "\udfff" for character in actor)
    return is_unicode and all(_SHAPES[name].fullmatch(value) for name, value in values.items())


def draft(
    event: Event,
    provenance: Provenance,
    now: datetime,
    *,
    event_id: str | None = None,
    occurred_at: datetime | None = None,
    causation_id: str | None = None,
) -> Draft:
    """Prepare `event` for recording; ids, salts and times are fixed here."""
    bodies = []
    for path, private in private_values(event):
        body = private.body
        if body is None:
            raise ValueError(f"{event.type}: {path} has no text; seal the text again")
        if commit(path, body.text, body.salt) != private.commitment:
            raise ValueError(
                f"{event.type}: the text at {path} was sealed as {body.field}; seal it as {path}"
            )
        bodies.append(body)
    event, payload = _checked(event)
    if bodies:
        _attach(event, {body.commitment: body for body in bodies})
    if len(payload) > PAYLOAD_LIMIT_BYTES:
        raise RecordTooLarge(
            f"{event.type}: a payload has at most {PAYLOAD_LIMIT_BYTES} bytes, this one {len(payload)}",
            expected=f"at most {PAYLOAD_LIMIT_BYTES} bytes",
            found=len(payload),
        )
    recorded_at = timestamp(now)
    return Draft(
        event=event,
        event_id=event_id or new_event_id(),
        recorded_at=recorded_at,
        occurred_at=timestamp(occurred_at) if occurred_at else recorded_at,
        provenance=provenance,
        causation_id=causation_id,
        payload=payload,
        bodies=tuple(bodies),
    )


_print_payload = json.Encoder(order="sorted").encode
_print_fields = json.Encoder().encode
_LONG_NUMBER = re.compile(rb"[:,\[]-?[0-9]{16}")


@cache
def _reader(model: type[EventBase]) -> Callable[[bytes], EventBase]:
    return json.Decoder(model).decode


def _checked(event: Event) -> tuple[Event, bytes]:
    """Return `event` with the types of its fields, and its payload as canonical JSON.

    All values of these types are in the canonical subset, except for integers beyond 2**53 and lone
    surrogates.
    """
    try:
        typed = _reader(type(event))(_print_payload(event))
        payload = _print_payload(typed)
    except (DecodeError, TypeError, OverflowError) as error:
        raise ValueError(f"{event.type}: {error}") from error
    except UnicodeEncodeError as error:
        raise NotCanonicalError(f"{event.type}: text must be valid Unicode, found {error.reason}") from None
    if _LONG_NUMBER.search(payload):
        canonical_json(typed.as_json())
    return typed, payload  # type: ignore[return-value]  # one of the union


def _attach(event: EventBase, bodies: Mapping[str, PrivateBody]) -> None:
    for _, private in private_values(event):
        private.attach(bodies.get(private.commitment))


_DAMAGED = "a record is damaged: `sora-ledger verify` shows which one"
_UNLIKE_ITS_TYPE = "a recorded {} does not have the fields of its type ({}): run `sora-ledger verify`"


class StoredRow(NamedTuple):
    """One row of the log as a store returns it: exactly the bytes that were hashed."""

    record: bytes
    payload: bytes
    leaf: bytes


class Record(Struct, frozen=True, gc=False):
    """One recorded event: the envelope, the bytes that were hashed, the leaf, and the event itself."""

    envelope: Envelope
    record: bytes
    payload: bytes
    leaf: bytes
    bodies: Mapping[str, PrivateBody]
    parsed: Event | None = None
    """The parsed event, if it was parsed."""

    @classmethod
    def from_row(cls, row: StoredRow, bodies: Mapping[str, PrivateBody]) -> "Record":
        """Read a stored row; `bodies` (by commitment) fill its private text."""
        try:
            envelope = _read(row.record)
        except (MsgspecError, TypeError) as error:
            raise LedgerUnusable(_DAMAGED) from error
        return cls(envelope, row.record, row.payload, row.leaf, bodies)

    @classmethod
    def from_rows(cls, rows: Sequence[StoredRow]) -> "list[Record]":
        """Read stored rows as `from_row` does, without private text, in half the time."""
        with suppress(MsgspecError, TypeError):
            lines = b"\n".join([row.record for row in rows])
            if lines.count(b"\n") == len(rows) - 1:
                envelopes = _envelopes.decode_lines(lines)
                if len(envelopes) == len(rows):
                    return [
                        cls(envelope, *row, _NO_BODIES) for envelope, row in zip(envelopes, rows, strict=True)
                    ]
        return [cls.from_row(row, _NO_BODIES) for row in rows]  # says what is wrong

    def with_bodies(self, bodies: Mapping[str, PrivateBody]) -> "Record":
        """Return the same record with `bodies` (by commitment) to fill its private text."""
        return Record(self.envelope, self.record, self.payload, self.leaf, bodies)

    @property
    def event(self) -> Event:
        """The payload as an event."""
        if self.parsed is None:
            event = _event_of(self)
            if self.bodies:
                _attach(event, self.bodies)
            force_setattr(self, "parsed", event)
            return event
        return self.parsed

    def payload_json(self) -> bytes:
        """Return the event as JSON, without private text and without keeping it."""
        return _print_fields(self.parsed or _event_of(self))

    @property
    def position(self) -> int:
        """Position in the log, from 1, without gaps."""
        return self.envelope.position

    @property
    def version(self) -> int:
        """Version in the stream, from 1, without gaps."""
        return self.envelope.version

    @property
    def stream(self) -> str:
        """The stream of the event: ``job_…`` for a job."""
        return self.envelope.stream

    @property
    def event_id(self) -> str:
        """The event id, which the caller made."""
        return self.envelope.event_id

    @property
    def type(self) -> str:
        """The event's name, such as ``submission.accepted``."""
        return self.envelope.type

    @property
    def schema_version(self) -> int:
        """The schema version in which the payload was stored."""
        return self.envelope.schema_version

    @property
    def kind(self) -> Kind:
        """The kind of the event."""
        return Kind(self.envelope.kind)

    @property
    def recorded_at(self) -> str:
        """The time of recording, RFC 3339 UTC."""
        return self.envelope.recorded_at

    @property
    def occurred_at(self) -> str:
        """The time of the event itself, RFC 3339 UTC."""
        return self.envelope.occurred_at

    @property
    def actor(self) -> str:
        """The opaque id of the actor who recorded the event."""
        return self.envelope.actor

    @property
    def trace_id(self) -> str:
        """The W3C trace of the event."""
        return self.envelope.trace_id


E = TypeVar("E", bound=EventBase)
Event_co = TypeVar("Event_co", bound=EventBase, covariant=True)


@dataclass(frozen=True)
class Entry(Generic[Event_co]):
    """A record together with its event, whose type is known."""

    record: Record
    event: Event_co


def entries(records: Iterable[Record], kind: type[E]) -> Iterator[Entry[E]]:
    """Yield the `records` whose event is a `kind`; the events of the others are not parsed."""
    for record in records:
        if record.type == kind.type and isinstance(event := record.event, kind):
            yield Entry(record, event)


def _event_of(record: Record) -> Event:
    """Read the payload of a record without private text; `LedgerUnusable` names the position."""
    envelope = record.envelope
    try:
        return _typed(envelope.type, envelope.schema_version, record.payload)
    except LedgerUnusable as error:
        raise LedgerUnusable(f"position {envelope.position}: {error}") from error


def _typed(type_: str, version: int, payload: bytes) -> Event:
    """Read a payload: in one step, unless it was stored in another schema version."""
    model = EVENT_TYPES.get(type_)
    if model is None or version != model.schema_version:
        return parse_event(type_, _parsed(payload), {}, version)
    try:
        event = _reader(model)(payload)
    except ValidationError as error:
        raise LedgerUnusable(_UNLIKE_ITS_TYPE.format(type_, error)) from error
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LedgerUnusable(_DAMAGED) from error
    return event  # type: ignore[return-value]  # one of the union


def _parsed(stored: bytes) -> dict[str, Any]:
    try:
        document = json.decode(stored)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LedgerUnusable(_DAMAGED) from error
    if not isinstance(document, dict):
        raise LedgerUnusable(_DAMAGED)
    return document


def parse_event(
    type_: str, payload: dict[str, Any], bodies: Mapping[str, PrivateBody], version: int = 1
) -> Event:
    """Build the event of `type_` from its payload as stored in schema `version`.

    `bodies` (by commitment) supply the private text; text without a body counts as erased. `LedgerUnusable`
    if this version does not know the type, the version or the payload.
    """
    model = EVENT_TYPES.get(type_)
    if model is None:
        raise LedgerUnusable(f"this version does not know the event type {type_!r}: {UPGRADE}")
    if version != model.schema_version:
        payload = upcast(type_, version, payload, model.schema_version)
    try:
        event = convert(payload, model)
    except ValidationError as error:
        raise LedgerUnusable(_UNLIKE_ITS_TYPE.format(type_, error)) from error
    if bodies:
        _attach(event, bodies)
    return event  # type: ignore[return-value]  # one of the union
