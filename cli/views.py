"""What people read: jobs, decisions, records and findings as text on a terminal."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli.printable import printable
from decision.explain import what_now, why
from decision.holding import Considered
from decision.money import format_usd
from decision.request import RenderRequest
from ledger.events import (
    ApprovalGranted,
    ApprovalRefused,
    AssetLost,
    AssetStored,
    CostSettled,
    DecisionOverridden,
    ErrorDetail,
    Event,
    ExternalRecorded,
    Operation,
    PrivateErased,
    RenderAdopted,
    RenderClosed,
    RenderDecided,
    RenderDenied,
    RenderHeld,
    RenderRequested,
    ReviewRecorded,
    StatusObserved,
    SubmissionAbsent,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRejected,
    SubmissionUnknown,
    Variant,
    VideoDeleted,
)
from ledger.job import Job, State
from ledger.private import Private
from ledger.record import Record

_STATE_STYLE = {
    State.STORED: "green",
    State.COMPLETED: "green",
    State.RUNNING: "cyan",
    State.SUBMITTING: "yellow",
    State.UNKNOWN: "yellow",
    State.HELD: "yellow",
    State.APPROVED: "cyan",
    State.DECIDED: "cyan",
    State.DELETED: "bright_black",
    State.CANCELLED: "bright_black",
}
_SHORT = 60


def short(text: str | None, limit: int = _SHORT) -> str:
    """Return `text` on one line, cut at `limit` characters; erased text as such."""
    if text is None:
        return "[erased]"
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


RULINGS = {
    "ALLOW": "[bold green]allowed[/]",
    "DENY": "[bold red]denied[/]",
    "HOLD": "[bold yellow]held[/]",
}


def show_ruling(
    console: Console,
    ruling: Considered,
    request: RenderRequest | None = None,
    *,
    job_id: str = "JOB",
    draft: str | None = None,
    answered: bool = False,
) -> None:
    """Print what was decided, why, and what to do now where it was not allowed; nothing where `answered`."""
    console.print(RULINGS[ruling.decision])
    for reason in why(ruling):
        console.print(f"  {escape(printable(reason))}")
    if not isinstance(ruling, RenderDecided) and not answered:
        for step in what_now(ruling, request, job_id=job_id, draft=draft):
            console.print(f"  [bold]→[/] {escape(printable(step))}")  # may be a command to copy


def state_style(state: State) -> str:
    """Return the colour of a state."""
    return _STATE_STYLE.get(state, "red")


def show_job(console: Console, job: Job) -> None:
    """Print one job as a short list of facts."""
    facts = list(_facts(job))
    width = max(len(name) for name, _ in facts)
    for name, value in facts:  # a line each, never folded, so that an id or a path can be copied
        console.print(f"[bright_black]{name:<{width}}[/]  {value}")


def show_submitting(console: Console, job: Job) -> None:
    """Print who can submit a job that was decided and not sent."""
    console.print(f"next: a worker submits it (sora-ledger worker), or: sora-ledger resume {job.job_id}")


def _facts(job: Job) -> Iterable[tuple[str, str]]:
    yield "job", job.job_id
    if job.video_id:
        yield "video", escape(job.video_id)
    style = _STATE_STYLE.get(job.state, "red")
    progress = f" {job.progress} %" if job.state is State.RUNNING and job.progress is not None else ""
    code = job.detail_code or job.error_code
    yield "state", f"[{style}]{job.state}[/]{progress}" + (f" ({escape(code)})" if code else "")
    length = f"{job.seconds} s" if job.seconds is not None else None
    render = (job.model or job.requested_model, job.size, length, job.purpose)
    yield "render", escape(" · ".join(word for word in render if word))  # of an adopted one not all is known
    if job.source_job:
        yield "promotes" if job.operation is Operation.CREATE else f"{job.operation} of", job.source_job
    if job.settled_usd_micros is not None:
        yield "cost", f"{format_usd(job.settled_usd_micros)} ({job.cost_basis})"
    elif job.reserved_usd_micros:
        yield "cost", f"{format_usd(job.reserved_usd_micros)} reserved"
    if job.verdict:
        yield "review", job.verdict
    for variant in (variant for variant in Variant if variant in job.assets):
        asset = job.assets[variant]
        gone = ", no longer there" if job.state is State.LOST and variant is Variant.VIDEO else ""
        yield str(variant), f"{escape(asset.storage_uri)} ({asset.bytes:,} bytes{gone})"


def show_jobs(console: Console, jobs: Iterable[Job]) -> None:
    """Print jobs as a table."""
    jobs = list(jobs)
    styles = [_STATE_STYLE.get(job.state, "red") for job in jobs]
    header = ("job", "state", "created", "cost", "render")
    columns(console, header, [_job_row(job) for job in jobs], styles)


def _job_row(job: Job) -> tuple[str, ...]:
    cost = job.settled_usd_micros if job.settled_usd_micros is not None else job.reserved_usd_micros
    price = "" if job.operation is None else format_usd(cost)  # an adopted video was paid for elsewhere
    length = f"{job.seconds} s" if job.seconds else None
    parts = (job.operation or "adopted", job.model, job.size, length)
    render = " ".join(str(part) for part in parts if part) + (f" · {job.verdict}" if job.verdict else "")
    return job.job_id, job.state, job.created_at[:16].replace("T", " "), price, render


def columns(
    console: Console, header: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()
) -> None:
    """Print aligned columns that are never folded; `styles` colours the second cell of each row."""
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    console.print(Text(_line(header, widths), style="bold"))
    for row, style in zip_longest(rows, styles, fillvalue=""):
        line = Text(_line(row, widths))
        line.stylize(style, widths[0] + 2, widths[0] + 2 + len(row[1]))
        console.print(line)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def records_table() -> Table:
    """Return an empty table of records."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("#", justify="right", style="bright_black")
    table.add_column("time", no_wrap=True)
    table.add_column("stream", no_wrap=True, style="bright_black")
    table.add_column("event", no_wrap=True, style="bold")
    table.add_column("by", no_wrap=True, style="bright_black")
    table.add_column("what", overflow="fold")
    return table


