"""Occasions for alerts, and their texts. None of it is private text.

==========  ==================================================================================
occasion    when
==========  ==================================================================================
held        a render needs approval
failed      a render ended without a video, and not by anyone's decision
unknown     the outcome of a submission has not been known for some time
budget      80 % or 100 % of a budget is reserved or spent
finding     `audit --alert` found something
==========  ==================================================================================

The key of a notice names its occasion: a second notice with that key is the same one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from decision.money import format_usd
from ledger.events import RenderClosed, RenderHeld
from ledger.job import JOB_PREFIX, Job
from ledger.log.ledger import Ledger
from ledger.record import Record, timestamp
from ledger.store.filters import JobFilter
from ledger.terms import Outcome, State
from render_service.notifications.announcements import is_pending
from render_service.recovery.findings import Finding
from render_service.rules.budget_names import parse_name
from render_service.rules.budgets import RemainingBudget

RECORD_TYPES = (RenderHeld.type, RenderClosed.type)
"""The types of records that may be an occasion."""

LEVELS = (100, 80)
_FAILURES = frozenset({Outcome.FAILED, Outcome.REJECTED, Outcome.ABSENT, Outcome.LOST, Outcome.ABANDONED})


class Occasion(StrEnum):
    """An occasion for an alert."""

    HELD = "held"
    FAILED = "failed"
    UNKNOWN = "unknown"
    BUDGET = "budget"
    FINDING = "finding"


@dataclass(frozen=True)
class Notice:
    """One alert's content; `do` is the next step."""

    key: str
    occasion: Occasion
    title: str
    text: str
    do: str
    job_id: str | None = None
    team: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the notice as JSON."""
        return asdict(self)


def notice_of(ledger: Ledger, record: Record) -> Notice | None:
    """Return the notice about a record; None if there is none."""
    job = ledger.store.job(record.stream) if record.stream.startswith(JOB_PREFIX) else None
    match record.event:
        case RenderHeld() as held if job and is_pending(job):
            why = ", ".join(held.reason_codes)
            text = (
                f"{_render(job)} needs approval ({why}). It would cost {format_usd(job.estimate_usd_micros)}."
            )
            return _make_notice(
                job, Occasion.HELD, record.event_id, "A render needs approval", text, "approve"
            )
        case RenderClosed(outcome=outcome) if job and outcome in _FAILURES:
            code = f" ({job.error_code})" if job.error_code else ""
            text = f"{_render(job)} ended as {outcome}{code}."
            return _make_notice(
                job, Occasion.FAILED, record.event_id, f"A render {_describe_end(outcome)}", text, "whynot"
            )
        case _:
            return None


def unknown_notices(ledger: Ledger, now: datetime, after: timedelta) -> Iterator[Notice]:
    """Yield the submissions whose outcome has been unknown for `after`."""
    before = timestamp(now - after)
    for job in ledger.iterate_jobs(JobFilter(states=(State.UNKNOWN, State.SUBMITTING))):
        if job.updated_at < before:
            text = (
                f"{_render(job)} was submitted, and its outcome has not been known since {job.updated_at}. "
                f"{format_usd(job.reserved_usd_micros)} stay reserved."
            )
            title = "The outcome of a submission is unknown"
            yield _make_notice(job, Occasion.UNKNOWN, str(job.attempt_id), title, text, "reconcile")


def budget_notices(budgets: Iterable[RemainingBudget]) -> Iterator[Notice]:
    """Yield the budgets of which 80 % or 100 % are reserved or spent; a new limit is a new occasion."""
    for left in budgets:
        limit = left.limit_usd_micros
        if not limit:
            continue
        percent = 100 * left.held_usd_micros // limit
        level = next((level for level in LEVELS if percent >= level), None)
        if level is None:
            continue
        name = parse_name(left.budget)
        yield Notice(
            key=f"{left.budget}\n{limit}\n{level}",
            occasion=Occasion.BUDGET,
            title=f"The budget {left.budget} is at {percent} %",
            text=f"{format_usd(left.held_usd_micros)} of {format_usd(limit)} are reserved or spent.",
            do="sora-ledger budget list",
            team=name.team if name else None,
        )


def finding_notices(findings: Iterable[Finding]) -> Iterator[Notice]:
    """Yield the findings of an audit, without the found values, which may contain a server's words."""
    for finding in findings:
        yield Notice(
            key=f"{finding.code}\n{finding.job_id}\n{finding.subject}",
            occasion=Occasion.FINDING,
            title=f"Audit finding {finding.code}",
            text=f"`sora-ledger audit` found {finding.code} for {finding.subject}.",
            do=finding.do,
            job_id=finding.job_id,
        )


def _make_notice(job: Job, occasion: Occasion, key: str, title: str, text: str, command: str) -> Notice:
    return Notice(
        key=key,
        occasion=occasion,
        title=title,
        text=text,
        do=f"sora-ledger {command} {job.job_id}",
        job_id=job.job_id,
        team=job.team,
    )


def _render(job: Job) -> str:
    parts = [job.model, job.size, f"{job.seconds} s" if job.seconds else None, f"by {job.actor}"]
    return f"{job.job_id} ({', '.join(part for part in parts if part)})"


def _describe_end(outcome: Outcome) -> str:
    words = {Outcome.REJECTED: "was rejected by its server", Outcome.LOST: "was lost"}
    words |= {Outcome.ABSENT: "never began at its server", Outcome.ABANDONED: "was given up"}
    return words.get(outcome, "failed")
