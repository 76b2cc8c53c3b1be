"""Check data outside the log against it: private texts, stored files, and a checkpoint stored elsewhere.

Private bodies are checked against the commitments of the log; both are read by position, side by side.

Stored files are checked against their digests; the caller reads the files. A file is expected from the record
that it was stored until a record that it is lost (``asset.lost``) or that its name was erased
(``private.erased``), because the file may be deleted with it. A file that still exists must always match its
digest.

Only a checkpoint stored elsewhere shows that the tail of a log was cut or rewritten. `verify_bundle` reads it
and its signatures.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ledger.verify.report import Report
from ledger.verify.spill import Memory
from ledger.verify.strict import as_bytes
from ledger.verify.verify_bundle import Head, Key, Policy, cosigners, signers

DOMAIN = b"sora-ledger/private/v1\0"


class _Body(NamedTuple):
    commitment: Any
    position: Any
    field: Any
    salt: Any
    text: Any


class Bodies:
    """The bodies, read along with the log.

    Findings are reported after the whole log was read: only then are all erasures known.
    """

    def __init__(self, rows: Iterator[tuple[Any, ...]], memory: Memory) -> None:
        self._rows = map(_Body._make, rows)
        self._memory = memory
        self._next = next(self._rows, None)
        self._found = Report()
        self._mismatched: list[tuple[_Body, str]] = []

    def check(self, position: int, payload: Any, commitments: list[str]) -> None:
        """Check the bodies at `position`, whose `payload` holds `commitments`."""
        body = self._next
        if body is None and not commitments:
            return
        expected = set(commitments)
        while body is not None and isinstance(body.position, int | float) and body.position <= position:
            committed = body.position == position and body.commitment in expected
            if committed and is_at(payload, body.field, body.commitment):
                expected.remove(body.commitment)
                self._check(body)
            else:
                self._unknown(body)
            body = self._next = next(self._rows, None)
        for commitment in expected:
            self._memory.miss(commitment, position)

    def finish(self, report: Report, again: Iterable[tuple[Any, ...]]) -> None:
        """Report the findings; `again` yields all bodies once more, read only if anything was erased."""
        if self._next is not None:
            self._unknown(self._next)
        for body in self._rows:
            self._unknown(body)
        unknown = {finding.found for finding in self._found.findings}
        for finding in self._found.findings:
            report.add(*finding)
        report.more_findings += self._found.more_findings
        for body, found in self._mismatched:
            if not self._memory.is_erased(body.commitment):
                report.add("BODY_MISMATCH", body.position, str(body.field), body.commitment, found)
        if self._memory.has_erasures():
            self._check_erasures(report, map(_Body._make, again), unknown)
        for commitment, position in self._memory.missing():
            if commitment not in unknown:
                report.add("BODY_MISSING", position, commitment, "a body, or private.erased", "neither")

    def _check_erasures(self, report: Report, bodies: Iterable[_Body], unknown: set[str]) -> None:
        for body in bodies:
            if self._memory.is_erased(body.commitment) and body.commitment not in unknown:
                name = str(body.field)
                report.add("BODY_NOT_ERASED", body.position, name, "erased, as recorded", "still there")

    def _check(self, body: _Body) -> None:
        message = DOMAIN + as_bytes(body.field) + b"\0" + as_bytes(body.text)
        found = hmac.digest(as_bytes(body.salt), message, hashlib.sha256).hex()
        if found != body.commitment:
            self._mismatched.append((body, found))

    def _unknown(self, body: _Body) -> None:
        expected = "a commitment at this position and in this field"
        self._found.add("BODY_UNKNOWN", body.position, str(body.field), expected, body.commitment)


def is_at(payload: Any, field: Any, commitment: Any) -> bool:
    """Return True if the commitment is at the dotted path `field` of `payload`.

    The hash covers field, 0x00, text. A text may contain 0x00, so a commitment is unambiguous only because
    its field is checked here: no key of a payload contains 0x00 or a dot.
    """
    value = payload
    try:
        for part in field.split("."):
            if type(value) is dict:
                value = value[part]
            else:
                value = value[int(part)] if part.isdigit() and str(int(part)) == part else None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return False
    return type(value) is dict and len(value) == 1 and bool(value.get("commitment") == commitment)


def check_witnesses(report: Report, held: Head, policy: Policy) -> list[str]:
    """Report too few cosignatures of the checkpoint `held`; return the witnesses that cosigned it."""
    try:
        names = cosigners(held, policy)
    except ValueError as error:
        report.add("CHECKPOINT_WITNESSES", None, "the checkpoint", "valid cosignatures", error)
        return []
    if not policy.is_met(set(names)):
        found = f"cosigned by {', '.join(names) or 'nobody'}"
        report.add("CHECKPOINT_WITNESSES", None, "the checkpoint", "the quorum of the policy", found)
    return names


def refuse_timestamp(report: Report, why: str) -> None:
    """Report a timestamp of the checkpoint that does not count; the caller checks certificates."""
    report.add("CHECKPOINT_TIMESTAMP", None, "the checkpoint", "a timestamp that counts", why)


def check_against(report: Report, held: Head, keys: Sequence[Key], first_payload: Any) -> list[str]:
    """Report the differences from the checkpoint `held`; return the names of the `keys` that signed it.

    `report` has the root at the size of `held` if the ledger is that long; `first_payload` is the payload at
    position 1, which has the name of the log.
    """
    _check_origin(report, held, first_payload)
    if held.size > report.size:
        expected = f"at least the {held.size} records of the checkpoint"
        report.add("CHECKPOINT_SIZE", None, "the ledger", expected, f"{report.size}: the tail was cut")
    elif (found := report.roots.get(held.size)) != held.root:
        where = f"the first {held.size} records"
        actual = found.hex() if found else "the stored hashes are incomplete"
        report.add("CHECKPOINT_ROOT", None, where, held.root.hex(), actual)
    return _find_signers(report, held, keys)


def _check_origin(report: Report, held: Head, first_payload: Any) -> None:
    try:
        origin = json.loads(first_payload)["origin"]
    except (KeyError, RecursionError, TypeError, ValueError):
        origin = "unreadable"
    if origin != held.origin:
        report.add("CHECKPOINT_ORIGIN", None, "the ledger's origin", held.origin, origin)


def _find_signers(report: Report, held: Head, keys: Sequence[Key]) -> list[str]:
    try:
        names = signers(held, keys)
    except ValueError as error:
        report.add("CHECKPOINT_SIGNATURE", None, "the checkpoint", "a valid signature", error)
        return []
    if keys and not names:
        found = ", ".join(name for name, _, _ in held.signatures) or "nobody"
        report.add(
            "CHECKPOINT_SIGNATURE", None, "the checkpoint", "signed with one of these keys", f"by {found}"
        )
    return names


TYPES = frozenset({"asset.stored", "asset.lost", "render.requested", "private.erased"})


class StoredFile(NamedTuple):
    """A file cited by a record: its URI (None: found by its digest), digest and length."""

    storage_uri: str | None
    sha256: str
    bytes: int | None = None


Digest = Callable[[StoredFile], str | None]
"""Reads a stored file and returns its SHA-256 in hex, or how it differs without reading it.