def record_row(record: Record) -> tuple[str, ...]:
    """Return one record as a row of `records_table`."""
    return (
        str(record.position),
        record.recorded_at[11:19],
        short_stream(record.stream),
        record.type,
        short(record.actor, 16),
        escape(what(record.event)),
    )


def short_stream(stream: str) -> str:
    """Return a stream's name, a job's by the end of its id, where two jobs of one moment differ."""
    return f"job_…{stream[-8:]}" if stream.startswith("job_") else stream


def what(event: Event) -> str:  # noqa: C901, PLR0911, PLR0912  # one arm per event
    """Say in a few words what an event holds."""
    match event:
        case RenderRequested():
            words = f"{event.operation} {event.size} {event.seconds} s for {event.purpose}"
            return f"{words}: “{short(event.prompt.text)}”"
        case RenderDecided():
            reasons = ", ".join(event.reason_codes)
            return f"{event.model}, {format_usd(event.cost_usd_micros)} reserved ({reasons})"
        case RenderDenied():
            trace = event.denial_trace
            return f"{trace.code} {trace.detail_code} ({trace.failed_invariant})"
        case RenderHeld():
            people = "1 person" if event.approvals_needed == 1 else f"{event.approvals_needed} people"
            return f"needs {people} ({', '.join(event.reason_codes)})"
        case ApprovalGranted() | ApprovalRefused():
            comment = f"“{short(event.comment.text)}”" if event.comment else "without a comment"
            return f"{comment}, signed with key {event.key_id}" if event.key_id else comment
        case DecisionOverridden():
            return f"{event.detail_code} until {event.expires_at[:16]}Z: “{short(event.why.text)}”"
        case SubmissionIntended():
            return f"to {event.server} as {event.model}"
        case SubmissionAccepted():
            return f"{event.video_id} {event.status}"
        case SubmissionRejected():
            return describe_error(event.error)
        case SubmissionUnknown():
            return f"the answer was lost: {event.lost}" + (
                f" ({describe_error(event.error)})" if event.error else ""
            )
        case SubmissionAbsent():
            return f"nothing was created: {event.how}"
        case StatusObserved():
            progress = "" if event.progress is None else f" {event.progress} %"
            return f"{event.status}{progress}" + (f": {describe_error(event.error)}" if event.error else "")
        case AssetStored():
            probe = event.probe
            shape = f"{probe.width}x{probe.height}" if probe else ""
            length = f" {probe.duration_ms / 1000:g} s" if probe and probe.duration_ms else ""
            off = f" MISMATCH {', '.join(m.field for m in event.mismatches)}" if event.mismatches else ""
            return f"{event.variant} {shape}{length}, {event.bytes:,} bytes, sha256 {event.sha256[:12]}…{off}"
        case CostSettled():
            return f"{format_usd(event.cost_usd_micros)} ({event.basis})"
        case RenderClosed():
            took = f"{event.duration_ms / 1000:.1f} s"
            return f"{event.outcome} after {took}, {format_usd(event.cost_usd_micros)}"
        case ReviewRecorded():
            scores = "".join(f", {name} {score}" for name, score in event.scores.items())
            return f"{event.verdict}{scores}" + (f": “{short(event.notes.text)}”" if event.notes else "")
        case VideoDeleted():
            return f"{event.video_id}: {event.answer}"
        case PrivateErased():
            return f"{len(event.commitments)} texts ({event.reason_code})"
        case AssetLost():
            return f"{event.variant}: {event.cause}"
        case RenderAdopted() | ExternalRecorded():
            return f"{event.video_id} {event.status}"
        case _:
            return ", ".join(
                f"{name} {_plain(value)}" for name, value in event if value not in (None, (), {})
            )


def _plain(value: object) -> str:
    if isinstance(value, Private):
        return f"“{short(value.text)}”"
    return short(str(value), 40)


def describe_error(error: ErrorDetail) -> str:
    """Return a server's error in one line."""
    parts = [f"HTTP {error.http_status}" if error.http_status else None, error.code or error.type]
    message = short(error.message.text, 200) if error.message else None
    return ": ".join(part for part in (" ".join(part for part in parts if part), message) if part)
