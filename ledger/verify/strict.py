"""Strict parsing of stored bytes: canonical JSON only, the shape of a record, and the fast path before it.

The fast path only accepts rows that are certainly correct. Nearly every row is correct, and a log may have a
million. So one regular expression reads a whole record, and a compiled parser reads a payload and serialises
it again. All other rows are parsed strictly, which decides and says what is wrong.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from ledger.verify.rules import KINDS, Json


def as_bytes(value: Any) -> bytes:
    """Return the value of a column as bytes."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogateescape")


def as_hex(value: Any) -> str:
    """Return bytes in hex, any other value as text."""
    return value.hex() if isinstance(value, bytes) else str(value)


RECORD_KEYS = frozenset(
    "actor actor_source authority causation_id event_id kind occurred_at payload_sha256 position recorded_at "
    "schema_version span_id stream trace_id type version".split()
)
PAYLOAD_LIMIT = 1_048_576
MAX_INTEGER = 2**53 - 1
_MOST_KEYS = 1_000
_COMMITTED = ["commitment"]
_KEY = re.compile("[a-z0-9_]+")
_ID = "[!-~]{1,128}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
SHAPES = {
    "actor": r"[^\x00-\x1f\x7f]{1,256}",
    "actor_source": "flag|environment|operating_system|access_key|oidc|signature",
    "authority": "SYSTEM|POLICY|HUMAN|EXTERNAL",
    "causation_id": _ID,
    "event_id": _ID,
    "kind": "[A-Z_]+",
    "occurred_at": _TIME,
    "payload_sha256": "[0-9a-f]{64}",
    "recorded_at": _TIME,
    "span_id": "[0-9a-f]{16}",
    "stream": _ID,
    "trace_id": "[0-9a-f]{32}",
    "type": r"[a-z0-9_.]+",
}
_TEXTS = {name: re.compile(shape) for name, shape in SHAPES.items()}
INTEGERS = ("position", "schema_version", "version")


class NotCanonicalError(ValueError):
    """Bytes that are not canonical JSON; the message says why."""


def odd_fields(record: Json) -> Iterator[tuple[str, str]]:
    """Yield the name and the expected shape of every field of a record with a wrong shape."""
    for name, shape in _TEXTS.items():
        value = record[name]
        if value is None and name == "causation_id":
            continue
        if not isinstance(value, str) or not shape.fullmatch(value):
            yield name, shape.pattern
    for name in INTEGERS:
        if type(record[name]) is not int:
            yield name, "an integer"


def parse(data: Any) -> Json:
    """Parse canonical JSON: the result must serialise to the same bytes."""
    if not isinstance(data, bytes):
        raise NotCanonicalError(f"{type(data).__name__}, not bytes")
    try:
        document = _decode(data.decode())
        again = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise NotCanonicalError(str(error)) from None
    if again != data or not isinstance(document, dict):
        raise NotCanonicalError("JSON that is not canonical")
    return document


def parse_payload(data: Any) -> tuple[Json, list[str]]:
    """Parse a payload; return it and its commitments."""
    payload = parse(data)
    commitments: list[str] = []
    look_through(payload, commitments)
    return payload, commitments


def look_through(payload: Json, commitments: list[str]) -> None:
    """Collect commitments, the objects whose only key is ``commitment``, from parsed JSON.

    Refuses what canonical JSON forbids, even if it serialises to the same bytes.
    """
    rest: list[Any] = [payload]
    while rest:
        value = rest.pop()
        kind = type(value)
        if kind is dict:
            keys = list(value)
            if not _good_keys.issuperset(keys):
                _check_keys(keys)
            if sorted(keys) != keys:
                raise NotCanonicalError("keys that are not sorted")
            if keys == _COMMITTED:
                commitments.append(str(value["commitment"]))
            rest += value.values()
        elif kind is list:
            rest += value
        elif kind is float:
            raise NotCanonicalError(f"a float, {value}")
        elif kind is int and not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise NotCanonicalError(f"an integer beyond 2**53 - 1, {value}")


_good_keys: set[str] = set()
"""Keys known to be valid; all events together have a few hundred."""


