"""Propose changes of the policy, of budgets and of access that need another person's approval.

Each proposed change has its own stream: ``change.proposed``, its signature if there is one, the answers, and
``change.closed``. The last required approval applies it in the same transaction. The rules for approvers are
the same as for renders: `render_service.approvals.approvers`.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from uuid_utils import uuid7

from decision.money import format_usd
from decision.rules.approvals import Change
from ledger.errors import EventIdConflict, WrongExpectedVersion
from ledger.events import ChangeClosed, ChangeProposed, Grant
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.record import Entry, Provenance
from ledger.store.filters import RecordFilter
from ledger.store.interface import NEW, Batch, Document
from render_service.access.register import words_of
from render_service.approvals.approvers import explain_signing
from render_service.approvals.requesters import check_requester, find_author
from render_service.rules.budget_names import BudgetName
from render_service.rules.budgets import NO_LIMIT
from render_service.rules.policies import STREAM, Rules, check_new, read_active_rules
from render_service.runtime.documents import format_count
from render_service.runtime.errors import BadInput, NotReady
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Trace
from render_service.session.event_ids import proposed_grant_id
from render_service.session.history import ChangeHistory

PREFIX = "change_"
MOST_RACES = 100

PENDING = "pending"


@dataclass(frozen=True)
class Office:
    """The context for proposing and answering changes: ledger, settings and clock."""

    ledger: Ledger
    settings: Settings
    trace: Trace
    clock: Callable[[], datetime]

    @property
    def who(self) -> Provenance:
        """The provenance of records made here."""
        return self.settings.provenance(self.trace)


@dataclass(frozen=True)
class Proposal:
    """A proposed change and its history."""

    history: ChangeHistory
    event: ChangeProposed

    @property
    def name(self) -> str:
        """The name of its stream."""
        return self.history.first.stream

    @property
    def change(self) -> Change:
        """The kind of change."""
        return Change(self.event.operation)

    @property
    def state(self) -> str:
        """``pending``, or the outcome of a closed change."""
        return self.history.closed.outcome if self.history.closed else PENDING

    @property
    def words(self) -> str:
        """A short description of the change."""
        event = self.event
        if self.change is Change.POLICY:
            policy, catalog = (event.policy_sha256 or "")[:12], (event.catalog_sha256 or "")[:12]
            return f"activate policy {policy}… with catalog {catalog}…"
        if event.access is not None:
            return f"access {words_of(event.access)}"
        amount = event.limit_usd_micros
        limit = "no limit" if amount in {None, NO_LIMIT} else f"limit {format_usd(amount or 0)}"
        return f"budget {event.budget}: {limit}"


def propose_activation(office: Office, rules: Rules, why: str) -> Proposal:
    """Propose the activation of `rules`; `NotReady` if they are already active."""
    check_new(read_active_rules(office.ledger), rules)
    documents = [Document(rules.policy.canonical), Document(rules.catalog.canonical)]
    cited = {"policy_sha256": rules.policy.digest, "catalog_sha256": rules.catalog.digest}
    return _propose(office, Change.POLICY, cited, why, documents)


def propose_limit(office: Office, name: BudgetName, usd_micros: int | None, why: str | None) -> Proposal:
    """Propose a limit for a budget; None removes the limit."""
    amount = NO_LIMIT if usd_micros is None else usd_micros
    return _propose(office, Change.BUDGET, {"budget": str(name), "limit_usd_micros": amount}, why, [])


def propose_grant(office: Office, granted: Grant, why: str | None) -> Proposal:
    """Propose the grant of an access key, which is not valid before; `NotReady` if already proposed."""
    event_id = proposed_grant_id(granted.key_id)
    try:
        return _propose(office, Change.ACCESS, {"access": granted}, why, [], event_id)
    except EventIdConflict:  # a form submitted twice: the second key would never be valid
        raise NotReady(
            f"this grant was proposed already: the key {granted.key_id} was shown then, and only then",
            param="change",
            expected="a new grant",
            found="one that was proposed already",
        ) from None


def _propose(
    office: Office,
    change: Change,
    content: dict[str, Any],
    why: str | None,
    documents: list[Document],
    event_id: str | None = None,
) -> Proposal:
    """Record a proposal under the policy in force; retry if that was replaced concurrently."""
    for _ in range(MOST_RACES):
        active = read_active_rules(office.ledger)
        rules = active.policy.rules_for(change)
        if not rules:
            break
        requester = find_author(office.settings, active.policy)
        check_requester(requester, ", ".join(rule.code for rule in rules))
        event = ChangeProposed(
            operation=change.value,
            **content,
            why=Private.seal("why", why) if why else None,
            required_by_sha256=active.policy.digest,
            reason_codes=tuple(rule.code for rule in rules),
            approvals_needed=max(rule.people for rule in rules) + requester.claimed,
        )
        stream = f"{PREFIX}{uuid7().hex}"
        drafts = requester.drafts(office.ledger, stream, event, office.who, office.clock(), event_id)
        batches = [Batch(stream, NEW, drafts), Batch(STREAM, active.version, [])]
        with suppress(WrongExpectedVersion):
            office.ledger.append(batches, documents=documents)
            return read_change(office.ledger, stream)
    raise NotReady(
        f"the policy in force changed and requires no approval for {change}: repeat the command",
        param="change",
        expected="a change that requires approval",
        found=change,
    )


def changes(ledger: Ledger) -> list[Proposal]:
    """Return all proposed changes, in order."""
    return [_read(ledger, proposed) for proposed in list(ledger.entries(ChangeProposed))]


class OpenChanges:
    """The names of the changes that wait for approval; each refresh reads only new records."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read_to = {ChangeProposed.type: 0, ChangeClosed.type: 0}
        self._known: dict[str, set[str]] = {name: set() for name in self._read_to}
        self._reading = threading.Lock()

    def names(self) -> list[str]:
        """Return the names of the open changes, oldest first."""
        with self._reading:
            for kind, known in self._known.items():
                for record in self._ledger.read(RecordFilter(type=kind), after=self._read_to[kind]):
                    known.add(record.stream)
                    self._read_to[kind] = record.position
            return sorted(self._known[ChangeProposed.type] - self._known[ChangeClosed.type])


