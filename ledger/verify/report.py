"""The result of verification: findings with stable codes, and the recomputed size and root."""

from dataclasses import dataclass, field
from typing import NamedTuple

MAX_FINDINGS = 1_000
_CHANGED_BYTES = frozenset(["LEAF_MISMATCH", "PAYLOAD_DIGEST", "COLUMN_MISMATCH", "RECORD_NOT_CANONICAL"])


class Finding(NamedTuple):
    """One difference between the expected and the actual state."""

    code: str
    position: int | None
    subject: str
    expected: str
    found: str


@dataclass
class Report:
    """The result of verification: the recomputed size and root, and the findings.

    `roots` has the root at each requested size that the log reaches.
    """

    size: int = 0
    root: str = ""
    jobs: int = 0
    roots: dict[int, bytes] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    more_findings: int = 0

    @property
    def clean(self) -> bool:
        """True if there are no findings."""
        return not self.findings

    def first_cause(self) -> tuple[Finding, int] | None:
        """Return the first finding about changed bytes, and how many other findings may follow from it.

        None if there is no such finding, or if it is the only one.
        """
        first = next((item for item in self.findings if item.code in _CHANGED_BYTES), None)
        if first is None or first.position is None:
            return None
        others = sum(
            item is not first and (item.position is None or item.position >= first.position)
            for item in self.findings
        )
        return (first, others) if others else None

    def add(self, code: str, position: int | None, subject: str, expected: object, found: object) -> None:
        """Add one finding; beyond `MAX_FINDINGS`, findings are only counted."""
        if len(self.findings) < MAX_FINDINGS:
            where = position if isinstance(position, int) else None
            texts = (_printable(subject), _printable(expected), _printable(found))
            self.findings.append(Finding(code, where, *texts))
        else:
            self.more_findings += 1


def _printable(value: object) -> str:
    return str(value).encode(errors="backslashreplace").decode()
