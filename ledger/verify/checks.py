"""`verify`: every check over one snapshot of a ledger, in one pass over the log and its derived tables.

Each finding has a stable code, a position (None for the ledger as a whole), and the expected and actual
values. Findings never repeat private text. Memory use does not grow with the log: bodies are read along with
their records, and `ledger.verify.spill` stores the rest.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from pydantic_core import from_json

from ledger.verify.elsewhere import Bodies
from ledger.verify.permissions import PREFIX, Approvals, Budgets, money
from ledger.verify.report import Report
from ledger.verify.rules import KINDS, Json, fold_record, state_after, step_name
from ledger.verify.spill import Memory
from ledger.verify.strict import (
    PAYLOAD_LIMIT,
    RECORD_KEYS,
    NotCanonicalError,
    as_bytes,
    as_hex,
    odd_fields,
    parse,
    parse_payload,
    parse_sound,
)
from ledger.verify.tree import Tree, leaf

RECORD_LIMIT = 65_535
_BESIDE_JOBS = frozenset(["ledger.created", "policy.activated", "private.erased", "budget.set"])
_JOB_COLUMNS = ("version", "position", "state", "profile", "video_id")
_LATER_JOB_COLUMNS = ("actor", "team")
"""Columns with copies, only in ledgers since migration 9."""
_COLUMNS = ("position", "event_id", "stream", "version", "type", "actor", "trace_id", "recorded_at")


class Snapshot(Protocol):
    """All tables of a ledger in one snapshot; events and bodies come by position, after `after`."""

    def events(self, after: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield the eight search columns, then record, payload and leaf."""

    def head(self) -> tuple[int, bytes]:
        """Return size and frontier."""

    def tiles(self) -> Iterator[tuple[Any, ...]]:
        """Yield level, number, hash."""

    def bodies(self, after: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield commitment, position, field, salt, text."""

    def jobs(self) -> Iterator[tuple[Any, ...]]:
        """Yield job_id, version, position, state, profile, video_id, body, and actor and team if there."""

    def holds(self) -> Iterator[tuple[Any, ...]]:
        """Yield budget, job_id, reserved_usd_micros, settled_usd_micros."""

    def documents(self) -> Iterator[tuple[Any, ...]]:
        """Yield sha256, body."""


class Start(NamedTuple):
    """Where checking starts: after the records of `tree`, which comes from the stored hashes.

    `versions` has the versions of the continuing streams; `ledger_id` is the id at position 1.
    """

    tree: Tree
    versions: Mapping[str, int]
    ledger_id: object = None


def verify(snapshot: Snapshot, roots_at: Collection[int] = (), start: Start | None = None) -> Report:
    """Check everything in `snapshot`; report the roots at the sizes `roots_at`.

    With a `start`, earlier records are read only for the continuing jobs, and are not added to the tree.
    """
    with Memory() as memory:
        return _Verification(snapshot, memory, roots_at, start or Start(Tree(), {})).run()


class _Verification:
    def __init__(self, snapshot: Snapshot, memory: Memory, roots_at: Collection[int], start: Start) -> None:
        self.snapshot = snapshot
        self.roots_at = frozenset(roots_at)
        self.memory = memory
        self.report = Report()
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.tree = start.tree
        self.since = self.last_position = start.tree.size
        for stream, version in start.versions.items():
            memory.stream(stream).version = version
        self.dues = 0
        self.bodies = Bodies(snapshot.bodies(), memory)
        self.budgets = Budgets(memory, self.report)
        self.approvals = Approvals(memory, self.report, snapshot.documents(), all_of_it=not self.since)
        self.approvals.log(start.ledger_id)

    def run(self) -> Report:
        self._remember_root()
        for row in self.snapshot.events():
            self._event(row)
        self.report.size = self.tree.size
        self.report.root = self.tree.root().hex()
        self.report.jobs = self.memory.put_all_away()
        self._head()
        self._tiles()
        self.bodies.finish(self.report, self.snapshot.bodies())
        self._event_ids()
        self.budgets.finish()
        self._jobs()
        self._holds()
        return self.report

    def _remember_root(self) -> None:
        if self.tree.size in self.roots_at:
            self.report.roots[self.tree.size] = self.tree.root()

    # --- the log ---

    def _event(self, row: tuple[Any, ...]) -> None:
        found = parse_sound(row)
        if found is None:
            self._odd_event(row)
            return
        position = row[0]
        self._place(position, found.leaf)
        self.bodies.check(position, found.payload, found.commitments)
        self._follow(position, found.record, found.payload, found.leaf)

    def _odd_event(self, row: tuple[Any, ...]) -> None:
        position = row[0]
        computed = leaf(as_bytes(row[8]))
        self._place(position, computed)
        if computed != row[10]:
            self.report.add("LEAF_MISMATCH", position, "leaf", computed.hex(), as_hex(row[10]))
        record = self._record(position, row[8])
        payload, commitments = self._payload(position, row[9], record)
        self.bodies.check(position, payload, commitments if record else [])
        if record is None:
            return
        for name, value in zip(_COLUMNS, row, strict=False):
            if record[name] != value:
                self.report.add("COLUMN_MISMATCH", position, name, record[name], value)
        self._follow(position, record, payload, computed)

    def _place(self, position: int, computed: bytes) -> None:
        if position <= self.since:  # an earlier record of a continuing job: not part of the recomputed tree
            return
        if position != self.last_position + 1:
            expected = self.last_position + 1
            self.report.add("POSITION_NOT_DENSE", position, "position", expected, position)
        self.last_position = position
        for level, number, value in self.tree.add(computed):
            self.tiles[level, number] = value
        if self.tree.size in self.roots_at:
            self._remember_root()

    def _follow(self, position: int, record: Json, payload: Json | None, leaf: bytes) -> None:
        """Check a record against the earlier ones."""
        stream = self.memory.stream(record["stream"])
        if record["version"] != stream.version + 1:
            expected = stream.version + 1
            self.report.add("VERSION_NOT_DENSE", position, record["stream"], expected, record["version"])
        stream.version = record["version"]
        self.memory.note_event_id(record["event_id"])
        self._type(record, position)
        if payload is None:
            return
        try:
            self.approvals.follow(stream, record, leaf, payload)
            if record["type"] in _BESIDE_JOBS:  # afterwards: the previous policy counts
                self._check_other_stream(record, payload, position)
            if record["stream"].startswith("job_"):
                before = money(stream.job)
                stream.job = self._step(stream.job, record, payload, position)
                after = money(stream.job)
                if after != before and not self.since:  # other sums are unknown
                    self.budgets.move(before, after, position)
        except (AttributeError, KeyError, TypeError) as error:
            self.report.add("PAYLOAD_FIELDS", position, record["type"], "the fields of the format", error)

    def _record(self, position: int, data: Any) -> Json | None:
        try:
            record = parse(data)
        except NotCanonicalError as error:
            self.report.add("RECORD_NOT_CANONICAL", position, "record", "canonical JSON", error)
            return None
        if record.keys() != RECORD_KEYS:
            odd = " ".join(sorted(record.keys() ^ RECORD_KEYS))
            self.report.add("RECORD_KEYS", position, "record", "exactly the keys of the format", odd)
            return None
        if len(data) > RECORD_LIMIT:
            expected = f"at most {RECORD_LIMIT} bytes"
            self.report.add("RECORD_TOO_LARGE", position, "record", expected, len(data))
        odd_ones = list(odd_fields(record))
        for name, expected in odd_ones:
            self.report.add("RECORD_FIELDS", position, name, expected, record[name])
        return None if odd_ones else record

    def _payload(self, position: int, data: Any, record: Json | None) -> tuple[Json | None, list[str]]:
        stored = as_bytes(data)
        if len(stored) > PAYLOAD_LIMIT:
            expected = f"at most {PAYLOAD_LIMIT} bytes"
            self.report.add("PAYLOAD_TOO_LARGE", position, "payload", expected, len(stored))
        if record is not None:
            found = hashlib.sha256(stored).hexdigest()
            if found != record["payload_sha256"]:
                self.report.add("PAYLOAD_DIGEST", position, "payload", record["payload_sha256"], found)
        try:
            return parse_payload(data)
        except NotCanonicalError as error:
            self.report.add("PAYLOAD_NOT_CANONICAL", position, "payload", "canonical JSON", error)
            return None, []

    def _type(self, record: Json, position: int) -> None:
        kind = KINDS.get(record["type"], "a type of the format")
        if record["kind"] != kind:
            self.report.add("KIND", position, record["type"], kind, record["kind"])
        first = self.tree.size == 1 if position > self.since else position == 1
        if (record["type"] == "ledger.created") != first:
            expected = "ledger.created" if first else "ledger.created at position 1 only"
            self.report.add("GENESIS", position, "type", expected, record["type"])

    def _step(self, job: Json | None, record: Json, payload: Json, position: int) -> Json:
        step = step_name(record["type"], payload)
        state = state_after(job, step)
        if state is None:
            where = job["state"] if job else "nothing"
            expected = f"a step allowed after {where}"
            self.report.add("ILLEGAL_TRANSITION", position, record["stream"], expected, step)
            state = job["state"] if job else "requested"
        return fold_record(job, state, record, payload)

    def _check_other_stream(self, record: Json, payload: Json, position: int) -> None:
        match record["type"]:
            case "ledger.created":
                self.approvals.log(payload["ledger_id"])
            case "policy.activated":
                self.approvals.activate(position, payload)
            case "private.erased":
                self.memory.erase(list(map(str, payload["commitments"])))
            case "budget.set" if record["stream"].startswith(PREFIX) and not self.since:
                budget = record["stream"].removeprefix(PREFIX)
                self.budgets.limit(budget, payload["limit_usd_micros"], position)

    def _event_ids(self) -> None:
        doubled = self.memory.find_repeated_event_ids()
        first: dict[str, int] = {}
        for row in self.snapshot.events() if doubled else ():
            event_id = _event_id(row[8])
            if event_id is not None and hash(event_id) in doubled:
                before = first.setdefault(event_id, row[0])
                if before != row[0]:
                    expected = "an id of its own"
                    self.report.add("EVENT_ID_TWICE", row[0], "event_id", expected, f"that of {before}")

    # --- the tables beside the log ---

    def _head(self) -> None:
        size, frontier = self.snapshot.head()
        if size != self.tree.size:
            self.report.add("HEAD_SIZE", None, "head", self.tree.size, size)
        if frontier != self.tree.frontier():
            self.report.add("HEAD_ROOT", None, "head", self.tree.frontier().hex(), as_hex(frontier))

    def _tiles(self) -> None:
        for level, number, value in self.snapshot.tiles():
            expected = self.tiles.pop((level, number), None)
            if value != expected:
                wanted = expected.hex() if expected else "no such tile"
                self.report.add("TILE_MISMATCH", None, f"tile {level}/{number}", wanted, as_hex(value))
        for (level, number), value in self.tiles.items():
            self.report.add("TILE_MISMATCH", None, f"tile {level}/{number}", value.hex(), "missing")

    def _jobs(self) -> None:
        count = 0
        for job_id, version, position, state, profile, video_id, body, *later in self.snapshot.jobs():
            expected = self.memory.job(job_id)
            if expected is None:
                self.report.add("JOB_ROW_EXTRA", None, job_id, "no row: no events", "a row")
                continue
            count += 1
            job = from_json(expected)
            self.dues += _dues(job)
            if body != expected:
                self.report.add("JOB_ROW", job["position"], job_id, *_difference(job, body))
            columns = (version, position, state, profile, video_id)
            copies = [*zip(_JOB_COLUMNS, columns, strict=True), *zip(_LATER_JOB_COLUMNS, later, strict=False)]
            for name, found in copies:
                if found != job.get(name):
                    self.report.add("JOB_COLUMN", job["position"], f"{job_id} {name}", job.get(name), found)
        if count < self.report.jobs:
            self._missing_jobs()

    def _missing_jobs(self) -> None:
        there = {row[0] for row in self.snapshot.jobs()}
        for job_id, row in self.memory.jobs():
            if job_id not in there:
                job = from_json(row)
                self.dues += _dues(job)
                self.report.add("JOB_ROW_MISSING", job["position"], job_id, "a row", "none")

    def _holds(self) -> None:
        count = 0
        for budget, job_id, reserved, settled in self.snapshot.holds():
            job = self.memory.job(job_id)
            due = dict(_list_holds(from_json(job))) if job else {}
            expected = due.get(budget, [0, 0])
            if expected != [reserved, settled]:
                self.report.add("HOLD", None, f"{budget} {job_id}", expected, [reserved, settled])
            count += expected != [0, 0]
        if count < self.dues:
            self._missing_holds()

    def _missing_holds(self) -> None:
        there = {row[:2] for row in self.snapshot.holds()}
        for job_id, row in self.memory.jobs():
            for budget, amounts in _list_holds(from_json(row)):
                if amounts != [0, 0] and (budget, job_id) not in there:
                    self.report.add("HOLD", None, f"{budget} {job_id}", amounts, "missing")


def _event_id(record: Any) -> str | None:
    try:
        return str(json.loads(record)["event_id"])
    except (KeyError, RecursionError, TypeError, ValueError):
        return None


def _list_holds(job: Json) -> Iterator[tuple[str, list[Any]]]:
    """Yield what a job holds of each of its budgets: reserved and settled."""
    for budget, amount in job["budgets"].items():
        yield budget, [amount if job["reserved_usd_micros"] else 0, job["settled_usd_micros"] or 0]


def _dues(job: Json) -> int:
    return sum(amounts != [0, 0] for _, amounts in _list_holds(job))


def _difference(job: Json, body: Any) -> tuple[str, str]:
    try:
        found = json.loads(body)
        differing = sorted(key for key in job.keys() | found.keys() if job.get(key) != found.get(key))
    except (AttributeError, RecursionError, TypeError, ValueError):
        return "the fold of its events", "something else than a job"
    expected = ", ".join(f"{key}={job.get(key)}" for key in differing) or "canonical JSON"
    return expected, ", ".join(f"{key}={found.get(key)}" for key in differing) or "other bytes"
