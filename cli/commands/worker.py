"""``worker`` and ``queue``: work on due jobs, and show the queue."""

import asyncio
import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode, choose_worst, code_of_job
from cli.failures import Failure
from cli.flows import run_all
from cli.invocation import Invocation, say
from cli.options import common
from cli.options.working import (
    add_publishing_options,
    add_worker_options,
    read_publication,
    read_worker_options,
)
from cli.text.tables import columns
from ledger.errors import argv_of
from ledger.record import Authority
from ledger.terms import State
from render_service.alerts.targets import Targets, read_targets
from render_service.notifications.dead_letters import forwarding_document, outbox_document, send_again
from render_service.runtime.documents import format_count
from render_service.runtime.ledger_process import end_with_parent
from render_service.runtime.signals import stop_signals
from render_service.server.background import Work, working
from render_service.worker.leases import WorkerOptions, queue_document
from render_service.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from render_service.evidence.checkpoints import Scheduled
    from render_service.session.session import Session
    from render_service.worker.steps import Left
    from render_service.worker.worker import Worked


@click.command("worker")
@add_worker_options
@add_publishing_options
@run_all.option
@click.option("--drain", is_flag=True, help="Exit when no jobs are left, or only jobs that need a person.")
@common.calling
@common.invocation
def worker_command(inv: Invocation, *, all_in: Path | None, **options: Any) -> None:
    """Work on due jobs: submit queued ones, observe running ones, store videos, find lost submissions.

    Any number of workers share one ledger; on PostgreSQL they may run on several machines. `create --queue`
    and an approval leave jobs to them, and they continue where a crashed command stopped. SIGTERM or Ctrl-C
    ends a worker within ten seconds; it finishes or hands back its jobs. With --drain, it lists the jobs that
    need a person, and ends with 6, 5 or 3 if there are any. It also sends the alerts of the file that
    SORA_LEDGER_ALERTS names. With --all, each ledger of a folder gets its own worker process.

    \b
    Example:
      sora-ledger worker
      sora-ledger worker --per-minute sora-2-pro=25 --running sora-2-pro=5
      sora-ledger worker --drain
      sora-ledger worker --publish checkpoint.txt --publish-every 3600
      sora-ledger worker --all ledgers
    """
    if all_in:
        run_all.work_all(inv, all_in, drains=options["drain"])
        return
    end_with_parent()
    publication = read_publication(inv.settings, options)
    terms = read_worker_options(**options)
    targets = read_targets(inv.settings.alerts_file) if inv.settings.alerts_file else None
    worked: Worked = inv.session(
        lambda session: _work(session, terms, publication, targets), authority=Authority.SYSTEM
    )
    inv.emit(_document(worked), lambda console: _print_worked(worked, console))
    if terms.drain and worked.left:
        _fail_for_person(worked.left).report()
        raise click.exceptions.Exit(choose_worst(_code_of(one) for one in worked.left))


def _document(worked: "Worked") -> dict[str, Any]:
    left = [
        {"job_id": one.job.job_id, "state": one.job.state, "why": one.why, "commands": one.commands}
        for one in worked.left
    ]
    return vars(worked) | {"left": left}


def _print_worked(worked: "Worked", console: "Console") -> None:
    console.print(f"{worked.claimed} claimed, {worked.submitted} submitted, {worked.closed} closed")
    for one in worked.left:
        console.print(f"[yellow]needs a person[/]  {one.job.job_id}")
        console.print(f"  {one.why}", markup=False)
        for command in one.commands:
            console.print(f"  → {command}", markup=False)


def _fail_for_person(left: "Sequence[Left]") -> Failure:
    return Failure(
        "left_to_a_person",
        choose_worst(_code_of(one) for one in left),
        "; ".join(f"{one.job.job_id} needs a person: {one.why}" for one in left),
        param="job",
        expected="jobs that a worker can finish",
        found=", ".join(sorted({one.job.state.value for one in left})),
        next=[argv_of(command) for one in left for command in one.commands],
    )


def _code_of(left: "Left") -> ExitCode:
    """Return the category of a job left to a person: an unknown outcome, an endless render, or a decision."""
    if (code := code_of_job(left.job)) is not ExitCode.DONE:
        return code
    return ExitCode.TIMED_OUT if left.job.state in {State.RUNNING, State.COMPLETED} else ExitCode.DENIED


