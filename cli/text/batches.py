"""A batch in text: a live table while it runs, and its result."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from cli.text import output
from cli.text.decisions import what_was_sent
from cli.text.jobs import state_style
from cli.text.printable import escape
from cli.text.tables import columns
from decision.engine.explain import why
from decision.money import format_usd
from ledger.job import Job
from ledger.terms import State
from render_service.rules.measurements import under_way
from render_service.runtime.documents import counted
from render_service.runtime.printable import short
from render_service.session.session import utc_now

if TYPE_CHECKING:
    from rich.console import Console, Group

    from render_service.batches.folder import BatchFolder
    from render_service.batches.item import Member, Watch
    from render_service.batches.plan import Planned
    from render_service.submission.preview import Preview

MOST_ROWS = 12
REFRESHES_PER_SECOND = 8
_DECISIONS = {"ALLOW": "allowed", "HOLD": "held", "DENY": "denied"}


@contextmanager
def progress_table(planned: "Sequence[Planned]") -> "Iterator[Watch | None]":
    """Show the progress of the batch on a terminal, all entries in order; elsewhere the log reports it."""
    if not output.shows_progress():
        yield None
        return
    from rich.live import Live

    latest: dict[int, Member] = {}

    def table() -> "Group":
        return _table(planned, dict(latest), utc_now())

    live = Live(
        get_renderable=table, console=output.console(stderr=True), refresh_per_second=REFRESHES_PER_SECOND
    )
    with live:
        live.refresh()  # the table is there while the first entries are decided

        def watch(member: "Member") -> None:
            latest[member.number] = member

        yield watch


def _table(planned: "Sequence[Planned]", members: "dict[int, Member]", now: datetime) -> "Group":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    states = Counter(_state(members.get(item.entry.number)) for item in planned)
    summary = ", ".join(f"{count} {state}" for state, count in states.items())
    title = f"{len(planned)} entries: {summary}; {time_left(members.values(), len(planned), now)}"
    table = Table(box=None, pad_edge=False)
    for name in ("line", "state", "%", "expected", "file"):
        table.add_column(name, no_wrap=True)
    for item in _shown(planned, members):
        table.add_row(*_row(item, members.get(item.entry.number)))
    return Group(Text(title), table)  # a title of the table would be folded where the table ends


def _shown(planned: "Sequence[Planned]", members: "dict[int, Member]") -> "Sequence[Planned]":
    """Return the entries that fit, in order: from the first that is not over, the last ones at the end."""
    open_ = (index for index, item in enumerate(planned) if not _is_over(members.get(item.entry.number)))
    first = min(next(open_, len(planned)), max(len(planned) - MOST_ROWS, 0))
    return planned[first : first + MOST_ROWS]


def _is_over(member: "Member | None") -> bool:
    return member is not None and not under_way(member.job)


def _state(member: "Member | None") -> str:
    return "deciding" if member is None else member.job.state.value


def _row(item: "Planned", member: "Member | None") -> tuple[str, ...]:
    percent = _percent(member.job) if member else ""
    took = f"{member.expected.p50_seconds} s" if member and member.expected else "unknown" if member else ""
    return str(item.entry.line), _state(member), percent, took, escape(str(item.entry.out))


def time_left(members: "Iterable[Member]", total: int, now: datetime) -> str:
    """Return when the whole batch is expected to be done: with its slowest render; they run together."""
    all_members = list(members)
    open_ = [member for member in all_members if under_way(member.job)]
    if len(all_members) == total and not open_:
        return "done"
    if len(all_members) < total or any(member.expected is None for member in open_):
        return "time left unknown"
    left = max(
        member.expected.p50_seconds - (now - datetime.fromisoformat(member.job.created_at)).total_seconds()
        for member in open_
        if member.expected
    )
    return f"about {max(round(left), 0)} s left" if left > 0 else "longer than usual"


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
    console: "Console", previews: "Sequence[tuple[Planned, Preview]]", folder: "BatchFolder", cost: int
) -> None:
    """Print what would be decided for each entry, and the cost of all that would be allowed."""
    rows = [
        (
            str(planned.entry.line),
            _DECISIONS[preview.ruling.decision],
            short(why(preview.ruling)[0], 70),
            str(folder.document(planned)),
        )
        for planned, preview in previews
    ]
    columns(console, ("line", "decision", "because", "file"), rows)
    tally = Counter(_DECISIONS[preview.ruling.decision] for _, preview in previews)
    words = ", ".join(f"{tally[word]} {word}" for word in _DECISIONS.values() if tally[word])
    console.print(f"{counted(len(previews), 'entry', 'entries')}: {words}; {format_usd(cost)} in total")
    sent = what_was_sent(*(preview.ruling for _, preview in previews))
    console.print(f"dry run: nothing was recorded, {sent}")
