"""Operations: the queue, items that need a person, worker limits, and the latest checks of the record."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.datastructures import FormData

from decision.rules.roles import Permission
from ledger.events import CheckpointTimestamped, CheckpointWitnessed
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.record import Entry, Record, timestamp
from ledger.terms import State
from ledger.tree.checkpoint import CheckpointInvalid, Verifier
from ledger.tree.head import TreeHead
from render_service.evidence.keys import read_policy
from render_service.evidence.recorded_checks import find_last_checks, record_verified
from render_service.evidence.timestamps import check_token, read_chain
from render_service.evidence.verify import Scope, VerifyResult, check
from render_service.notifications.dead_letters import outbox_document, send_again
from render_service.recovery import reconcile
from render_service.recovery.attempts import Attempt, open_attempts
from render_service.runtime.documents import format_count
from render_service.runtime.errors import BadInput, NotPermitted, NotStamped
from render_service.server.console.pages import Action, Done, Page, View, Visit
from render_service.settlement.overdue import find_overdue_jobs
from render_service.worker.leases import WorkerOptions, queue_document

MOST_SHOWN = 100
_VERIFYING = asyncio.Lock()
OLD = timedelta(days=2)
"""An older check asks for attention: both are meant to be made daily."""


class Lease(View):
    """A job that a worker has claimed."""

    job_id: str
    holder: str
    until: datetime


class Queue(View):
    """The work queue."""

    due: int
    oldest_due_s: float
    waiting: int
    leased: int
    leases: tuple[Lease, ...]


class Pace(View):
    """The state of a limit that all workers share."""

    name: str
    running: int
    wait_s: float


class WorkerTerms(View):
    """The terms of the worker that runs in this server."""

    at_once: int
    per_minute: Mapping[str, int]
    running: Mapping[str, int]


class Limits(View):
    """The limits of the workers; `here` is None if this server runs no worker."""

    here: WorkerTerms | None
    paces: tuple[Pace, ...]


class Verified(View):
    """The last full verification that found the record intact, and how many records are newer."""

    at: str
    by: str
    position: int
    size: int
    newer: int
    files: int | None
    extends: int | None
    is_old: bool


class Published(View):
    """The last checkpoint that was published; `target` is None once it is erased."""

    at: str
    by: str
    position: int
    size: int
    newer: int
    target: str | None
    signed_by: tuple[str, ...]
    cosigned_by: tuple[str, ...]
    is_old: bool


class Witnessed(View):
    """The last checkpoint that witnesses cosigned; its signatures are verified again for this page.

    `is_enough` is None if no policy is set here (SORA_LEDGER_WITNESSES), so no quorum is defined.
    """

    at: str
    by: str
    position: int
    size: int
    newer: int
    is_old: bool
    cosigned_by: tuple[str, ...]
    is_enough: bool | None
    rule: str | None
    problem: str | None


class Timestamped(View):
    """The last checkpoint dated by an authority; `is_checked` if its certificates are known here.

    `problem` says why the timestamp does not count (SORA_LEDGER_TSA_CHAIN).
    """

    at: str
    by: str
    position: int
    size: int
    newer: int
    is_old: bool
    stamped_at: str
    authority: str | None
    is_checked: bool
    problem: str | None


class Checks(View):
    """The latest checks of the record; None for one that was never recorded."""

    verified: Verified | None
    published: Published | None
    witnessed: Witnessed | None
    timestamped: Timestamped | None


class OpenAttempt(View):
    """An interrupted submission, or one whose answer was lost: a video may exist."""

    job_id: str
    state: str
    prompt: str | None
    """None if it was erased."""
    profile: str
    actor: str
    began_at: datetime
    silent_s: float
    cost_usd_micros: int
    lost: str | None
    position: int


class Overdue(View):
    """A render that has been running, or waiting to be stored, for too long."""

    job_id: str
    state: str
    profile: str | None
    video_id: str | None
    actor: str
    created_at: str
    cost_usd_micros: int


class DeadLetter(View):
    """A webhook to a client that was given up."""

    delivery_id: str
    endpoint_id: str
    url: str | None
    webhook_type: str | None
    job_id: str | None
    attempts: int
    cause: str | None
    http_status: int | None
    given_up_at: str | None


class Deliveries(View):
    """The webhooks to clients."""

    waiting: int
    dead_letters: tuple[DeadLetter, ...]


class OperationsView(View):
    """The page; data that belongs to no team is shown to people who operate everything."""

    records: int
    jobs: Mapping[str, int] | None
    queue: Queue | None
    limits: Limits | None
    checks: Checks | None
    open_attempts: tuple[OpenAttempt, ...]
    overdue: tuple[Overdue, ...]
    overdue_after_s: float
    deliveries: Deliveries | None


def read(visit: Visit) -> OperationsView:
    """Read the numbers and lists from indexes."""
    session, ledger = visit.session, visit.session.ledger
    everything = visit.caller.operates_everything
    longest_s = session.settings.longest_render_s
    attempts = [attempt for attempt in open_attempts(ledger, None) if visit.may_see(attempt.job)]
    overdue = [job for job in find_overdue_jobs(ledger, visit.now, longest_s) if visit.may_see(job)]
    states = ledger.store.counts("state") if everything else None
    return OperationsView(
        records=ledger.head().size,
        jobs=None if states is None else {str(state): states.get(state, 0) for state in State},
        queue=_queue(ledger) if everything else None,
        limits=_limits(visit) if everything else None,
        checks=_checks(visit) if everything else None,
        open_attempts=tuple(_attempt(attempt, visit.now) for attempt in attempts[:MOST_SHOWN]),
        overdue=tuple(_overdue(job) for job in overdue[:MOST_SHOWN]),
        overdue_after_s=longest_s,
        deliveries=_deliveries(ledger) if everything else None,
    )


def _queue(ledger: Ledger) -> Queue:
    document = queue_document(ledger)
    leases = [
        Lease(
            job_id=lease["job_id"],
            holder=lease["holder"],
            until=datetime.fromtimestamp(lease["until_ms"] / 1000, UTC),
        )
        for lease in document["leases"][:MOST_SHOWN]
    ]
    return Queue(**(document | {"leases": leases}))


def _limits(visit: Visit) -> Limits:
    here: WorkerOptions | None = visit.request.app.state.worker
    paces = visit.session.ledger.store.queue.paces()
    return Limits(
        here=WorkerTerms(at_once=here.at_once, per_minute=here.per_minute, running=here.running)
        if here
        else None,
        paces=tuple(Pace(name=pace.name, running=pace.running, wait_s=pace.wait_ms / 1000) for pace in paces),
    )


def _checks(visit: Visit) -> Checks:
    """Return the recorded checks."""
    ledger = visit.session.ledger
    size, last, old = ledger.head().size, find_last_checks(ledger), timestamp(visit.now - OLD)
    verified, published = last.verified, last.published
    return Checks(
        verified=verified
        and Verified(
            **_about(verified.record, size - verified.event.size, old),
            size=verified.event.size,
            files=verified.event.files,
            extends=verified.event.extends,
        ),
        published=published
        and Published(
            **_about(published.record, size - published.event.size, old),
            size=published.event.size,
            signed_by=published.event.signed_by,
            cosigned_by=published.event.cosigned_by,
            target=published.event.target.text,
        ),
        witnessed=last.witnessed and _witnessed(visit, last.witnessed, size, old),
        timestamped=last.timestamped and _timestamped(visit, last.timestamped, size, old),
    )


def _witnessed(visit: Visit, entry: Entry[CheckpointWitnessed], size: int, old: str) -> Witnessed:
    """Count the recorded cosignatures by this server's policy, or by the recorded keys."""
    event, file = entry.event, visit.session.settings.witnesses_file
    names, is_enough, rule, problem = list[str](), None, None, None
    try:
        head = TreeHead.parse(event.checkpoint.encode())
        if file:
            policy = read_policy(file).trust
            counted_by = policy.count(head)
            names, is_enough, rule = list(counted_by.by), counted_by.is_enough, policy.rule()
        else:
            keys = {
                cosignature.witness: Verifier.parse(cosignature.key) for cosignature in event.cosignatures
            }
            names = [name for name, key in keys.items() if key in head.find_signers([key])]
    except (BadInput, CheckpointInvalid) as error:
        problem = str(error)
    return Witnessed(
        **_about(entry.record, size - event.size, old),
        size=event.size,
        cosigned_by=tuple(names),
        is_enough=is_enough,
        rule=rule,
        problem=problem,
    )


