"""Items that wait for a person's answer: held renders and proposed changes, as in the Inbox."""

from collections.abc import Iterator
from dataclasses import replace

from decision.engine.explain import list_reasons
from decision.rules.approvals import ApprovalRule
from decision.rules.roles import Permission
from ledger.errors import JobNotFound
from ledger.events import ApprovalGranted, ApprovalRefused
from ledger.job import Job
from ledger.private import Private
from ledger.record import timestamp
from ledger.store.filters import JobFilter, RecordFilter
from ledger.terms import State, Variant
from render_service.access.callers import Caller
from render_service.approvals.answer_changes import read_proposed
from render_service.approvals.approvals import VALID_FOR, read_case
from render_service.approvals.approvers import (
    Pending,
    identify_by_passkey,
    identity_of,
    obstacle,
    passkeys_of,
    statement_to_sign,
)
from render_service.approvals.changes import OpenChanges, Proposal
from render_service.approvals.identities import count_missing
from render_service.approvals.passkeys import challenge_of, encode_base64url
from render_service.reports.answers import HOW
from render_service.rules.policies import read_active_rules
from render_service.runtime.errors import NotReady
from render_service.server.console.pages import View, Visit
from render_service.server.console.security import own_origin
from render_service.session.history import JobHistory
from render_service.session.session import Session

PENDING = (State.HELD, State.APPROVED)
MOST_SHOWN = 20
"""Maximum requests of one kind on the page; the rest are counted."""

MOST_COUNTED = 100
EXCERPT = 600
"""Characters of a prompt in the list; a longer one is answered on its own page, which shows all of it."""


class Draft(View):
    """The draft that a final render promotes, or the video that it changes."""

    job_id: str
    title: str | None
    verdict: str | None
    has_poster: bool


class Signing(View):
    """The data that the reader's passkey signs to answer: the digest of a statement, as the challenge."""

    approve: str
    refuse: str
    until: str
    """The expiry of the approval, as in the statement."""

    rp_id: str
    credentials: list[str]


class Waiting(View):
    """A request that waits for an answer; `title` is the prompt or the change, None once it is erased."""

    name: str
    is_change: bool
    title: str | None
    state: str
    requester: str
    identified_by: str
    asked_at: str
    waiting_since: str
    team: str | None = None
    project: str | None = None
    purpose: str | None = None
    operation: str
    model: str | None = None
    size: str | None = None
    seconds: int | None = None
    cost_usd_micros: int | None = None
    reason: str | None = None
    why: list[str]
    rules: list[str]
    approved_by: list[str]
    approvals_missing: int
    draft: Draft | None = None
    as_shown: str
    obstacle: str | None = None
    """Why the reader may not answer it; None if they may, or may with their passkey."""

    signing: Signing | None = None
    """How the reader answers with a passkey; None if the policy has none of theirs for this address."""

    needs_passkey: bool = False
    """Whether the reader may answer only with it."""

    @property
    def is_long(self) -> bool:
        """Whether the list shows only a part of the prompt."""
        return len(self.title or "") > EXCERPT

    @property
    def excerpt(self) -> str:
        """The part of the prompt that the list shows."""
        text = self.title or ""
        return f"{text[:EXCERPT]} …" if self.is_long else text


def held_jobs(visit: Visit) -> list[Job]:
    """Return the jobs visible to the reader that wait for approval, oldest first; at most a hundred."""
    jobs = visible_jobs(
        visit.session, visit.caller, JobFilter(states=PENDING, oldest_first=True), MOST_COUNTED
    )
    return [job for job in jobs if job.outcome is None]


def visible_jobs(session: Session, caller: Caller, where: JobFilter, limit: int) -> list[Job]:
    """Return up to `limit` of the jobs in `where` that `caller` may see, in the order of the filter."""
    jobs: dict[str, Job] = {}
    for sees in caller.sees:
        own = replace(where, of_team=sees.of_team, of_actor=sees.of_actor, teamless=sees.teamless)
        jobs |= {job.job_id: job for job in session.ledger.jobs(own, limit)}
    ordered = sorted(jobs.values(), key=lambda job: job.job_id, reverse=not where.oldest_first)
    return ordered[:limit]


def waiting_jobs(visit: Visit, jobs: list[Job]) -> Iterator[Waiting]:
    """Yield the held `jobs`; those answered in the meantime are left out."""
    under = read_active_rules(visit.session.ledger)
    for job in jobs:
        try:
            case = read_case(visit.session, job.job_id, under)
        except NotReady:
            continue
        yield waiting_job(visit, case.job, case.pending)


