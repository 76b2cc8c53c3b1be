"""The fast path for a row of the log: it accepts rows that are certainly correct, and decides nothing else.

Nearly every row is correct, and a log may have a million. So one regular expression reads a whole record, and
a compiled parser reads a payload and prints it again. Rows that these do not accept take the slow path
(`ledger.verify.strict`), which decides and says what is wrong.
"""

import hashlib
import re
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from ledger.verify.rules import KINDS, Json
from ledger.verify.strict import INTEGERS, MAX_INTEGER, PAYLOAD_LIMIT, RECORD_KEYS, SHAPES, look_through

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


class Sound(NamedTuple):
    """The parts of a correct row: leaf, envelope, payload, and the commitments in it."""

    leaf: bytes
    record: Json
    payload: Json
    commitments: list[str]


def sound(row: tuple[Any, ...]) -> Sound | None:
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
    return Sound(leaf, envelope, document, commitments)


_flat: dict[tuple[Any, ...], list[str]] = {}
"""By the names and types of a flat payload (no objects, lists, floats): the names of its integers."""


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