def _timestamped(visit: Visit, entry: Entry[CheckpointTimestamped], size: int, old: str) -> Timestamped:
    """Check the recorded timestamp against this server's certificates, if it has any."""
    event, chain, problem = entry.event, visit.session.settings.tsa_chain_file, None
    try:
        if chain:
            token = base64.b64decode(event.token)
            digests = {bytes.fromhex(event.checkpoint_sha256)}
            check_token(token, digests, read_chain(chain), "timestamp", None)
    except (BadInput, NotStamped, ValueError) as error:
        problem = str(error)
    return Timestamped(
        **_about(entry.record, size - event.size, old),
        size=event.size,
        stamped_at=event.stamped_at,
        authority=event.authority.text,
        is_checked=chain is not None and problem is None,
        problem=problem,
    )


def _about(record: Record, newer: int, old: str) -> dict[str, Any]:
    return {
        "at": record.recorded_at,
        "by": record.actor,
        "position": record.position,
        "newer": newer,
        "is_old": record.recorded_at < old,
    }


def _attempt(attempt: Attempt, now: datetime) -> OpenAttempt:
    job = attempt.job
    return OpenAttempt(
        job_id=job.job_id,
        state=job.state,
        prompt=attempt.prompt,
        profile=attempt.intent.profile,
        actor=job.actor,
        began_at=attempt.intended_at,
        silent_s=round((now - attempt.heard_at).total_seconds()),
        cost_usd_micros=job.reserved_usd_micros,
        lost=attempt.lost.lost if attempt.lost else None,
        position=attempt.position,
    )


