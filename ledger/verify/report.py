"""What verification says: findings with stable codes, and the size and root it came to."""

from dataclasses import dataclass, field
from typing import NamedTuple

MAX_FINDINGS = 1_000


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
