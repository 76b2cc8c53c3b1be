"""``replay``: rebuild every job from its records."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from cli.options import common
from cli.text.jobs import show_jobs
from cli.text.usage import Usage
from ledger.events import StatusObserved
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.log.opening import open_store
from ledger.log.replay import fold_newest_first, position_at, replay, swap
from ledger.private import COMMITMENT_KEY, PrivateBody
from ledger.record import Record, StoredRow
from ledger.terms import Status
from render_service.runtime.documents import format_count, job_document

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.log.replay import Replay
    from ledger.store.interface import ListDrift
    from render_service.session.session import Session


MOST_SHOWN = 20
"""Maximum rows of lists and counts that are printed; --json has all of them."""
TEXTS_AT_ONCE = 100
"""Number of jobs whose texts and times are looked up together."""


def _position_or_time(_: click.Context, __: click.Parameter, value: str | None) -> int | str | None:
    if value is None:
        return None
    return int(value) if value.isdecimal() else common.parse_moment(value)


@click.command("replay")
@click.option(
    "--as-of",
    metavar="POSITION|TIME",
    callback=_position_or_time,
    help="Show the jobs as of this position or time.",
)
@click.option(
    "--swap",
    is_flag=True,
    help="Replace the live rows with the replayed jobs, and rebuild the search index.",
)
@click.option(
    "--record",
    is_flag=True,
    help="Record the digest of the rows, unless they drifted; it helps to date a later drift.",
)
@click.option(
    "--decisions",
    "remaking",
    is_flag=True,
    help="Repeat every recorded decision instead.",
)
@common.invocation
def replay_command(
    inv: Invocation, *, as_of: int | str | None, swap: bool, record: bool, remaking: bool
) -> None:
    """Rebuild every job from its records and compare with the live rows. Calls nothing, changes nothing.

    It also compares the tables behind lists, counts and the console's charts.

    Workers record the digest of all rows every 10,000 records, and --record does so now. Replay recomputes
    each of them, so it can tell between which two a drift began.

    With --decisions, every recorded decision is repeated under the policy and catalog it cites. A different
    result is DECISION_DRIFT; NOT_RECOMPUTABLE means that the inputs are gone.

    Exit code 0 if they agree, 10 with drift.

    \b
    Example:
      sora-ledger replay
      sora-ledger replay --record
      sora-ledger replay --decisions
      sora-ledger replay --as-of 42
      sora-ledger replay --as-of 2026-11-20T14:00:00Z
    """
    if record and (remaking or as_of is not None):
        raise Usage(
            "--record is for the replay of all jobs; leave out --decisions and --as-of",
            param="record",
            expected="a replay of all jobs",
            found="a part of them",
        )
    if remaking:
        if swap or as_of is not None:
            raise Usage(
                "--decisions reads all of them and swaps none; leave out the other option",
                param="decisions",
                expected="--decisions alone",
                found="another option",
            )
        _decisions(inv)
        return
    if as_of is not None:
        if swap:
            raise Usage(
                "--swap puts the jobs of now in place; leave out --as-of",
                param="swap",
                expected="--swap without --as-of",
                found="both",
            )
        _as_of(inv, as_of)
        return
    with inv.ledger() as ledger:
        result = replay(ledger)
    if swap:
        _swap(inv, result)
    records = record and (swap or not result.drift)
    if records:
        inv.session(_record, calls=False)
    inv.emit(_document(result), lambda console: _text(console, result, swapped=swap))
    if not (result.is_clean or records):
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _document(result: "Replay") -> dict[str, Any]:
    """Return the JSON document of a replay."""
    return {
        "position": result.position,
        "jobs": result.jobs,
        "drift": [{"job_id": drift.job_id, "fields": drift.fields()} for drift in result.drift],
        "lists": [_list_document(row) for row in result.lists],
        "recorded_digests": {
            "compared": result.compared,
            "not_compared": result.not_compared,
            "drifted": [span._asdict() for span in result.drifted],
        },
    }


def _list_document(row: "ListDrift") -> dict[str, Any]:
    def texts(values: tuple[object, ...] | None) -> list[object] | None:
        if values is None:
            return None
        return [value.decode() if isinstance(value, bytes) else value for value in values]

    return {"table": row.table, "row": row.row, "live": texts(row.live), "expected": texts(row.expected)}


def _decisions(inv: Invocation) -> None:
    from render_service.reports.redecide import Verdict, remake_summary  # the whole engine

    with inv.ledger() as ledger:
        summary = remake_summary(ledger)
    drift = summary.counts[Verdict.DECISION_DRIFT]

    def text(console: "Console") -> None:
        for decision in summary.shown:
            style = "red" if decision.verdict is Verdict.DECISION_DRIFT else "yellow"
            where = f"position {decision.record.position} {decision.record.stream}"
            console.print(f"[{style}]{decision.verdict}[/] {where}")
            if decision.why:
                console.print(f"    {decision.why}", markup=False)
            for name, (recorded, remade) in decision.differences.items():
                console.print(f"    {name}: recorded {recorded}, now {remade}", markup=False)
        agree = f"{summary.counts[Verdict.SAME]} of {summary.counts.total()} decisions are made as recorded"
        console.print(agree if drift else f"[green]no drift[/]: {agree}")

    inv.emit(summary.document(), text)
    if drift:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _as_of(inv: Invocation, as_of: int | str) -> None:
    with inv.ledger() as ledger:
        position = as_of if isinstance(as_of, int) else position_at(ledger, as_of)
        size = ledger.head().size
        if position > size:
            raise Usage(
                f"--as-of {position}: expected at most {size}, the end of the ledger",
                param="as_of",
                expected=f"at most {size}, the end of the ledger",
                found=position,
            )

        def document(then: _PastJob) -> dict[str, Any]:
            recorded = then.recorded()
            return job_document(then.job, ledger, recorded.records[then.job.job_id], recorded.texts)

        def text(console: "Console", passing: Iterable[_PastJob]) -> None:
            jobs = [then.job for then in passing]
            console.print(f"{format_count(len(jobs), 'job')} as of position {position}")
            show_jobs(console, jobs)

        inv.emit_each("jobs", _jobs_then(ledger, position), document, text, {"position": position})


_Folded = tuple[Job, list[tuple[Any, StoredRow]]]
"""A past job, and the envelopes and rows of its records."""


class _Recorded(NamedTuple):
    """Of several jobs, the first record and the first that says the video is complete, and private texts."""

    records: Mapping[str, list[Record]]
    texts: Mapping[str, PrivateBody]


class _PastJob(NamedTuple):
    """A job as it was, and what the records of several jobs say about them, read when needed."""

    job: Job
    recorded: Callable[[], _Recorded]


def _jobs_then(ledger: Ledger, position: int) -> Iterator[_PastJob]:
    jobs = fold_newest_first(ledger, position)
    while some := list(islice(jobs, TEXTS_AT_ONCE)):
        recorded = cache(partial(_read_recorded, ledger, some))
        for job, _ in some:
            yield _PastJob(job, recorded)


def _read_recorded(ledger: Ledger, jobs: list[_Folded]) -> _Recorded:
    firsts = Record.from_rows([rows[0][1] for _, rows in jobs])
    private = [record.envelope.position for record in firsts if COMMITMENT_KEY in record.payload]
    texts = ledger.store.bodies(private) if private else {}
    records = {record.envelope.stream: [record] for record in firsts}
    completed = [_completion(rows) for job, rows in jobs if job.status is Status.COMPLETED]
    for record in Record.from_rows([row for row in completed if row]):
        records[record.envelope.stream].append(record)
    return _Recorded(records, texts)


def _completion(rows: list[tuple[Any, StoredRow]]) -> StoredRow | None:
    for envelope, row in rows:
        if envelope.type == StatusObserved.type and b'"status":"completed"' in row.payload:
            return row
    return None


def _swap(inv: Invocation, result: "Replay") -> None:
    with Ledger(open_store(inv.settings.ledger_url, read_only=False)) as ledger:
        swap(ledger, result)


async def _record(session: "Session") -> None:
    from render_service.evidence.recorded_checks import record_projection  # only with --record

    event = await asyncio.to_thread(record_projection, session)
    say(f"recorded: the rows of {format_count(event.jobs, 'job')} as of position {event.position}")


def _text(console: "Console", result: "Replay", *, swapped: bool) -> None:
    for span in result.drifted:
        until = "" if span.until is None else f"; right again at {span.until}"
        began = f"between positions {span.after} and {span.by}"
        console.print(f"[yellow]rows were wrong[/]: the drift began {began}{until}")
    if result.not_compared:
        other = format_count(result.not_compared, "recorded digest")
        console.print(f"not compared: {other}, of a version of sora-ledger with other rows")
    if not (result.drift or result.lists):
        folded = (
            f"{format_count(result.jobs, 'job')} folded again from {format_count(result.position, 'record')}"
        )
        digests = f"; {format_count(result.compared, 'recorded digest')} compared" if result.compared else ""
        console.print(f"[green]no drift[/]: {folded}{digests}")
        if not result.is_clean:
            console.print("replay --record records the digest of the rows as they are now")
        return
    for drift in result.drift:
        console.print(f"[red]drift[/] {drift.job_id}")
        for name, (live, replayed) in drift.fields().items():
            console.print(f"    {name}: live {live}, replayed {replayed}", markup=False)
    from rich.markup import escape  # rich is already loaded: it prints this

    for row in result.lists[:MOST_SHOWN]:
        console.print(f"[red]drift[/] {row.table} [bold]{escape(row.row)}[/]")
        console.print(f"    live {row.live or 'no row'}, expected {row.expected or 'no row'}", markup=False)
    if len(result.lists) > MOST_SHOWN:
        console.print(f"and {format_count(len(result.lists) - MOST_SHOWN, 'more row')} of lists and counts")
    console.print(
        "the replayed jobs are live now" if swapped else "replay --swap puts the replayed jobs in place"
    )
