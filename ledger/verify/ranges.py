"""Check a range of positions, and either report it as sound or say nothing.

`check_range` accepts a range in which `ledger.verify.checks` would find nothing, as far as the range alone
can show. It returns the data to compare with the other ranges and with the whole ledger
(`ledger.verify.incremental`). Anything odd is `NotSound`; `ledger.verify.checks` then decides.

1. Records, payloads and hashes are checked in blocks of 256, with compiled parsers: a record or payload must
   serialise to its own bytes.
2. Records are followed stream by stream. A stream that began before the range, or was not seen for long, is
   reread from its beginning; its earlier records are checked by the range they are in.
3. A job that leaves memory is compared with its row. If they differ, the job must continue later:
   `join_parts` compares the sums of all versions and all jobs, which differ if any job was compared with too
   few of its records or not at all.
"""

import hashlib
import hmac
import re
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Protocol

import msgspec

from ledger.verify.checks import RECORD_LIMIT, Snapshot
from ledger.verify.elsewhere import DOMAIN
from ledger.verify.permissions import PREFIX, Approvals
from ledger.verify.report import Report
from ledger.verify.rules import KINDS, Json
from ledger.verify.shapes import Collect, Namespace, Shapes, as_namespace, encode, encode_lines
from ledger.verify.slim_fold import MONEY, NotSound, fold
from ledger.verify.spill import Memory, Stream
from ledger.verify.strict import MAX_INTEGER, PAYLOAD_LIMIT, SHAPES, as_bytes
from ledger.verify.tree import root_of_block
from ledger.verify.verify_bundle import FOLLOWED

BLOCK = 256
NEAR = 4_000
"""Jobs in memory; at most twice as many."""
MOST_STREAMS = 50_000
MOST_MISSING = 100_000
RARE = (
    "ledger.created",
    "policy.activated",
    "budget.set",
    "access.granted",
    "change.proposed",
    "change.closed",
    "request.signed",
    "approval.granted",
    "approval.refused",
)
"""Events that change later permissions, in any stream."""
_BESIDE_JOBS = frozenset(["ledger.created", "policy.activated", "private.erased", "budget.set"])
_ANSWERS = ("approval.granted", "approval.refused")
_PROVEN = ("access_key", "signature")
"""Sources of an actor that something else in the ledger must confirm."""
_JOB = "job_"
_sha256 = hashlib.sha256
_Integer = Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]


class Ranges(Snapshot, Protocol):
    """A snapshot from which ranges of positions can be read, in several processes."""

    def share(self) -> str | None:
        """Return the id with which another process opens this snapshot, if it has one."""

    def blocks(self, after: int, until: int, count: int) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of events after one position up to another, `count` at a time."""

    def bodies_between(self, after: int, until: int) -> Iterator[tuple[Any, ...]]:
        """Yield commitment, position, field, salt, text, by position."""

    def of_types(self, types: Sequence[str], until: int) -> Iterator[tuple[Any, ...]]:
        """Yield position, record, payload and leaf of the events of these types up to a position."""

    def history(self, stream: str, before: int) -> list[tuple[Any, ...]]:
        """Return position, record, payload and leaf of a stream's events before a position, by version."""

    def job_rows(self, job_ids: Collection[str]) -> Iterable[tuple[Any, ...]]:
        """Return the rows of these jobs."""

    def hold_rows(self, holds: Collection[tuple[str, str]]) -> Iterable[tuple[Any, ...]]:
        """Return the rows of these pairs of budget and job."""

    def totals(self, size: int) -> tuple[int, int, int, int, int]:
        """Return first and last position, and the number of jobs, holds of money, and stray bodies.

        A stray body has no position from 1 to `size`.
        """


class Envelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A record; its members are in the order of canonical JSON."""

    actor: str
    actor_source: str
    authority: str
    causation_id: str | None
    event_id: str
    kind: str
    occurred_at: str
    payload_sha256: str
    position: _Integer
    recorded_at: str
    schema_version: _Integer
    span_id: str
    stream: str
    trace_id: str
    type: str
    version: _Integer


class Stretch(msgspec.Struct):
    """The holds of a budget from one limit to the next, counted from the beginning of the range.

    `most` is the largest sum at a moment when money was reserved.
    """

    limit: int | None = None
    most: int | None = None
    total: int = 0


class Part(msgspec.Struct):
    """A sound range, and its data for comparison with the other ranges and the tables next to the log.

    `roots` has the roots of its whole blocks; `edge` and `tail` have the leaves before and after them.
    `leaves` has the leaves of the unfinished block at each requested size. `streams` has the first and last
    version of each stream that is not a job. `money` has the holds of each budget, from limit to limit.
    """

    edge: list[bytes] = msgspec.field(default_factory=list)
    roots: list[bytes] = msgspec.field(default_factory=list)
    tail: list[bytes] = msgspec.field(default_factory=list)
    leaves: dict[int, list[bytes]] = msgspec.field(default_factory=dict)
    streams: dict[str, list[int]] = msgspec.field(default_factory=dict)
    job_events: int = 0
    begun: int = 0
    matched: int = 0
    versions: int = 0
    holds: int = 0
    money: dict[str, list[Stretch]] = msgspec.field(default_factory=dict)
    missing: list[str] = msgspec.field(default_factory=list)
    erased: list[str] = msgspec.field(default_factory=list)


class _Stream(Stream):
    """A stream in memory: its first version in the range, and its row if it is a job.

    `requested` is a render request whose permissions were not checked yet.
    """

    __slots__ = ("first", "is_job", "requested", "row")

    def __init__(self, version: int = 0, *, is_job: bool = False) -> None:
        super().__init__(version)
        self.is_job = is_job
        self.first = version + 1
        self.requested: tuple[Envelope, bytes, bytes] | None = None
        self.row: Any = None


def _join_lines(texts: Iterable[str]) -> str:
    return "\n".join([*texts, ""])


def _are_uuids(lines: str, count: int) -> bool:
    return lines.encode().translate(_HEX_DIGITS) == _UUID * count


def _fold_uuids(uuids: str) -> "array[int]":
    """Return the XOR of the two halves of each UUID, one per line: 8 bytes, some of them random."""
    halves = array("q", bytes.fromhex(uuids.replace("-", "")))
    first, second = (int.from_bytes(halves[at::2].tobytes(), "big") for at in (0, 1))
    return array("q", (first ^ second).to_bytes(len(halves) * 4, "big"))


def _hash_of(event_id: str) -> int:
    """Return a hash of 8 bytes that is the same in every process."""
    line = _join_lines([event_id])
    found = _fold_uuids(line) if _are_uuids(line, 1) else array("q", _sha256(line.encode()).digest()[:8])
    return found[0]


def _lines(pattern: str) -> re.Pattern[str]:
    return re.compile(f"(?:(?:{pattern})\n)*")


_envelopes = msgspec.json.Decoder(Envelope)
_decode_record = _envelopes.decode
decode_records: Callable[[bytes], list[Envelope]] = _envelopes.decode_lines
"""Parse records, one per line."""
_decode = msgspec.json.Decoder().decode
_COLUMNS = [
    attrgetter(name) for name in "position event_id stream version type actor trace_id recorded_at".split()
]
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_HEX_DIGITS = bytes.maketrans(b"123456789abcdef", b"0" * 15)
_TIME = b"0000-00-00T00:00:00.000000Z\n"
_ALIKE = [
    (attrgetter("occurred_at"), _DIGITS, _TIME),
    (attrgetter("recorded_at"), _DIGITS, _TIME),
    (attrgetter("span_id"), _HEX_DIGITS, b"0" * 16 + b"\n"),
]
"""Texts that differ from record to record: with their digits set to zero, they all look like this."""
_HMAC_BLOCK = 64
_INNER, _OUTER = (bytes(each ^ pad for each in range(256)) for pad in (0x36, 0x5C))
_UUID = b"00000000-0000-0000-0000-000000000000\n"
_ID = _lines(SHAPES["event_id"])
_ALONE = frozenset("causation_id event_id kind occurred_at payload_sha256 recorded_at span_id type".split())
"""Texts whose shape follows from the values they are compared with, or is checked separately."""
_TEXTS = [(attrgetter(name), _lines(shape)) for name, shape in SHAPES.items() if name not in _ALONE]
_ODD = (
    AttributeError,
    KeyError,
    NotSound,
    RecursionError,
    TypeError,
    ValueError,  # also raised by msgspec, and NotCanonicalError
)


def check_range(
    snapshot: Ranges, memory: Memory, first: int, last: int, roots_at: Collection[int] = ()
) -> Part:
    """Check the records after position `first` up to `last`; `NotSound` if anything may be wrong.

    The ids of the events are noted in `memory`. Ranges that begin with a block are faster.
    """
    try:
        return _Range(snapshot, memory, first, last, frozenset(roots_at)).run()
    except _ODD as error:
        raise NotSound(repr(error)) from error


class _Range:
    def __init__(
        self, snapshot: Ranges, memory: Memory, first: int, last: int, roots_at: frozenset[int]
    ) -> None:
        self.snapshot, self.memory = snapshot, memory
        self.first, self.last, self.roots_at = first, last, roots_at
        self.part = Part()
        self.report = Report()
        self.approvals = Approvals(memory, self.report, snapshot.documents(), all_of_it=True)
        self.shapes = Shapes()
        self.texts: list[set[Any]] = [set() for _ in _TEXTS]
        self.young: dict[str, _Stream] = {}
        self.old: dict[str, _Stream] = {}
        self.others: dict[str, _Stream] = {}
        self.open_requests: dict[str, Json] = {}
        self.bodies = snapshot.bodies_between(first, last)
        self.body: tuple[Any, ...] = ()
        self.next_body: Any = 0
        self._read_body()

    def run(self) -> Part:
        self._recall_permissions()
        expected = self.first
        for rows in self.snapshot.blocks(self.first, self.last, BLOCK):
            self._block(rows, expected)
            expected += len(rows)
        if expected != self.last or self.body:
            raise NotSound("positions or bodies")
        self._put_away(self.old)
        self._put_away(self.young)
        if not self.report.clean or len(self.part.missing) > MOST_MISSING:
            raise NotSound("findings")
        self.part.streams = {name: [stream.first, stream.version] for name, stream in self.others.items()}
        return self.part

    # --- 1. blocks ---

    def _block(self, rows: list[tuple[Any, ...]], before: int) -> None:
        *columns, records, payloads, stored = zip(*rows, strict=True)
        leaves = [_sha256(b"\0" + record).digest() for record in records]
        lines = b"\n".join([*records, b""])
        envelopes = decode_records(lines)
        if (
            leaves != list(stored)
            or encode_lines(envelopes) != lines  # as many lines as envelopes, so each is one record
            or len(envelopes) != len(rows)
            or columns != [tuple(map(value_of, envelopes)) for value_of in _COLUMNS]
            or columns[0] != tuple(range(before + 1, before + 1 + len(rows)))
            or [envelope.payload_sha256 for envelope in envelopes]
            != [_sha256(payload).hexdigest() for payload in payloads]
            or [envelope.kind for envelope in envelopes] != [KINDS[envelope.type] for envelope in envelopes]
            or max(map(len, records)) > RECORD_LIMIT
            or max(map(len, payloads)) > PAYLOAD_LIMIT
        ):
            raise NotSound("a record")
        if not before and envelopes[0].type != "ledger.created":
            raise NotSound("the first record")
        self._check_texts(envelopes)
        self._check_event_ids(columns[1])
        self._add(leaves, before)
        self._follow(envelopes, payloads, self.shapes.parse_all(columns[4], payloads), leaves)

    def _check_texts(self, envelopes: list[Envelope]) -> None:
        for value_of, zeros, like in _ALIKE:
            if _join_lines(map(value_of, envelopes)).encode().translate(zeros) != like * len(envelopes):
                raise NotSound("a time or a span")
        for (value_of, lines), known in zip(_TEXTS, self.texts, strict=True):
            fresh = {*map(value_of, envelopes)} - known
            if fresh:
                if not lines.fullmatch(_join_lines(fresh)):
                    raise NotSound("a text")
                if len(known) > NEAR:
                    known.clear()
                known.update(fresh)
        causes = {envelope.causation_id for envelope in envelopes} - {None}
        if causes and not _ID.fullmatch(_join_lines(map(str, causes))):
            raise NotSound("a cause")

    def _check_event_ids(self, event_ids: tuple[str, ...]) -> None:
        ids = _join_lines(event_ids)
        if _are_uuids(ids, len(event_ids)):
            self.memory.note_hashes(_fold_uuids(ids))
        elif _ID.fullmatch(ids):
            self.memory.note_hashes(map(_hash_of, event_ids))
        else:
            raise NotSound("the id of an event")

    def _add(self, leaves: list[bytes], before: int) -> None:
        part = self.part
        if len(leaves) < BLOCK or before % BLOCK:
            (part.tail if part.roots else part.edge).extend(leaves)
            return
        for size in self.roots_at.intersection(range(before + 1, before + BLOCK)) if self.roots_at else ():
            part.leaves[size] = leaves[: size - before]
        part.roots.append(root_of_block(leaves))

    # --- 2. streams ---

    def _follow(
        self,
        envelopes: list[Envelope],
        payloads: tuple[bytes, ...],
        documents: list[Any],
        leaves: list[bytes],
    ) -> None:
        """Follow the records of a block, each in its stream."""
        young, others, collectors = self.young, self.others, self.shapes.collectors
        next_body, of_others = self.next_body, 0
        for envelope, data, document, leaf in zip(envelopes, payloads, documents, leaves, strict=True):
            type_, name, version = envelope.type, envelope.stream, envelope.version
            collect = collectors.get(type(document))
            if collect or envelope.position >= next_body:
                self._check_bodies(envelope.position, collect, document)
                next_body = self.next_body
            stream = young.get(name) or others.get(name)
            if stream is None:
                stream = self._sight(name, envelope)
                young = self.young
            if version != stream.version + 1:
                raise NotSound("a version")
            stream.version = version
            if type_ in FOLLOWED or stream.open_request is not None or envelope.actor_source == "access_key":
                self._permit(stream, envelope, data, document, leaf)
            if not stream.is_job:
                of_others += 1
            elif type_ in MONEY:
                self._fold_money(stream, envelope, document)
            else:
                stream.row = fold(stream.row, type_, envelope, document)
            if type_ in _BESIDE_JOBS:
                self._check_other_stream(envelope, _decode(data))
        self.part.job_events += len(envelopes) - of_others

    def _permit(self, stream: _Stream, envelope: Envelope, data: bytes, document: Any, leaf: bytes) -> None:
        """Check the permissions behind a record; a request waits until a record may depend on it."""
        if envelope.actor_source not in _PROVEN and type(document) is not Namespace:
            if envelope.type == "render.requested" and document.operation is not msgspec.UNSET:
                stream.requested, stream.open_request = (envelope, data, leaf), None
                return
            if envelope.type == "render.decided" and stream.requested and self._is_free(document):
                stream.requested = None
                return
        if stream.requested:
            earlier, payload, its_leaf = stream.requested
            stream.requested = None
            self.approvals.follow(stream, msgspec.structs.asdict(earlier), its_leaf, _decode(payload))
        if envelope.type in FOLLOWED or (stream.open_request and stream.open_request["signs"]):
            self.approvals.follow(stream, msgspec.structs.asdict(envelope), leaf, _decode(data))
        elif envelope.actor_source == "access_key" and not self.approvals.has_access(envelope.actor):
            raise NotSound("an access key that was not granted")

    def _is_free(self, decided: Any) -> bool:
        """Return whether a decision needed no permission."""
        inputs = decided.basis.inputs
        return (
            isinstance(inputs, msgspec.Struct)
            and decided.model is not msgspec.UNSET
            and not getattr(inputs, "approved", None)
            and not getattr(inputs, "overridden", None)
            and self.approvals.are_needless()
        )

    def _check_other_stream(self, envelope: Envelope, payload: Json) -> None:
        match envelope.type:
            case "ledger.created" if envelope.position > 1:
                raise NotSound("the first record")
            case "ledger.created":
                self.approvals.log(payload["ledger_id"])
            case "policy.activated":
                self.approvals.activate(envelope.position, payload)
            case "private.erased":
                self.part.erased += map(str, payload["commitments"])
            case "budget.set" if envelope.stream.startswith(PREFIX):
                stretches = self.part.money.setdefault(envelope.stream.removeprefix(PREFIX), [Stretch()])
                stretches.append(Stretch(payload["limit_usd_micros"], None, stretches[-1].total))

    def _fold_money(self, stream: _Stream, envelope: Envelope, document: Any) -> None:
        row = stream.row
        before = _sum_held(row) if row is not None and row.budgets else {}
        row = stream.row = fold(row, envelope.type, envelope, document)
        after = _sum_held(row) if row.budgets else {}
        if before == after:
            return
        for budget in {*before, *after}:
            growth = after.get(budget, 0) - before.get(budget, 0)
            if growth:
                now = (self.part.money.get(budget) or self.part.money.setdefault(budget, [Stretch()]))[-1]
                now.total += growth
                if growth > 0 and row.reserved_usd_micros and (now.most is None or now.total > now.most):
                    now.most = now.total

    def _sight(self, name: str, envelope: Envelope) -> _Stream:
        """Return a stream that is not in memory: an old one, a new one, or one that is reread."""
        if not name.startswith(_JOB):
            return self._sight_other(name, envelope)
        stream = self.old.pop(name, None)
        if stream is None:
            stream = _Stream(is_job=True)
            if envelope.version == 1:
                self.part.begun += 1
            else:
                self._recall(stream, name, envelope)
        if len(self.young) >= NEAR:
            self._put_away(self.old)
            self.old, self.young = self.young, {}
        self.young[name] = stream
        return stream

    def _sight_other(self, name: str, envelope: Envelope) -> _Stream:
        stream = self.others[name] = _Stream(
            envelope.version - 1
        )  # `join_parts` compares with the range before
        stream.open_request = self.open_requests.pop(name, None)
        if len(self.others) > MOST_STREAMS or envelope.version < 1:
            raise NotSound("many streams")
        return stream

    def _recall(self, stream: _Stream, name: str, envelope: Envelope) -> None:
        """Fold the earlier records of a job once more."""
        for position, data, body, leaf in self.snapshot.history(name, envelope.position):
            earlier = _decode_record(data)
            if (earlier.stream, earlier.version, earlier.position) != (name, stream.version + 1, position):
                raise NotSound("a history")
            payload = _decode(body)
            stream.open_request = self.approvals.recall(
                stream.open_request, msgspec.structs.asdict(earlier), leaf, payload
            )
            stream.row = fold(stream.row, earlier.type, earlier, as_namespace(body))
            stream.version = earlier.version

    def _recall_permissions(self) -> None:
        """Replay the permissions before the range, and the open proposals."""
        open_requests: dict[str, _Stream] = {}
        for position, data, body, leaf in self.snapshot.of_types(RARE, self.first) if self.first else ():
            earlier = _decode_record(data)
            payload = _decode(body)
            record = msgspec.structs.asdict(earlier)
            if earlier.stream.startswith(_JOB):
                if earlier.type in _ANSWERS:
                    self.approvals.bind(record)
                continue
            stream = open_requests.setdefault(earlier.stream, _Stream())
            self.approvals.follow(stream, record, leaf, payload)
            if earlier.type == "ledger.created":
                self.approvals.log(payload["ledger_id"])
            elif earlier.type == "policy.activated":
                self.approvals.activate(position, payload)
        self.open_requests = {
            name: stream.open_request
            for name, stream in open_requests.items()
            if stream.open_request is not None
        }

    # --- 3. tables next to the log ---

    def _check_bodies(self, position: int, collect: Collect | None, document: Any) -> None:
        committed: dict[str, str] = {}
        if collect:
            collect(document, "", committed)
        missing = set(committed.values())
        while position >= self.next_body:
            commitment, at, field, salt, text = self.body
            if at != position or commitment not in missing or not field or committed.get(field) != commitment:
                raise NotSound("a body")
            missing.remove(commitment)
            message = DOMAIN + as_bytes(field) + b"\0" + as_bytes(text)
            if hmac_hex(salt, message) != commitment:
                raise NotSound("a body")
            self._read_body()
        self.part.missing += missing

    def _read_body(self) -> None:
        self.body = next(self.bodies, ())
        self.next_body = self.body[1] if self.body else self.last + 1

    def _put_away(self, streams: dict[str, _Stream]) -> None:
        """Compare jobs that leave memory with their rows; if one differs, it continues later or is wrong."""
        part = self.part
        dues: dict[tuple[str, str], list[int]] = {}
        for job_id, version, position, state, profile, video_id, body, *later in self.snapshot.job_rows(
            streams
        ):
            row = streams[job_id].row
            if encode(row) != body:
                continue
            columns = (row.version, row.position, row.state, row.profile, row.video_id)
            copies = (row.actor, row.team or None)
            if columns != (version, position, state, profile, video_id) or copies[: len(later)] != tuple(
                later
            ):
                raise NotSound("a job's row")
            part.matched += 1
            part.versions += version
            for budget, amount in row.budgets.items():
                reserved = amount if row.reserved_usd_micros else 0
                dues[budget, job_id] = [reserved, row.settled_usd_micros or 0]
        if dues:
            self._check_holds(dues)
        streams.clear()

    def _check_holds(self, dues: Mapping[tuple[str, str], list[int]]) -> None:
        left = dict(dues)
        for budget, job_id, reserved, settled in self.snapshot.hold_rows(dues.keys()):
            if left.pop((budget, job_id)) != [reserved, settled]:
                raise NotSound("a hold")
            self.part.holds += bool(reserved or settled)
        if any(amounts != [0, 0] for amounts in left.values()):
            raise NotSound("a hold")


def hmac_hex(key: bytes, message: bytes) -> str:
    """Return the HMAC-SHA-256 in hex; `hmac.digest` takes longer to set up than to compute one."""
    if len(key) > _HMAC_BLOCK:
        return hmac.digest(key, message, "sha256").hex()
    padded = key.ljust(_HMAC_BLOCK, b"\0")
    return _sha256(
        padded.translate(_OUTER) + _sha256(padded.translate(_INNER) + message).digest()
    ).hexdigest()


def _sum_held(row: Any) -> dict[str, int]:
    settled = row.settled_usd_micros or 0
    if row.reserved_usd_micros:
        return {budget: amount + settled for budget, amount in row.budgets.items()}
    return dict.fromkeys(row.budgets, settled)
