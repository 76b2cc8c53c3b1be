"""Learned shapes of payloads: a compiled parser for payloads that look like one that was checked before.

Nearly all payloads of a type have the same names and kinds of values. The first one is checked the slow way
(`ledger.verify.strict`). From it, and from every later one that differs, a `msgspec` structure is built with
exactly these names, in order, no floats, and integers within the limits. A payload is correct if it parses as
this structure and serialises to the same bytes. Only learned shapes are accepted, so this module states
nothing about any type of event.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from keyword import iskeyword
from types import SimpleNamespace
from typing import Annotated, Any, Union

import msgspec

from ledger.verify.rules import Json
from ledger.verify.strict import MAX_INTEGER, parse_payload

_MOST_NAMES = 64
_MOST_LESSONS = 100
_COMMITMENT = "commitment"
_INTEGER = Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]
_NOTHING = Annotated[list[None], msgspec.Meta(max_length=0)]

_encoder = msgspec.json.Encoder(order="deterministic")
encode: Callable[[Any], bytes] = _encoder.encode
"""Serialises a structure, or plain JSON, with sorted keys."""
encode_lines: Callable[[Any], bytes] = _encoder.encode_lines
"""Serialises several, each followed by a newline: in a third of the time of calling `encode` for each."""

Collect = Callable[[Any, str, dict[str, str]], None]
"""Adds the commitments in a value at a dotted path to a dictionary by path."""


class Unlearnable(ValueError):
    """Payloads like this are checked the slow way."""


class _Kind:
    """The kinds of values found in one place."""

    def __init__(self) -> None:
        self.scalars: set[Any] = set()
        self.items: _Kind | None = None
        self.members: dict[str, _Kind] | None = None
        self.optional: set[str] = set()

    def learn(self, value: Any) -> None:
        if type(value) is dict:
            self._learn_object(value)
        elif type(value) is list:
            self.items = self.items or _Kind()
            for item in value:
                self.items.learn(item)
        else:
            self.scalars.add(_INTEGER if type(value) is int else type(value))

    def _learn_object(self, value: Json) -> None:
        if self.members is None:
            self.members = {}
        else:
            self.optional |= self.members.keys() ^ value.keys()
        for name, item in value.items():
            if not name.isidentifier() or iskeyword(name) or name.startswith("_"):
                raise Unlearnable(name)
            self.members.setdefault(name, _Kind()).learn(item)
        if len(self.members) > _MOST_NAMES:
            raise Unlearnable("names that differ from payload to payload")

    def is_commitment(self) -> bool:
        """Return whether every object here is a commitment; `Unlearnable` if only some of them may be."""
        if self.members is None or _COMMITMENT not in self.members:
            return False
        committed = self.members[_COMMITMENT]
        if len(self.members) > 1 or committed.scalars != {str} or committed.items or committed.members:
            raise Unlearnable("commitments next to other values")
        return True

    def structure(self) -> tuple[Any, Collect | None]:
        """Return the type that `msgspec` parses here, and a function that collects its commitments."""
        kinds: list[Any] = list(self.scalars)
        collectors: list[Collect] = []
        if self.items is not None:
            made, collect = self.items.structure()
            kinds.append(_NOTHING if made is None else list[made])  # type: ignore[valid-type]  # made at run time
            if collect:
                collectors.append(_from_items(collect))
        if self.members is not None:
            made, collect = self._object()
            kinds.append(made)
            if collect:
                collectors.append(_from_object(made, collect))
        whole = Union[tuple(kinds)] if kinds else None  # noqa: UP007  # made at run time
        return whole, (_combine(collectors) if collectors else None)

    def root(self) -> tuple[type[msgspec.Struct], Collect | None]:
        """Return the structure of whole payloads, and a function that collects its commitments."""
        return self._object()

    def _object(self) -> tuple[type[msgspec.Struct], Collect | None]:
        fields: list[Any] = []
        within: list[tuple[str, Collect]] = []
        commits = self.is_commitment()
        for name, kind in sorted((self.members or {}).items()):
            made, collect = kind.structure()
            if name in self.optional:
                fields.append((name, Union[made, msgspec.UnsetType], msgspec.UNSET))  # noqa: UP007
            else:
                fields.append((name, made))
            if collect:
                within.append((name, collect))
        structure = msgspec.defstruct("Learned", fields, forbid_unknown_fields=True, kw_only=True, gc=False)
        if commits:
            return structure, _note
        return structure, (_from_members(within) if within else None)


def _note(value: Any, path: str, found: dict[str, str]) -> None:
    found[path] = value.commitment


def _from_items(collect: Collect) -> Collect:
    def items(value: Any, path: str, found: dict[str, str]) -> None:
        if type(value) is list:
            for number, item in enumerate(value):
                collect(item, f"{path}.{number}", found)

    return items


def _from_object(structure: type, collect: Collect) -> Collect:
    def one(value: Any, path: str, found: dict[str, str]) -> None:
        if type(value) is structure:
            collect(value, path, found)

    return one


def _from_members(within: list[tuple[str, Collect]]) -> Collect:
    def members(value: Any, path: str, found: dict[str, str]) -> None:
        for name, collect in within:
            collect(getattr(value, name), f"{path}.{name}" if path else name, found)

    return members


def _combine(collectors: list[Collect]) -> Collect:
    if len(collectors) == 1:
        return collectors[0]

    def each(value: Any, path: str, found: dict[str, str]) -> None:
        for collect in collectors:
            collect(value, path, found)

    return each


class Namespace(SimpleNamespace):
    """An object of a payload that no shape accepted."""


def as_namespace(payload: bytes) -> Any:
    """Parse a payload that is known to be canonical; its members become attributes, as in a structure."""
    return json.loads(payload, object_hook=lambda members: Namespace(**members))


def _collect_all(value: Any, path: str, found: dict[str, str]) -> None:
    """Collect the commitments of a namespace."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, list):
        items = enumerate(value)
    elif type(value) is Namespace:
        members = vars(value)
        if members.keys() == {_COMMITMENT}:
            if type(value.commitment) is not str:
                raise Unlearnable("a commitment that is no text")
            found[path] = value.commitment
        items = members.items()
    for name, item in items:
        _collect_all(item, f"{path}.{name}" if path else str(name), found)


