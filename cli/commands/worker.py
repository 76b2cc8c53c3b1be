"""``worker``: do what is due, until told to stop."""

from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation, say
from cli.options import common
from ledger.record import Authority
from render_service.recovery.attempts import GRACE_S
from render_service.worker.options import MOST_AT_ONCE, WorkerOptions, read_limits
from render_service.worker.worker import Worker, stop_signals

if TYPE_CHECKING:
    from render_service.session.session import Session
    from render_service.worker.worker import Worked


@click.command("worker", short_help="Submit, observe and store jobs as they become due.")
@click.option(
    "--at-once",
    metavar="N",
    type=click.IntRange(1, MOST_AT_ONCE),
    default=100,
    show_default=True,
    help="Jobs in hand at the same time.",
)
@click.option(
    "--interval",
    "interval_s",
    metavar="SECONDS",
    type=click.FloatRange(0.1, 3_600),
    default=10.0,
    show_default=True,
    help="Between two looks at a running render.",
)
@click.option(
    "--lease",
    "lease_s",
    metavar="SECONDS",
    type=click.FloatRange(1, 3_600),
    default=60.0,
    show_default=True,
    help="After which others take over the jobs of a worker that stalls.",
)
@click.option(
    "--grace",
    "grace_s",
    metavar="SECONDS",
    type=click.FloatRange(0, 86_400),
    default=GRACE_S,
    show_default=True,
    help="After which the answer to an attempt that was cut off is searched for, as by `reconcile`.",
)
@click.option(
    "--per-minute",
    metavar="MODEL=N",
    multiple=True,
    help="Requests per minute for a model, of all workers together; give each the same.",
)
@click.option(
    "--running", metavar="MODEL=N", multiple=True, help="Jobs of a model that may run at once; the same."
)
@click.option("--drain", is_flag=True, help="End once nothing is due, waiting or held by a worker.")
@common.calling
@common.invocation
def worker_command(
    inv: Invocation, *, per_minute: tuple[str, ...], running: tuple[str, ...], **rest: Any
) -> None:
    """Do what is due: submit what was queued, watch what runs, store what is done, find what was lost.

    Any number of workers share one ledger; on PostgreSQL they may run on several machines. `create --queue`
    and an approval leave jobs to them, and they take up what a crashed command left behind. SIGTERM or Ctrl-C
    finishes or hands back what is in hand, within ten seconds.

    \b
    Example:
      sora-ledger worker
      sora-ledger worker --per-minute sora-2-pro=25 --running sora-2-pro=5
      sora-ledger worker --drain
    """
    terms = WorkerOptions(
        per_minute=read_limits("--per-minute", per_minute), running=read_limits("--running", running), **rest
    )
    worked: Worked = inv.session(lambda session: _work(session, terms), authority=Authority.SYSTEM)
    inv.emit(
        vars(worked),
        lambda console: console.print(
            f"{worked.claimed} claimed, {worked.submitted} submitted, {worked.closed} closed"
        ),
    )


async def _work(session: "Session", terms: WorkerOptions) -> "Worked":
    session.profile()  # says at once what is missing to reach its server
    worker = Worker(session, terms)
    with stop_signals() as stop:
        say("working until Ctrl-C or SIGTERM" if not terms.drain else "working until nothing is left")
        return await worker.run(stop)