def read_change(ledger: Ledger, name: str) -> Proposal:
    """Return the change called `name`, which may be a unique prefix."""
    exact = ledger.history(name) if name else []
    if exact and isinstance(event := exact[0].event, ChangeProposed):
        return Proposal(ChangeHistory(exact), event)
    matches = {
        proposed.record.stream: proposed
        for proposed in ledger.entries(ChangeProposed)
        if proposed.record.stream.startswith(name)
    }
    if len(matches) == 1:
        return _read(ledger, next(iter(matches.values())))
    problem = (
        f"the id is ambiguous ({len(matches)} proposed changes match)"
        if matches
        else "no such proposed change"
    )
    raise BadInput(
        f"{name}: {problem}; `sora-ledger changes` lists them",
        param="change",
        expected="a change that was proposed",
        found=name,
    )


def _read(ledger: Ledger, proposed: Entry[ChangeProposed]) -> Proposal:
    return Proposal(ChangeHistory.read(ledger, proposed.record.stream), proposed.event)


def waits_for(proposed: Proposal, ledger: Ledger) -> str:
    """Return a sentence that says who may answer a change, and with which commands."""
    name, request = proposed.name, proposed.history.first
    needed = format_count(proposed.event.approvals_needed, "approval")
    signing = explain_signing(read_active_rules(ledger).policy)
    return (
        f"{name} ({proposed.words}) waits for {needed} by people other than {request.actor}, by rule "
        f"{', '.join(proposed.event.reason_codes)}: `sora-ledger approve {name}` under another login, or "
        f"{signing}; `sora-ledger cancel {name}` withdraws it"
    )


def open_change(ledger: Ledger, name: str) -> Proposal:
    """Return the change called `name`; `NotReady` if it is already closed."""
    proposed = read_change(ledger, name)
    if proposed.state != PENDING:
        raise NotReady(
            f"{proposed.name} is already {proposed.state}; `sora-ledger changes` lists all changes",
            param="change",
            expected="a change that waits for an answer",
            found=f"one that is {proposed.state}",
        )
    return proposed
