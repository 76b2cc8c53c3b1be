"""Approve, reject or withdraw a proposed change of the policy or of a budget.

The last required approval applies the change in the same transaction. An answer is judged by the policy in
force; the append fails if that policy is no longer in force when the answer is recorded.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from decision.rules.approvals import Change
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from ledger.errors import WrongExpectedVersion
from ledger.events import ApprovalGranted, ApprovalRefused, ChangeClosed, PolicyActivated
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.record import draft, timestamp
from ledger.store.interface import ANY, Batch, Document
from render_service.access.grants import grant_batch
from render_service.approvals.approvals import VALID_FOR, check_until
from render_service.approvals.approvers import A, Pending, Signing, answered, identity_of, read_pending
from render_service.approvals.changes import MOST_RACES, Office, Proposed, open_change, read_change
from render_service.rules.budget_names import parse_name
from render_service.rules.budgets import limit_batches
from render_service.rules.policies import STREAM, Rules, active_rules, kept_document
from render_service.runtime.errors import BadInput, NotReady


@dataclass(frozen=True)
class Outcome:
    """A change after an answer, and the number of approvals still needed."""

    proposed: Proposed
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
        recorded, who = answered(office.settings, office.ledger, case, answer, office.who, signer)
        drafts = [draft(recorded, who, now)]
        needed = 0
        effects: list[Batch] = []
        documents: list[Document] = []
        if isinstance(recorded, ApprovalGranted):
            needed = case.missing_after(identity_of(office.settings, case.under.policy, signer))
        if isinstance(recorded, ApprovalRefused):
            drafts.append(draft(ChangeClosed(outcome="refused"), office.who, now))
        elif not needed:
            effects, documents = _effect(office, proposed, now, drafts[0].event_id)
            drafts.append(draft(ChangeClosed(outcome="applied"), office.who, now))
        under: Rules = case.under
        documents = [*documents, *under.documents]
        batches = [Batch(proposed.name, proposed.history.version, drafts), *_under(effects, under)]
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


def _under(effects: Sequence[Batch], under: Rules) -> list[Batch]:
    """Return `effects`, conditional on the policy that judged them still being in force."""
    activating = [Batch(STREAM, under.version, batch.drafts) for batch in effects if batch.stream == STREAM]
    others = [batch for batch in effects if batch.stream != STREAM]
    return [*(activating or [Batch(STREAM, under.version, [])]), *others]


def read_proposed(ledger: Ledger, name: str, now: datetime) -> tuple[Pending, Proposed]:
    """Return the pending change `name`; its rules are those in force now and those that held it."""
    proposed = open_change(ledger, name)
    under = active_rules(ledger)
    then = kept_document(ledger, Policy, proposed.event.required_by_sha256)
    in_force = under.policy.rules_for(proposed.change)
    held_by = [
        rule for rule in then.rules_for(proposed.change) if rule.code not in {r.code for r in in_force}
    ]
    history, rules = proposed.history, (*in_force, *held_by)
    return read_pending(ledger, history, history.first, rules, under, timestamp(now)), proposed


def _effect(
    office: Office, proposed: Proposed, now: datetime, cause: str
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
    policy = kept_document(office.ledger, Policy, event.policy_sha256 or "")
    catalog = kept_document(office.ledger, Catalog, event.catalog_sha256 or "")
    activated = PolicyActivated(
        policy_sha256=policy.digest,
        catalog_sha256=catalog.digest,
        why=Private.seal("why", why) if why else None,
    )
    batch = Batch(STREAM, ANY, [draft(activated, office.who, now, causation_id=cause)])
    return [batch], [Document(policy.canonical), Document(catalog.canonical)]
