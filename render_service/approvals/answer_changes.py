"""Approve, reject or withdraw a proposed change; and answer anything as a caller of the gateway or console.

The last required approval applies the change in the same transaction. An answer is judged by the policy in
force; the append fails if that policy is no longer in force when the answer is recorded.

A caller answers under a role, a team and a name. The functions that decide whether the answer counts are the
same as elsewhere: never for one's own request, and once per person, however many keys they have. This module
only adds the permissions of a key. The caller's identity is at most half a second old
(`render_service.access.gatekeeper`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from decision.rules.approvals import Change
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from decision.rules.roles import Permission
from ledger.errors import WrongExpectedVersion
from ledger.events import ApprovalGranted, ApprovalRefused, ChangeClosed, PolicyActivated
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.record import draft, timestamp
from ledger.store.interface import ANY, Batch, Document
from render_service.access.callers import Caller
from render_service.access.grants import grant_batch
from render_service.approvals.approvals import VALID_FOR, AnswerResult, approve, check_until, reject
from render_service.approvals.approvers import A, Pending, Signing, identity_of, read_pending, sign_answer
from render_service.approvals.changes import MOST_RACES, PREFIX, Office, Proposal, open_change, read_change
from render_service.approvals.passkeys import PasskeySignature
from render_service.approvals.reviews import NoteAt, Verdict, review
from render_service.rules.budget_names import parse_name
from render_service.rules.budgets import limit_batches
from render_service.rules.policies import STREAM, Rules, read_active_rules, restore_document
from render_service.runtime.errors import BadInput, NotPermitted, NotReady
from render_service.session.history import StreamHistory
from render_service.session.session import Session


@dataclass(frozen=True)
class Outcome:
    """A change after an answer, and the number of approvals still needed."""

    proposed: Proposal
    needed: int = 0


def approve_change(
    office: Office,
    name: str,
    comment: str | None = None,
    signer: Signing | None = None,
    until: datetime | None = None,
    *,
    as_shown: str | None = None,
) -> Outcome:
    """Approve a proposed change, and apply it if this was the last required approval.

    `ChangedSinceShown` if it is no longer `Pending.as_shown`.
    """
    now = office.clock()
    check_until(until, now)
    answer = ApprovalGranted(
        comment=Private.seal("comment", comment) if comment else None,
        expires_at=timestamp(until or now + VALID_FOR),
    )
    return _answer(office, name, answer, signer, as_shown)


def reject_change(
    office: Office, name: str, reason: str, signer: Signing | None = None, *, as_shown: str | None = None
) -> Outcome:
    """Reject a proposed change, which closes it."""
    if not reason.strip():
        raise BadInput(
            f"{name}: a rejection needs a reason; nothing was recorded",
            param="reason",
            expected="a reason for the rejection",
            found="nothing",
        )
    refused = ApprovalRefused(comment=Private.seal("comment", reason))
    return _answer(office, name, refused, signer, as_shown)


def cancel_change(office: Office, name: str) -> Outcome:
    """Withdraw a proposed change."""
    proposed = open_change(office.ledger, name)
    closed = draft(ChangeClosed(outcome="cancelled"), office.who, office.clock())
    office.ledger.append([Batch(proposed.name, proposed.history.version, [closed])])
    return Outcome(read_change(office.ledger, proposed.name))


def _answer(office: Office, name: str, answer: A, signer: Signing | None, as_shown: str | None) -> Outcome:
    """Record an answer, judged by the policy in force; retry if the policy or the change was modified."""
    for _ in range(MOST_RACES):
        now = office.clock()
        case, proposed = read_proposed(office.ledger, name, now)
        case.check_shown(as_shown)
        recorded, who = sign_answer(office.settings, office.ledger, case, answer, office.who, signer)
        drafts = [draft(recorded, who, now)]
        needed = 0
        effects: list[Batch] = []
        documents: list[Document] = []
        if isinstance(recorded, ApprovalGranted):
            needed = case.count_missing_after(identity_of(office.settings, case.under.policy, signer))
        if isinstance(recorded, ApprovalRefused):
            drafts.append(draft(ChangeClosed(outcome="refused"), office.who, now))
        elif not needed:
            effects, documents = _effect(office, proposed, now, drafts[0].event_id)
            drafts.append(draft(ChangeClosed(outcome="applied"), office.who, now))
        under: Rules = case.under
        documents = [*documents, *under.documents]
        batches = [Batch(proposed.name, proposed.history.version, drafts), *_require_policy(effects, under)]
        with suppress(WrongExpectedVersion):
            office.ledger.append(batches, documents=documents)
            return Outcome(read_change(office.ledger, proposed.name), needed)
    raise NotReady(
        f"{name}: it or the policy kept changing while it was answered; see `sora-ledger changes`, "
        "then retry",
        param="change",
        expected="a change that stays as it is",
        found="changes by others",
    )


def _require_policy(effects: Sequence[Batch], under: Rules) -> list[Batch]:
    """Return `effects`, conditional on the policy that judged them still being in force."""
    activating = [Batch(STREAM, under.version, batch.drafts) for batch in effects if batch.stream == STREAM]
    others = [batch for batch in effects if batch.stream != STREAM]
    return [*(activating or [Batch(STREAM, under.version, [])]), *others]


def read_proposed(ledger: Ledger, name: str, now: datetime) -> tuple[Pending, Proposal]:
    """Return the pending change `name`, with the rules in force now plus the rules that held it."""
    proposed = open_change(ledger, name)
    under = read_active_rules(ledger)
    then = restore_document(ledger, Policy, proposed.event.required_by_sha256)
    in_force = under.policy.rules_for(proposed.change)
    held_by = [
        rule for rule in then.rules_for(proposed.change) if rule.code not in {r.code for r in in_force}
    ]
    history, rules = proposed.history, (*in_force, *held_by)
    return read_pending(ledger, history, history.first, rules, under, timestamp(now)), proposed


def _effect(
    office: Office, proposed: Proposal, now: datetime, cause: str
) -> tuple[list[Batch], list[Document]]:
    """Return the batches and documents that apply a change, caused by its last approval."""
    event = proposed.event
    why = event.why.text if event.why else None
    if proposed.change is Change.BUDGET:
        name = parse_name(event.budget or "")
        if name is None:
            raise NotReady(
                f"{proposed.name}: {event.budget} is not a valid budget name: reject the change",
                param="budget",
                expected="a valid budget name",
                found=event.budget,
            )
        return limit_batches(name, event.limit_usd_micros, why, now, office.who, cause), []
    if event.access is not None:
        return [grant_batch(event.access, office.who, now, causation_id=cause)], []
    policy = restore_document(office.ledger, Policy, event.policy_sha256 or "")
    catalog = restore_document(office.ledger, Catalog, event.catalog_sha256 or "")
    activated = PolicyActivated(
        policy_sha256=policy.digest,
        catalog_sha256=catalog.digest,
        why=Private.seal("why", why) if why else None,
    )
    batch = Batch(STREAM, ANY, [draft(activated, office.who, now, causation_id=cause)])
    return [batch], [Document(policy.canonical), Document(catalog.canonical)]


@dataclass(frozen=True)
class AnswerOnPage:
    """An answer that a person gives on a page: the job or change, and the version that the page showed.

    `as_shown` is `render_service.approvals.approvers.Pending.as_shown`. A passkey may have `signed` it, with
    `until` as the end of an approval.
    """

    name: str
    approves: bool
    reason: str
    as_shown: str
    signed: PasskeySignature | None = None
    until: datetime | None = None


async def answer_on_page(
    session: Session, caller: Caller, answer: AnswerOnPage
) -> AnswerResult | Outcome | None:
    """Record the answer that `caller` gave on a page; None if the same answer is already recorded.

    The latter happens on a second click. `ChangedSinceShown` if the request or the policy changed after the
    page was made, `BadInput` without a reason, and what `approve_job` raises.
    """
    if not answer.reason.strip():
        raise BadInput(
            f"{answer.name}: an answer needs a reason; nothing was recorded",
            param="reason",
            expected="a reason",
            found="nothing",
        )
    try:
        return await _answer_once(session, caller, answer)
    except (BadInput, NotReady):
        if await asyncio.to_thread(_is_recorded, session.ledger, caller, answer):
            return None
        raise


async def _answer_once(session: Session, caller: Caller, answer: AnswerOnPage) -> AnswerResult | Outcome:
    name, reason, as_shown = answer.name, answer.reason, answer.as_shown
    if name.startswith(PREFIX):
        office = _office(session, caller)
        if not answer.approves:
            return await asyncio.to_thread(
                reject_change, office, name, reason, answer.signed, as_shown=as_shown
            )
        return await asyncio.to_thread(
            approve_change, office, name, reason, answer.signed, answer.until, as_shown=as_shown
        )
    job = await session.job(name)
    _check(caller, Permission.APPROVE, job)
    acting = caller.session(session)
    if answer.approves:
        return await approve(acting, job, reason, answer.signed, answer.until, as_shown=as_shown)
    return await reject(acting, job, reason, answer.signed, as_shown=as_shown)


def _is_recorded(ledger: Ledger, caller: Caller, answer: AnswerOnPage) -> bool:
    """Return whether `caller` gave the same answer to what they were shown."""
    version = answer.as_shown.partition("-")[0]
    answers = StreamHistory(ledger.history(answer.name)).answers
    return version.isdecimal() and any(
        entry.record.actor == caller.name
        and entry.record.version > int(version)
        and isinstance(entry.event, ApprovalGranted) == answer.approves
        for entry in answers
    )


async def approve_job(
    session: Session, caller: Caller, job: Job, comment: str | None = None, until: datetime | None = None
) -> AnswerResult:
    """Approve a held job as `caller`; nothing is submitted, a worker does that.

    `NotPermitted` if their key does not permit it, `BadInput` if they are the requester or approved before,
    `NotReady` if the job is not held; nothing is recorded then.
    """
    _check(caller, Permission.APPROVE, job)
    return await approve(caller.session(session), job, comment, until=until)


async def reject_job(session: Session, caller: Caller, job: Job, reason: str) -> AnswerResult:
    """Reject a held job as `caller`, which closes it; the same people may reject as may approve."""
    _check(caller, Permission.APPROVE, job)
    return await reject(caller.session(session), job, reason)


async def review_job(
    session: Session,
    caller: Caller,
    job: Job,
    verdict: Verdict,
    scores: Mapping[str, int] | None = None,
    notes: str | None = None,
    timed_notes: Sequence[NoteAt] = (),
) -> Job:
    """Record a review of `job` by `caller`."""
    _check(caller, Permission.REVIEW, job)
    return await review(caller.session(session), job, verdict, scores, notes, timed_notes)


async def approve_proposed(
    session: Session, caller: Caller, name: str, comment: str | None = None, until: datetime | None = None
) -> Outcome:
    """Approve a proposed change as `caller`; the last approval needed applies it."""
    office = _office(session, caller)
    return await asyncio.to_thread(approve_change, office, name, comment, until=until)


async def reject_proposed(session: Session, caller: Caller, name: str, reason: str) -> Outcome:
    """Reject a proposed change as `caller`, which closes it."""
    return await asyncio.to_thread(reject_change, _office(session, caller), name, reason)


def _check(caller: Caller, permission: Permission, job: Job) -> None:
    caller.check(permission)
    if not caller.may_see(job):
        raise NotPermitted(
            f"{job.job_id} is not a job of the team {caller.team}, for which this key is",
            param="job",
            expected=f"a job of the team {caller.team}",
            found="one of another team",
        )


def _office(session: Session, caller: Caller) -> Office:
    """Return the session for answering changes, which concern everyone: a key of one team is not enough."""
    caller.check(Permission.APPROVE)
    if caller.team is not None:
        raise NotPermitted(
            f"this key of {caller.name} is for the team {caller.team}, and a change of policy, budgets or "
            "access is about all teams: use a key without a team",
            param="Authorization",
            expected="a key without a team",
            found=f"a key for the team {caller.team}",
        )
    acting = caller.session(session)
    return Office(acting.ledger, acting.settings, acting.trace, acting.clock)
