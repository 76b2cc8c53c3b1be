"""What verification says: findings with stable codes, and the size and root it came to."""

from dataclasses import dataclass, field
from typing import NamedTuple

MAX_FINDINGS = 1_000
_CHANGED_BYTES = frozenset(["LEAF_MISMATCH", "PAYLOAD_DIGEST", "COLUMN_MISMATCH", "RECORD_NOT_CANONICAL"])


class Finding(NamedTuple):
    """Something that is not as it must be."""

    code: str
    position: int | None
    subject: str
    expected: str
    found: str


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

    def first_cause(self) -> tuple[Finding, int] | None:
        """Return the first finding about bytes that were changed, and how many others may follow from it.

        None where there is no such finding, or nothing else.
        """
        first = next((each for each in self.findings if each.code in _CHANGED_BYTES), None)
        if first is None or first.position is None:
            return None
        others = sum(
            each is not first and (each.position is None or each.position >= first.position)
            for each in self.findings
        )
        return (first, others) if others else None

    def add(self, code: str, position: int | None, subject: str, expected: object, found: object) -> None:
        """Take in one finding; beyond `MAX_FINDINGS` they are only counted."""
        if len(self.findings) < MAX_FINDINGS:
            where = position if isinstance(position, int) else None
            texts = (_printable(subject), _printable(expected), _printable(found))
            self.findings.append(Finding(code, where, *texts))
        else:
            self.more_findings += 1


def _printable(value: object) -> str:
    return str(value).encode(errors="backslashreplace").decode()
