"""`verify`: every check over one snapshot of a ledger, one pass over the log and what lies beside it.

Each finding has a stable code, the position it is about (None for the ledger as a whole), and what was
expected and found. Private text is never repeated in a finding.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ledger.verify.rules import KINDS, Json, folded, state_after, step_name
from ledger.verify.tree import Tree, leaf

RECORD_KEYS = frozenset(
    "actor actor_source authority causation_id event_id kind occurred_at payload_sha256 position recorded_at "
    "schema_version span_id stream trace_id type version".split()
)
RECORD_LIMIT = 65_535
PAYLOAD_LIMIT = 1_048_576
MAX_FINDINGS = 1_000
_COLUMNS = ("position", "event_id", "stream", "version", "type", "actor", "trace_id", "recorded_at")
_DOMAIN = b"sora-ledger/private/v1\0"
_MAX_INTEGER = 2**53 - 1
_KEY = re.compile("[a-z0-9_]+")
_ID = "[!-~]{1,128}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
_TEXTS = {
    name: re.compile(shape)
    for name, shape in {
        "actor": r"[^\x00-\x1f\x7f]{1,256}",
        "actor_source": "flag|environment|operating_system|signature",
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
    }.items()
}


class Finding(NamedTuple):
    """Something that is not as it must be."""

    code: str
    position: int | None
    subject: str
    expected: str
    found: str


class Snapshot(Protocol):
    """All tables of a ledger at one moment."""

    def events(self) -> Iterator[tuple[Any, ...]]: ...  # noqa: D102
    def head(self) -> tuple[int, bytes]: ...  # noqa: D102
    def tiles(self) -> Iterator[tuple[Any, ...]]: ...  # noqa: D102
    def bodies(self) -> Iterator[tuple[Any, ...]]: ...  # noqa: D102
    def jobs(self) -> Iterator[tuple[Any, ...]]: ...  # noqa: D102
    def holds(self) -> Iterator[tuple[Any, ...]]: ...  # noqa: D102
    def documents(self) -> Iterator[tuple[Any, ...]]: ...  # noqa: D102


@dataclass
class Report:
    """What verification came to: size and root as recomputed, and the findings.

    `roots` has the root the log had at each of the sizes that were asked for, as far as it is that long.
    """

    size: int = 0
    root: str = ""
    jobs: int = 0
    roots: dict[int, bytes] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    more_findings: int = 0

    @property
    def clean(self) -> bool:
        """True if nothing was found."""
        return not self.findings

    def add(self, code: str, position: int | None, subject: str, expected: object, found: object) -> None:
        """Take in one finding; beyond `MAX_FINDINGS` they are only counted."""
        if len(self.findings) < MAX_FINDINGS:
            where = position if isinstance(position, int) else None
            texts = (_printable(subject), _printable(expected), _printable(found))
            self.findings.append(Finding(code, where, *texts))
        else:
            self.more_findings += 1


def verify(snapshot: Snapshot, roots_at: Collection[int] = ()) -> Report:
    """Check everything that can be checked from the bytes in `snapshot`; report the roots at those sizes."""
    return _Verification(snapshot, roots_at).run()


class _NotCanonicalError(ValueError):
    pass


def _no_float(text: str) -> object:
    raise _NotCanonicalError(f"a float, {text}")


def _integer(text: str) -> int:
    value = int(text)
    if abs(value) > _MAX_INTEGER:
        raise _NotCanonicalError(f"an integer beyond 2**53 - 1, {text}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> Json:
    for key, _ in pairs:
        if not _KEY.fullmatch(key):
            raise _NotCanonicalError(f"a key not made of [a-z0-9_], {key!r}")
    return dict(pairs)


_decode = json.JSONDecoder(
    parse_float=_no_float, parse_constant=_no_float, parse_int=_integer, object_pairs_hook=_object
).decode


def _parse(data: Any) -> Json:
    """Parse canonical JSON strictly: what it parses to must print back to the same bytes."""
    if not isinstance(data, bytes):
        raise _NotCanonicalError(f"{type(data).__name__}, not bytes")
    try:
        document = _decode(data.decode())
        again = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _NotCanonicalError(str(error)) from None
    if again != data or not isinstance(document, dict):
        raise _NotCanonicalError("JSON that is not canonical")
    return document


class _Verification:
    def __init__(self, snapshot: Snapshot, roots_at: Collection[int]) -> None:
        self.snapshot = snapshot
        self.roots_at = frozenset(roots_at)
        self.report = Report()
        self.tree = Tree()
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.versions: dict[str, int] = {}
        self.jobs: dict[str, Json] = {}
        self.last_position = 0
        self.committed: dict[str, int] = {}
        self.erased: set[str] = set()

    def run(self) -> Report:
        self._remember_root()
        for row in self.snapshot.events():
            self._event(row)
        self.report.size = self.tree.size
        self.report.root = self.tree.root().hex()
        self.report.jobs = len(self.jobs)
        self._head()
        self._tiles()
        self._bodies()
        self._jobs()
        self._holds()
        self._documents()
        return self.report

    def _remember_root(self) -> None:
        if self.tree.size in self.roots_at:
            self.report.roots[self.tree.size] = self.tree.root()

    # --- the log ---

    def _event(self, row: tuple[Any, ...]) -> None:
        position, record_bytes, payload_bytes, stored_leaf = row[0], row[8], row[9], row[10]
        add = self.report.add
        if position != self.last_position + 1:
            add("POSITION_NOT_DENSE", position, "position", self.last_position + 1, position)
        self.last_position = position
        computed = leaf(_as_bytes(record_bytes))
        if computed != stored_leaf:
            add("LEAF_MISMATCH", position, "leaf", computed.hex(), _hex(stored_leaf))
        for level, number, value in self.tree.add(computed):
            self.tiles[level, number] = value
        if self.tree.size in self.roots_at:
            self._remember_root()
        record = self._record(position, record_bytes)
        payload = self._payload(position, payload_bytes, record)
        if record is None:
            return
        for name, value in zip(_COLUMNS, row, strict=False):
            if record[name] != value:
                add("COLUMN_MISMATCH", position, name, record[name], value)
        self._version(record, position)
        self._type(record, position)
        if payload is None:
            return
        try:
            self._commitments(record, payload, position)
            self._step(record, payload, position)
        except (AttributeError, KeyError, TypeError) as error:
            add("PAYLOAD_FIELDS", position, record["type"], "the fields of the format", error)

    def _record(self, position: int, data: Any) -> Json | None:
        try:
            record = _parse(data)
        except _NotCanonicalError as error:
            self.report.add("RECORD_NOT_CANONICAL", position, "record", "canonical JSON", error)
            return None
        if record.keys() != RECORD_KEYS:
            odd = " ".join(sorted(record.keys() ^ RECORD_KEYS))
            self.report.add("RECORD_KEYS", position, "record", "exactly the keys of the format", odd)
            return None
        if len(data) > RECORD_LIMIT:
            self.report.add(
                "RECORD_TOO_LARGE", position, "record", f"at most {RECORD_LIMIT} bytes", len(data)
            )
        odd_fields = list(_odd_fields(record))
        for name, expected in odd_fields:
            self.report.add("RECORD_FIELDS", position, name, expected, record[name])
        return None if odd_fields else record

    def _payload(self, position: int, data: Any, record: Json | None) -> Json | None:
        if len(_as_bytes(data)) > PAYLOAD_LIMIT:
            self.report.add(
                "PAYLOAD_TOO_LARGE", position, "payload", f"at most {PAYLOAD_LIMIT} bytes", len(data)
            )
        if record is not None:
            found = hashlib.sha256(_as_bytes(data)).hexdigest()
            if found != record["payload_sha256"]:
                self.report.add("PAYLOAD_DIGEST", position, "payload", record["payload_sha256"], found)
        try:
            return _parse(data)
        except _NotCanonicalError as error:
            self.report.add("PAYLOAD_NOT_CANONICAL", position, "payload", "canonical JSON", error)
            return None

    def _version(self, record: Json, position: int) -> None:
        expected = self.versions.get(record["stream"], 0) + 1
        if record["version"] != expected:
            self.report.add("VERSION_NOT_DENSE", position, record["stream"], expected, record["version"])
        self.versions[record["stream"]] = record["version"]

    def _type(self, record: Json, position: int) -> None:
        kind = KINDS.get(record["type"], "a type of the format")
        if record["kind"] != kind:
            self.report.add("KIND", position, record["type"], kind, record["kind"])
        if (record["type"] == "ledger.created") != (self.tree.size == 1):
            expected = "ledger.created" if self.tree.size == 1 else "ledger.created at position 1 only"
            self.report.add("GENESIS", position, "type", expected, record["type"])

    def _commitments(self, record: Json, payload: Json, position: int) -> None:
        for commitment in _commitments_in(payload):
            self.committed[commitment] = position
        if record["type"] == "private.erased":
            self.erased.update(map(str, payload["commitments"]))

    def _step(self, record: Json, payload: Json, position: int) -> None:
        stream = record["stream"]
        if not stream.startswith("job_"):
            return
        job = self.jobs.get(stream)
        step = step_name(record["type"], payload)
        state = state_after(job, step)
        if state is None:
            where = job["state"] if job else "nothing"
            self.report.add("ILLEGAL_TRANSITION", position, stream, f"a step allowed after {where}", step)
            state = job["state"] if job else "requested"
        self.jobs[stream] = folded(job, state, record, payload)

    # --- what lies beside the log ---

    def _head(self) -> None:
        size, frontier = self.snapshot.head()
        if size != self.tree.size:
            self.report.add("HEAD_SIZE", None, "head", self.tree.size, size)
        if frontier != self.tree.frontier():
            self.report.add("HEAD_ROOT", None, "head", self.tree.frontier().hex(), _hex(frontier))

    def _tiles(self) -> None:
        for level, number, value in self.snapshot.tiles():
            expected = self.tiles.pop((level, number), None)
            if value != expected:
                wanted = expected.hex() if expected else "no such tile"
                self.report.add("TILE_MISMATCH", None, f"tile {level}/{number}", wanted, _hex(value))
        for (level, number), value in self.tiles.items():
            self.report.add("TILE_MISMATCH", None, f"tile {level}/{number}", value.hex(), "missing")

    def _bodies(self) -> None:
        for commitment, position, name, salt, text in self.snapshot.bodies():
            if self.committed.pop(commitment, None) != position:
                self.report.add("BODY_UNKNOWN", position, name, "a commitment at this position", commitment)
            elif commitment in self.erased:
                self.report.add("BODY_NOT_ERASED", position, name, "erased, as recorded", "still there")
            else:
                message = _DOMAIN + _as_bytes(name) + b"\0" + _as_bytes(text)
                found = hmac.new(_as_bytes(salt), message, hashlib.sha256).hexdigest()
                if found != commitment:
                    self.report.add("BODY_MISMATCH", position, name, commitment, found)
        for commitment, position in self.committed.items():
            if commitment not in self.erased:
                self.report.add("BODY_MISSING", position, commitment, "a body, or private.erased", "neither")

    def _jobs(self) -> None:
        missing = dict(self.jobs)
        for job_id, version, position, state, profile, video_id, body in self.snapshot.jobs():
            job = missing.pop(job_id, None)
            if job is None:
                self.report.add("JOB_ROW_EXTRA", None, job_id, "no row: no events", "a row")
                continue
            expected = json.dumps(job, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
            if body != expected:
                self.report.add("JOB_ROW", job["position"], job_id, *_difference(job, body))
            columns = (version, position, state, profile, video_id)
            names = ("version", "position", "state", "profile", "video_id")
            for name, found in zip(names, columns, strict=True):
                if found != job[name]:
                    self.report.add("JOB_COLUMN", job["position"], f"{job_id} {name}", job[name], found)
        for job_id, job in missing.items():
            self.report.add("JOB_ROW_MISSING", job["position"], job_id, "a row", "none")

    def _holds(self) -> None:
        due = {
            (budget, job_id): [amount if job["reserved_usd_micros"] else 0, job["settled_usd_micros"] or 0]
            for job_id, job in self.jobs.items()
            for budget, amount in job["budgets"].items()
        }
        for budget, job_id, reserved, settled in self.snapshot.holds():
            expected = due.pop((budget, job_id), [0, 0])
            if expected != [reserved, settled]:
                self.report.add("HOLD", None, f"{budget} {job_id}", expected, [reserved, settled])
        for (budget, job_id), amounts in due.items():
            if amounts != [0, 0]:
                self.report.add("HOLD", None, f"{budget} {job_id}", amounts, "missing")

    def _documents(self) -> None:
        for sha256, body in self.snapshot.documents():
            found = hashlib.sha256(_as_bytes(body)).hexdigest()
            if found != sha256:
                self.report.add("DOCUMENT", None, "document", sha256, found)


def _odd_fields(record: Json) -> Iterator[tuple[str, str]]:
    """Yield name and expected shape of every field of a record that has another."""
    for name, shape in _TEXTS.items():
        value = record[name]
        if value is None and name == "causation_id":
            continue
        if not isinstance(value, str) or not shape.fullmatch(value):
            yield name, shape.pattern
    for name in ("position", "schema_version", "version"):
        if type(record[name]) is not int:
            yield name, "an integer"


def _commitments_in(payload: Json) -> Iterator[str]:
    """Yield every commitment in a payload: objects whose only key is ``commitment``."""
    rest: list[Any] = [payload]
    while rest:
        value = rest.pop()
        if isinstance(value, list):
            rest += value
        elif isinstance(value, dict) and value.keys() == {"commitment"}:
            yield str(value["commitment"])
        elif isinstance(value, dict):
            rest += value.values()


def _difference(job: Json, body: Any) -> tuple[str, str]:
    try:
        found = json.loads(body)
        differing = sorted(key for key in job.keys() | found.keys() if job.get(key) != found.get(key))
    except (AttributeError, RecursionError, TypeError, ValueError):
        return "the fold of its events", "something else than a job"
    expected = ", ".join(f"{key}={job.get(key)}" for key in differing) or "canonical JSON"
    return expected, ", ".join(f"{key}={found.get(key)}" for key in differing) or "other bytes"


def _as_bytes(value: Any) -> bytes:
    """Return what a column holds as bytes, whatever somebody has put there."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogateescape")


def _printable(value: object) -> str:
    return str(value).encode(errors="backslashreplace").decode()


def _hex(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
