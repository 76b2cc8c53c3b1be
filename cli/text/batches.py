"""A batch in text: a live table while it runs, and its result."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.text import output
from cli.text.decisions import what_was_sent
from cli.text.jobs import state_style
from cli.text.printable import escape
from cli.text.tables import columns
from decision.engine.explain import why
from decision.money import format_usd
from ledger.job import Job, State
from render_service.runtime.documents import counted
from render_service.runtime.printable import short

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from render_service.batches.folder import BatchFolder
    from render_service.batches.item import Member, Watch
    from render_service.batches.plan import Planned
    from render_service.submission.preview import Preview

MOST_ROWS = 12
REFRESHES_PER_SECOND = 8


@contextmanager
def progress_table(planned: "Sequence[Planned]") -> "Iterator[Watch | None]":
    """Show the progress of the batch on a terminal; elsewhere the log reports it."""
    if not output.shows_progress():
        yield None
        return
    from rich.live import Live

    latest: dict[int, Member] = {}

    def table() -> "Table":
        return _table(list(latest.values()), len(planned))

    live = Live(
        get_renderable=table, console=output.console(stderr=True), refresh_per_second=REFRESHES_PER_SECOND
    )
    with live:

        def watch(member: "Member") -> None:
            latest.pop(member.number, None)
            latest[member.number] = member  # the entry that changed last comes last

        yield watch


def _table(members: "Sequence[Member]", total: int) -> "Table":
    from rich.table import Table

    states = Counter(member.job.state.value for member in members)
    summary = ", ".join(f"{count} {state}" for state, count in states.items())
    table = Table(
        box=None, pad_edge=False, title=f"{len(members)} of {total}: {summary}", title_justify="left"
    )
    for name in ("line", "state", "%", "file"):
        table.add_column(name, no_wrap=True)
    for member in members[-MOST_ROWS:]:
        table.add_row(*_row(member))
    return table


def _row(member: "Member") -> tuple[str, ...]:
    job, entry = member.job, member.planned.entry
    return str(entry.line), job.state.value, _percent(job), escape(str(entry.out))


def _percent(job: Job) -> str:
    return str(job.progress) if job.state is State.RUNNING and job.progress is not None else ""


def show_batch(console: "Console", members: "Sequence[Member]", folder: "BatchFolder") -> None:
    """Print every entry with its job, and the total cost."""
    rows = [
        (
            str(member.planned.entry.line),
            member.job.state.value,
            member.job.job_id,
            format_usd(_cost(member.job)),
            str(folder.document(member.planned)),
        )
        for member in members
    ]
    styles = [state_style(member.job.state) for member in members]
    columns(console, ("line", "state", "job", "cost", "file"), rows, styles)
    spent = sum(_cost(member.job) for member in members)
    console.print(f"{counted(len(members), 'entry', 'entries')}, {format_usd(spent)} settled or reserved")
    states = {member.job.state for member in members}
    if State.RUNNING in states:
        console.print("next: the same command with --resume --poll waits for them and keeps their videos")
    elif State.DECIDED in states:
        console.print(
            "next: a worker submits them (sora-ledger worker), or the same with --resume, not --queue"
        )


def _cost(job: Job) -> int:
    return job.settled_usd_micros if job.settled_usd_micros is not None else job.reserved_usd_micros


def show_preview(
    console: "Console", previews: "Sequence[tuple[Planned, Preview]]", folder: "BatchFolder"
) -> None:
    """Print what would be decided for each entry."""
    rows = [
        (
            str(planned.entry.line),
            "allowed" if one.post else "denied",
            short(why(one.ruling)[0], 70),
            str(folder.document(planned)),
        )
        for planned, one in previews
    ]
    columns(console, ("line", "decision", "because", "file"), rows)
    sent = what_was_sent(*(one.ruling for _, one in previews))
    console.print(f"dry run: nothing was recorded, {sent}")
