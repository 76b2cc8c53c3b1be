"""A job in text: a short list of facts, or one line of a table."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from cli.text.printable import NOTHING, escape
from cli.text.tables import columns
from decision.money import format_usd, usd_digits
from ledger.job import Job
from ledger.log.job_names import handle_of
from ledger.log.ledger import Ledger
from ledger.store.interface import FoundJob
from ledger.terms import Operation, State, Variant
from render_service.reports.find import Snippet, path_of, snippet_of
from render_service.reports.jobs import prompt_of, source_of
from render_service.runtime.printable import printable, shorten
from render_service.runtime.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.session.splits import SplitProgress

_SAME = ("job_id", "video_id", "state", "created_at", "closed_at", "actor", "team", "project")
"""The columns that are fields of a job of the same name; more follow."""

COLUMNS = (
    *_SAME,
    "operation",
    "source_job",
    "purpose",
    "model",
    "size",
    "seconds",
    "cost_usd",
    "cost_basis",
    "verdict",
    "error_code",
    "prompt",
    "file",
    "poster",
)


def job_rows(jobs: Iterable[Job], ledger: Ledger, settings: Settings) -> Iterator[Sequence[object]]:
    """Yield the header and a row for each of `jobs`, as they arrive; the cost is settled or reserved."""
    yield COLUMNS
    for job in jobs:
        cost = job.settled_usd_micros if job.settled_usd_micros is not None else job.reserved_usd_micros
        cells = {name: getattr(job, name) for name in _SAME} | {
            "operation": job.operation or "adopted",
            "source_job": source_of(ledger, job),
            "purpose": job.purpose,
            "model": job.model or job.requested_model,
            "size": job.size,
            "seconds": job.seconds,
            "cost_usd": None if job.operation is None else usd_digits(cost),
            "cost_basis": job.cost_basis,
            "verdict": job.verdict,
            "error_code": job.detail_code or job.error_code,
            "prompt": prompt_of(ledger, job),
            "file": path_of(job, settings, Variant.VIDEO),
            "poster": path_of(job, settings, Variant.THUMBNAIL),
        }
        yield ["" if cells[name] is None else cells[name] for name in COLUMNS]


_INDENT = "    "
_LONG = 200
_LONGEST_NAME = 12
_ROOM_FOR_IDS = 120
"""Terminal width from which a table has whole ids."""


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


def state_style(state: State) -> str:
    """Return the colour of a state."""
    return _STATE_STYLE.get(state, "red")


def show_job(console: "Console", job: Job, assets_url: str = "") -> None:
    """Print one job as a short list of facts; `assets_url` is the place of its files."""
    facts = list(_facts(job, assets_url))
    width = max(len(name) for name, _ in facts)
    for name, value in facts:  # a line each, never folded, so that an id or a path can be copied
        console.print(f"[bright_black]{name:<{width}}[/]  {value}")


def show_submitting(console: "Console", job: Job) -> None:
    """Print how a job that was decided but not sent is submitted."""
    console.print(f"next: a worker submits it (sora-ledger worker), or: sora-ledger resume {job.job_id}")


def show_split(console: "Console", standing: "SplitProgress | None") -> None:
    """Print the progress of a job's split, if it is part of one."""
    if standing is not None:
        console.print(f"split: {standing.sentence}", markup=False)


def _facts(job: Job, assets_url: str) -> Iterable[tuple[str, str]]:
    yield "job", job.job_id
    if job.video_id:
        yield "video", escape(job.video_id)
    style = _STATE_STYLE.get(job.state, "red")
    progress = f" {job.progress} %" if job.state is State.RUNNING and job.progress is not None else ""
    code = job.detail_code or job.error_code
    words = "partly approved, more approvals needed" if job.state is State.APPROVED else job.state
    yield "state", f"[{style}]{words}[/]{progress}" + (f" ({escape(code)})" if code else "")
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
        name = "file" if variant is Variant.VIDEO else str(variant)  # `video` is its id
        yield name, f"{escape(_format_location(asset.storage_uri, assets_url))} ({asset.bytes:,} bytes{gone})"


def _format_location(storage_uri: str, assets_url: str) -> str:
    scheme, _, name = storage_uri.partition(":")
    return f"{assets_url}/{name}" if scheme == "asset" and assets_url else storage_uri


