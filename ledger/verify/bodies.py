"""Check private bodies against the commitments of the log; both are read by position, side by side."""

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ledger.verify.report import Report
from ledger.verify.spill import Memory
from ledger.verify.strict import as_bytes

_DOMAIN = b"sora-ledger/private/v1\0"


class _Body(NamedTuple):
    commitment: Any
    position: Any
    field: Any
    salt: Any
    text: Any


class Bodies:
    """The bodies, read along with the log.

    Findings are reported when the whole log has been read: only then is it known what was erased.
    """

    def __init__(self, rows: Iterator[tuple[Any, ...]], memory: Memory) -> None:
        self._rows = map(_Body._make, rows)
        self._memory = memory
        self._next = next(self._rows, None)
        self._found = Report()
        self._mismatched: list[tuple[_Body, str]] = []

    def at(self, position: int, payload: Any, commitments: list[str]) -> None:
        """Check the bodies at `position`, whose `payload` holds `commitments`."""
        body = self._next
        if body is None and not commitments:
            return
        expected = set(commitments)
        while body is not None and isinstance(body.position, int | float) and body.position <= position:
            committed = body.position == position and body.commitment in expected
            if committed and _is_at(payload, body.field, body.commitment):
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
        if self._memory.anything_erased():
            self._still_there(report, map(_Body._make, again), unknown)
        for commitment, position in self._memory.missing():
            if commitment not in unknown:
                report.add("BODY_MISSING", position, commitment, "a body, or private.erased", "neither")

    def _still_there(self, report: Report, bodies: Iterable[_Body], unknown: set[str]) -> None:
        for body in bodies:
            if self._memory.is_erased(body.commitment) and body.commitment not in unknown:
                name = str(body.field)
                report.add("BODY_NOT_ERASED", body.position, name, "erased, as recorded", "still there")

    def _check(self, body: _Body) -> None:
        message = _DOMAIN + as_bytes(body.field) + b"\0" + as_bytes(body.text)
        found = hmac.digest(as_bytes(body.salt), message, hashlib.sha256).hex()
        if found != body.commitment:
            self._mismatched.append((body, found))

    def _unknown(self, body: _Body) -> None:
        expected = "a commitment at this position and in this field"
        self._found.add("BODY_UNKNOWN", body.position, str(body.field), expected, body.commitment)


def _is_at(payload: Any, field: Any, commitment: Any) -> bool:
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