class Shapes:
    """The shapes learned so far, by type of event, and how to collect the commitments of a structure.

    Structures without an entry in `collectors` have no commitments.
    """

    def __init__(self) -> None:
        self.known: dict[str, Callable[[bytes], Any]] = {}
        self.collectors: dict[type, Collect] = {Namespace: _collect_all}
        self._kinds: dict[str, _Kind] = {}
        self._lessons: dict[str, int] = {}

    def parse(self, type_: str, payload: bytes) -> Any:
        """Return a payload as a structure, or as a namespace, and learn from it if its shape is new.

        `NotCanonicalError` if it is not canonical.
        """
        shape = self.known.get(type_)
        try:
            found = shape(payload) if shape else None
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            found = None
        if found is not None and encode(found) == payload:
            return found
        document, _ = parse_payload(payload)
        self._learn(type_, document)
        return as_namespace(payload)

    def parse_all(self, types: Iterable[str], payloads: Sequence[bytes]) -> list[Any]:
        """Return several payloads as `parse` does, by their types."""
        known = self.known
        with suppress(KeyError, msgspec.MsgspecError, UnicodeError):
            documents = [known[type_](payload) for type_, payload in zip(types, payloads, strict=True)]
            if encode_lines(documents) == b"\n".join([*payloads, b""]):
                return documents
        return [self.parse(type_, payload) for type_, payload in zip(types, payloads, strict=True)]

    def _learn(self, type_: str, document: Json) -> None:
        lessons = self._lessons[type_] = self._lessons.get(type_, 0) + 1
        if lessons > _MOST_LESSONS:
            return
        kind = self._kinds.get(type_)
        if kind is None or kind.members is None or kind.members.keys() != document.keys():
            kind = _Kind()  # another version of the type: only the newest shape is used
        try:
            kind.learn(document)
            structure, collect = kind.root()
            decode = msgspec.json.Decoder(structure).decode
        except (Unlearnable, TypeError, ValueError, RecursionError):
            self._lessons[type_] = _MOST_LESSONS
            self.known.pop(type_, None)
            return
        self._kinds[type_] = kind
        self.known[type_] = decode
        if collect:
            self.collectors[structure] = collect