None if the file is missing. A record may name any file on the machine, so implementations read only regular
files of the recorded length.
"""


@dataclass
class _CitedFile:
    position: int
    subject: str
    file: StoredFile
    may_be_gone: bool = False


def check_assets(report: Report, events: Iterator[tuple[Any, ...]], digest: Digest) -> int:
    """Hash every file that the log cites; report missing and changed files; return the number of files.

    `events` are the rows of a snapshot. A file that several records cite is read once.
    """
    known: dict[StoredFile, str | None] = {}
    for cited in _Log(events).cited:
        if cited.file not in known:
            known[cited.file] = digest(cited.file)
        found = known[cited.file]
        if found is None:
            if not cited.may_be_gone:
                report.add("ASSET_MISSING", cited.position, cited.subject, cited.file.sha256, "no file")
        elif found != cited.file.sha256:
            report.add("ASSET_CHANGED", cited.position, cited.subject, cited.file.sha256, found)
    return len(known)


class _Log:
    """The stored files that the log cites, by position; both if a variant was stored twice."""

    def __init__(self, events: Iterator[tuple[Any, ...]]) -> None:
        self.cited: list[_CitedFile] = []
        self._variants: dict[tuple[Any, str], list[_CitedFile]] = {}
        self._names: dict[str, list[_CitedFile]] = {}
        for position, _, stream, _, type_, *_, payload, _ in events:
            if type_ in TYPES:
                self._take(position, stream, type_, _parse_payload(payload))

    def _take(self, position: int, stream: Any, type_: str, document: dict[str, Any]) -> None:
        variant = str(document.get("variant"))
        if type_ == "asset.stored":
            found = _file(position, variant, document)
            if found is not None:
                self.cited.append(found)
                self._variants.setdefault((stream, variant), []).append(found)
        elif type_ == "asset.lost":
            _mark_may_be_gone(self._variants.get((stream, variant), ()))
        elif type_ == "private.erased":
            for commitment in _list(document.get("commitments")):
                _mark_may_be_gone(self._names.get(str(commitment), ()))
        else:
            for name, found in _inputs(position, document):
                self.cited.append(found)
                self._names.setdefault(name, []).append(found)


def _mark_may_be_gone(files: Iterable[_CitedFile]) -> None:
    for file in files:
        file.may_be_gone = True


def _inputs(position: int, request: dict[str, Any]) -> Iterator[tuple[str, _CitedFile]]:
    """Yield the input files of a request, each with the commitment to its name."""
    images = _list(request.get("further_images"))
    parts = [("input_reference", request.get("input_reference")), ("source_file", request.get("source_file"))]
    for subject, part in [*parts, *((f"further_images.{at}", image) for at, image in enumerate(images))]:
        if not isinstance(part, dict):
            continue
        name = part["name"].get("commitment") if isinstance(part.get("name"), dict) else None
        found = _file(position, subject, part)
        if found is not None:
            yield str(name), found
        if found is not None and isinstance(part.get("original_sha256"), str):
            original = StoredFile(None, part["original_sha256"])
            yield str(name), _CitedFile(position, f"{subject}.original", original)


def _file(position: int, subject: str, part: dict[str, Any]) -> _CitedFile | None:
    uri, sha256 = part.get("storage_uri"), part.get("sha256")
    if not isinstance(uri, str) or not isinstance(sha256, str):
        return None
    length = part.get("bytes")
    known = length if isinstance(length, int) and not isinstance(length, bool) else None
    return _CitedFile(position, subject, StoredFile(uri, sha256, known))


def _parse_payload(payload: Any) -> dict[str, Any]:
    """Return the payload; empty if it cannot be parsed, which another check reports."""
    try:
        document = json.loads(payload)
    except (RecursionError, TypeError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _list(value: Any) -> list[Any]:
    return [item for item in value if isinstance(item, dict | str)] if isinstance(value, list) else []