def waiting_job(visit: Visit, job: Job, pending: Pending) -> Waiting:
    """Return a held render with its cost, its rules, and the people it waits for."""
    history = pending.history
    assert isinstance(history, JobHistory)  # the history of a job
    hold, begun = history.hold, history.requested
    assert hold is not None  # otherwise the job is not held
    choice = hold.event.choice
    return Waiting(
        name=job.job_id,
        is_change=False,
        title=_text(begun.prompt) if begun else None,
        state=job.state,
        asked_at=history.first.recorded_at,
        team=job.team,
        project=job.project,
        purpose=job.purpose,
        operation=job.operation.value if job.operation else "",
        model=choice.model,
        size=job.size,
        seconds=job.seconds,
        cost_usd_micros=choice.cost_usd_micros,
        why=list_reasons(hold.event),
        draft=_draft(visit, job.source_job) if job.source_job else None,
        **_about(visit, pending),
    )


def waiting_changes(visit: Visit, open_changes: OpenChanges) -> list[Waiting]:
    """Return the proposed changes that wait for approval; a key of one team sees none, as it answers none."""
    if visit.caller.team is not None or not visit.may(Permission.APPROVE):
        return []
    return [
        waiting_change(visit, *proposed)
        for name in open_changes.names()[:MOST_COUNTED]
        if (proposed := _proposed(visit, name)) is not None
    ]


def _proposed(visit: Visit, name: str) -> tuple[Pending, Proposal] | None:
    try:
        return read_proposed(visit.session.ledger, name, visit.now)
    except NotReady:  # closed in the meantime
        return None


def waiting_change(visit: Visit, pending: Pending, proposed: Proposal) -> Waiting:
    """Return a proposed change of the policy, a budget or access."""
    event = proposed.event
    return Waiting(
        name=proposed.name,
        is_change=True,
        title=proposed.words,
        state=proposed.state,
        asked_at=proposed.history.first.recorded_at,
        operation=event.operation,
        reason=_text(event.why) if event.why else None,
        why=[],
        **_about(visit, pending),
    )


def _about(visit: Visit, pending: Pending) -> dict[str, object]:
    """Return the common parts of a held render and a proposed change."""
    asker, settings = pending.requester, visit.session.settings
    unsigned = obstacle(pending, identity_of(settings, pending.under.policy, None))
    signing = _signing(visit, pending)
    return {
        "signing": signing,
        "needs_passkey": unsigned is not None and signing is not None,
        "requester": asker.actor,
        "identified_by": HOW[asker.source],
        "waiting_since": pending.pending.recorded_at,
        "rules": [_rule(rule) for rule in pending.rules],
        "approved_by": [person.actor for person in pending.approved],
        "approvals_missing": count_missing(pending.rules, asker, pending.approved),
        "as_shown": pending.as_shown,
        "obstacle": None if signing is not None else unsigned,
    }


def _signing(visit: Visit, pending: Pending) -> Signing | None:
    """Return the passkey challenge, if the policy has a passkey and its signature would count."""
    settings, ledger = visit.session.settings, visit.session.ledger
    own = [
        key
        for key in passkeys_of(pending.under.policy, settings.actor)
        if key.origin == own_origin(visit.request)
    ]
    if not own or obstacle(pending, identify_by_passkey(settings)) is not None:
        return None
    until = timestamp(visit.now + VALID_FOR)
    approves = statement_to_sign(settings, ledger, pending, ApprovalGranted(expires_at=until))
    refuses = statement_to_sign(settings, ledger, pending, ApprovalRefused())
    return Signing(
        approve=encode_base64url(challenge_of(approves)),
        refuse=encode_base64url(challenge_of(refuses)),
        until=until,
        rp_id=own[0].rp_id,
        credentials=[encode_base64url(key.credential_id) for key in own],
    )


def _rule(rule: ApprovalRule) -> str:
    people = "" if rule.people == 1 else f": {rule.people} people"
    return f"{rule.code}{people}"


def _draft(visit: Visit, job_id: str) -> Draft | None:
    """Return the source of a job, if it is in this ledger and the reader may see it."""
    try:
        job = visit.session.ledger.job(job_id)
    except JobNotFound:
        return None
    if not visit.may_see(job):
        return None
    return Draft(
        job_id=job.job_id,
        title=prompt_of(visit.session, job),
        verdict=job.verdict,
        has_poster=Variant.THUMBNAIL in job.assets,
    )


def prompt_of(session: Session, job: Job) -> str | None:
    """Return the prompt of a job, None if it is erased; its id if it never had one."""
    history = JobHistory(list(session.ledger.read(RecordFilter(stream=job.job_id), limit=1)))
    began = history.requested or history.adopted
    return _text(began.prompt) if began and began.prompt else job.job_id


def _text(private: Private) -> str | None:
    return private.text