def _check_keys(keys: Iterable[str]) -> None:
    for key in keys:
        if not _KEY.fullmatch(key):
            raise NotCanonicalError(f"a key not made of [a-z0-9_], {key!r}")
        if len(_good_keys) < _MOST_KEYS:
            _good_keys.add(key)


def _no_float(text: str) -> object:
    raise NotCanonicalError(f"a float, {text}")


def _integer(text: str) -> int:
    value = int(text)
    if abs(value) > MAX_INTEGER:
        raise NotCanonicalError(f"an integer beyond 2**53 - 1, {text}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> Json:
    _check_keys(key for key, _ in pairs)
    return dict(pairs)


_decode = json.JSONDecoder(
    parse_float=_no_float, parse_constant=_no_float, parse_int=_integer, object_pairs_hook=_object
).decode


_CAPTURED = frozenset(
    "actor actor_source causation_id event_id kind occurred_at payload_sha256 position recorded_at "
    "schema_version stream trace_id type version".split()
)
_MOST_SHAPES = 10_000
_sha256 = hashlib.sha256


def _member(name: str) -> str:
    """Return the expression for one member of a record whose value needs no escapes."""
    value = "[1-9][0-9]{0,14}"
    if name not in INTEGERS:
        value = SHAPES[name].replace(r"\x7f]", r'\x7f"\\]').replace("[!-~]", r"[!#-\[\]-~]")
    group = f"({value})" if name in _CAPTURED else f"(?:{value})"
    if name in INTEGERS:
        return f'"{name}":{group}'
    return f'"{name}":(?:null|"{group}")' if name == "causation_id" else f'"{name}":"{group}"'


_RECORD = re.compile("{" + ",".join(map(_member, sorted(RECORD_KEYS))) + "}").fullmatch


class RowParts(NamedTuple):
    """The parts of a correct row: leaf, envelope, payload, and the commitments in it."""

    leaf: bytes
    record: Json
    payload: Json
    commitments: list[str]


def parse_sound(row: tuple[Any, ...]) -> RowParts | None:
    """Return the parts of `row`; None if anything may be wrong with it."""
    position, event_id, stream, version, type_, actor, trace_id, recorded_at, record, payload, stored = row
    try:
        leaf = _sha256(b"\0" + record).digest()
        found = _RECORD(record.decode())
        if found is None or leaf != stored:
            return None
        fields = found.groups()
        _, source, cause, _, kind, occurred_at, digest, _, _, schema_version, *_ = fields
        columns = (
            actor,
            source,
            cause,
            event_id,
            KINDS.get(type_),
            occurred_at,
            _sha256(payload).hexdigest(),
        )
        placed = (str(position), recorded_at, schema_version, stream, trace_id, type_, str(version))
        if fields != columns + placed:
            return None
        document = from_json(payload)
        if type(document) is not dict or to_json(document) != payload:
            return None
        commitments = _commitments(document)
    except (ValueError, TypeError, RecursionError):
        return None
    if len(payload) > PAYLOAD_LIMIT or type(position) is not int or type(version) is not int:
        return None
    envelope = {
        "actor": actor,
        "actor_source": source,
        "causation_id": cause,
        "event_id": event_id,
        "kind": kind,
        "occurred_at": occurred_at,
        "payload_sha256": digest,
        "position": position,
        "recorded_at": recorded_at,
        "schema_version": int(schema_version),
        "stream": stream,
        "trace_id": trace_id,
        "type": type_,
        "version": version,
    }
    return RowParts(leaf, envelope, document, commitments)


_flat: dict[tuple[Any, ...], list[str]] = {}
"""Names of the integers in a flat payload (no objects, lists, floats), by its names and types."""


def _commitments(payload: Json) -> list[str]:
    shape = (*payload, *map(type, payload.values()))
    integers = _flat.get(shape)
    if integers is not None and all(-MAX_INTEGER <= payload[name] <= MAX_INTEGER for name in integers):
        return []
    commitments: list[str] = []
    look_through(payload, commitments)
    if len(_flat) < _MOST_SHAPES and not {dict, list, float} & set(shape) and "commitment" not in payload:
        _flat[shape] = [name for name, value in payload.items() if type(value) is int]
    return commitments