async def _work(
    session: "Session", terms: WorkerOptions, publication: "Scheduled | None", targets: Targets | None
) -> "Worked":
    session.profile()  # reports immediately what is missing to reach its server
    if (exporter := session.telemetry.exporter) is not None:
        from render_service.server.metrics import LedgerMetrics

        exporter.add(LedgerMetrics(session.ledger, session.settings.longest_render_s).collect)
    worker = Worker(session, terms)
    async with contextlib.AsyncExitStack() as stack:
        works: list[Work] = []
        if targets:
            from render_service.alerts.alerter import Alerter

            works.append((await stack.enter_async_context(Alerter(session, targets))).run)
        stop = stack.enter_context(stop_signals())
        say("working until Ctrl-C or SIGTERM" if not terms.drain else "working until nothing is left")
        if publication is not None:
            from render_service.evidence.publishing import on_schedule

            await stack.enter_async_context(on_schedule(session, publication))
        async with working(works, asyncio.Event(), session.log):
            return await worker.run(stop)


@click.command("queue")
@click.option(
    "--send-again",
    "again",
    metavar="ID",
    multiple=True,
    help="A dead letter to deliver again, or all; may be repeated.",
)
@common.invocation
def queue_command(inv: Invocation, *, again: tuple[str, ...]) -> None:
    """Show how many jobs are due, the age of the oldest, the workers' leases, and undelivered webhooks.

    A webhook or an alert becomes a dead letter if its receiver has not accepted it within
    72 hours or no longer exists; an event that `forward` sends, if its destination refuses
    it. A running `serve`, `worker` or `forward` delivers what --send-again names.

    \b
    Example:
      sora-ledger queue
      sora-ledger queue --send-again wh_1f0c
      sora-ledger queue --send-again all
    """
    if again:

        async def send(session: "Session") -> list[str]:
            return await asyncio.to_thread(send_again, session, again)

        sent = inv.session(send, begins=False, calls=False)
        say(f"{format_count(len(sent), 'dead letter')} due now")
    with inv.reader() as ledger:
        document = queue_document(ledger) | {
            "notifications": outbox_document(ledger),
            "forwarding": forwarding_document(ledger),
        }
    inv.emit(document, lambda console: print_queue(document, console))


def print_queue(document: dict[str, Any], console: "Console") -> None:
    """Print the depth of the queue and its leases."""
    console.print(
        f"{document['due']} due (the oldest for {document['oldest_due_s']:g} s), "
        f"{document['waiting']} due later, {document['leased']} leased"
    )
    rows = [(lease["job_id"], _time(lease["until_ms"]), lease["holder"]) for lease in document["leases"]]
    if rows:
        columns(console, ("job", "until", "worker"), rows, cuts=True)
    for destination in document["forwarding"]:
        state = "" if destination["is_running"] else ", and no process forwards to it now"
        console.print(
            f"{destination['destination']} is {format_count(destination['behind'], 'record')} behind{state}"
        )
    notifications = document["notifications"]
    if notifications["waiting"]:
        console.print(
            f"{format_count(notifications['waiting'], 'webhook or alert', 'webhooks and alerts')} "
            "not accepted yet"
        )
    letters = notifications["dead_letters"]
    if letters:
        console.print(
            f"{format_count(len(letters), 'dead letter')}; `queue --send-again ID` delivers one again"
        )
        columns(console, ("id", "event", "cause"), [_letter(letter) for letter in letters], cuts=True)


def _letter(letter: dict[str, Any]) -> tuple[str, str, str]:
    answer = f"HTTP {letter['http_status']}" if letter["http_status"] else "no answer"
    cause = answer if letter["cause"] == "not_accepted" else str(letter["cause"])
    tries = f" after {format_count(letter['attempts'], 'attempt')}" if letter["attempts"] else ""
    to = f"{letter['endpoint_id']}: " if ":" in letter["endpoint_id"] else ""  # no endpoint of a client
    return letter["delivery_id"], str(letter["webhook_type"]), f"{to}{cause}{tries}"


def _time(unix_ms: int) -> str:
    return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%H:%M:%S}Z"
