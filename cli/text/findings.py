"""What a check of the record found, as people read it."""

from typing import TYPE_CHECKING

from rich.console import Console

from cli.text.printable import printable
from render_service.runtime.documents import counted

if TYPE_CHECKING:
    from ledger.verify import Report


def show_findings(console: Console, report: "Report") -> None:
    """Print what a check of the record found, and how much it was."""
    for finding in report.findings:
        where = "" if finding.position is None else f"position {finding.position}, "
        console.print(f"[red]{finding.code}[/]", end="")
        told = f" at {where}{finding.subject}\n    expected {finding.expected}\n    found    {finding.found}"
        console.print(printable(told), markup=False)
    first = report.first_cause()
    if first:
        finding, others = first
        explained = counted(others, "other finding")
        told = f"begin with {finding.code} at position {finding.position}: it may explain {explained}"
        console.print(told, markup=False)
    found = counted(len(report.findings) + report.more_findings, "finding")
    hidden = f", {report.more_findings:,} of them not shown" if report.more_findings else ""
    console.print(f"{found} in {counted(report.size, 'record')}{hidden}")