def _overdue(job: Job) -> Overdue:
    return Overdue(
        job_id=job.job_id,
        state=job.state,
        profile=job.profile,
        video_id=job.video_id,
        actor=job.actor,
        created_at=job.created_at,
        cost_usd_micros=job.reserved_usd_micros,
    )


def _deliveries(ledger: Ledger) -> Deliveries:
    document = outbox_document(ledger)
    letters = tuple(DeadLetter(**letter) for letter in document["dead_letters"][:MOST_SHOWN])
    return Deliveries(waiting=document["waiting"], dead_letters=letters)


async def look(visit: Visit, _: FormData) -> Done:
    """Ask the servers about all submissions without an outcome that the person sees."""
    jobs = [job for job in await reconcile.open_jobs(visit.session) if visit.may_see(job)]
    settled = await reconcile.reconcile(visit.session, jobs)
    words = " ".join(
        f"{settlement.job.job_id}: {settlement.verdict.replace('_', ' ')}; {settlement.why}."
        for settlement in settled
    )
    return Done("/operations", words or "No submission is open.")


async def verify(visit: Visit, _: FormData) -> Done:
    """Verify all records, and record that they are intact, or show the findings."""
    if not visit.caller.operates_everything:
        raise NotPermitted("only people whose key is not restricted to a team can verify the whole record")
    if _VERIFYING.locked():
        raise BadInput("a verification is running: open the page again later")
    async with _VERIFYING:
        checked = await asyncio.to_thread(check, visit.session.settings, Scope())
        await asyncio.to_thread(record_verified, visit.session, checked)
    return Done("/operations", _outcome(checked))


def _outcome(checked: VerifyResult) -> str:
    report = checked.report
    if report.clean:
        return f"All {format_count(report.size, 'record')} are intact."
    first, found = report.findings[0], format_count(len(report.findings) + report.more_findings, "finding")
    return (
        f"{found}, the first about {first.subject[:80]}: {first.code}. Nothing was recorded. "
        "Keep the ledger unchanged, as evidence, and call its operator."
    )


async def send_letters(visit: Visit, form: FormData) -> Done:
    """Make dead letters due now."""
    if not visit.caller.operates_everything:
        raise NotPermitted("only people whose key is not restricted to a team can resend webhooks")
    names = [str(name) for name in form.getlist("delivery_id")]
    if not names:
        raise BadInput("choose the webhooks to send again")
    sent = await asyncio.to_thread(send_again, visit.session, names)
    return Done("/operations", f"{format_count(len(sent), 'webhook')} will be sent again.")


def rows(view: OperationsView) -> Sequence[Mapping[str, object]]:
    """Return the submissions without an outcome."""
    return [attempt.model_dump(mode="json") for attempt in view.open_attempts]


PAGE = Page("/operations", "Operations", "operations.html", read, permission=Permission.OPERATE, rows=rows)
ACTIONS = (
    Action("/operations/look", PAGE.path, Permission.OPERATE, look),
    Action("/operations/verify", PAGE.path, Permission.OPERATE, verify),
    Action("/operations/send-again", PAGE.path, Permission.OPERATE, send_letters),
)