def show_jobs(
    console: "Console", jobs: Iterable[Job], prompt: Callable[[Job], str | None] | None = None
) -> None:
    """Print jobs as a table; with `prompt`, a function that returns a job's prompt, also its requester.

    On a terminal, the last column is cut to fit; on a narrow one, ids are shortened to handles.
    """
    listed = list(jobs)
    years = {job.created_at[:4] for job in listed}
    created = f"in {years.pop()}" if len(years) == 1 else "created"
    dates = slice(5, 16) if created != "created" else slice(10)
    header = ("job", "state", created, "USD", *(("by", "render", "prompt") if prompt else ("render",)))
    rows: list[tuple[str, ...]] = []
    for job in listed:
        name = shorten_id(console, job.job_id) if prompt else job.job_id
        begun = (name, job.state, job.created_at[dates].replace("T", " "), _price(job))
        rows.append((*begun, *(_request_words(job, prompt(job)) if prompt else (_render(job),))))
    columns(console, header, rows, [state_style(job.state) for job in listed], cuts=True)


def shorten_id(console: "Console", job_id: str) -> str:
    """Return a job's name in a table: its handle if the terminal is narrow."""
    return handle_of(job_id) if console.is_terminal and console.width < _ROOM_FOR_IDS else job_id


def _price(job: Job) -> str:
    cost = job.settled_usd_micros if job.settled_usd_micros is not None else job.reserved_usd_micros
    return "" if job.operation is None else usd_digits(cost)  # an adopted video was paid for elsewhere


def _render(job: Job) -> str:
    length = f"{job.seconds} s" if job.seconds else None
    operation = None if job.operation is Operation.CREATE else job.operation or "adopted"
    render = " ".join(str(part) for part in (job.model, length, job.size, operation) if part)
    return render + (f" · {job.verdict}" if job.verdict else "")


def _request_words(job: Job, prompt: str | None) -> tuple[str, str, str]:
    """Return the requester of `job`, what it renders, and the prompt after its change to its source."""
    length = f"{job.seconds} s" if job.seconds else None
    render = " ".join(part for part in (job.model or job.requested_model, length) if part)
    operation = "" if job.operation is Operation.CREATE else f"{job.operation or 'adopted'}: "
    review = f"{job.verdict}: " if job.verdict else ""
    return shorten(job.actor, _LONGEST_NAME), render, review + operation + printable(_join_lines(prompt))


def _join_lines(text: str | None) -> str:
    return " ".join((text or "").split())


def show_found(
    console: "Console", matches: Iterable[FoundJob], words: str, poster: Callable[[Job], str | None]
) -> None:
    """Print found jobs, each with the piece of its prompt that has `words`, and the path of its thumbnail."""
    width = console.width - len(_INDENT) if console.is_terminal else _LONG
    count = 0
    for match in matches:
        count += 1
        job = match.job
        created = job.created_at[:16].replace("T", " ")
        facts = " ".join(part for part in (job.model or job.requested_model, job.purpose) if part)
        taken = len(f"{job.job_id}  {job.state}  {created}  {facts}")
        name = handle_of(job.job_id) if console.is_terminal and taken > console.width else job.job_id
        console.print(f"{name}  [{state_style(job.state)}]{job.state}[/]  {created}  {escape(facts)}")
        console.print(_INDENT + _highlight(_snippet(match, words, width)))
        if path := poster(job):
            console.print(_INDENT + f"[bright_black]{escape(path)}[/]")
    if not count:
        console.print(NOTHING)


def _snippet(match: FoundJob, words: str, room: int) -> Snippet:
    """Return the piece of a prompt that fits; a Chinese character takes two columns."""
    from rich.cells import cell_len

    characters = room
    while cell_len((snippet := snippet_of(match, words, characters)).text) > room and characters > 1:
        characters -= 1
    return snippet


def _highlight(snippet: Snippet) -> str:
    parts, end = [], 0
    for start, stop in snippet.spans:
        if start >= end:
            parts += [escape(snippet.text[end:start]), f"[bold]{escape(snippet.text[start:stop])}[/]"]
            end = stop
    return "".join([*parts, escape(snippet.text[end:])])
