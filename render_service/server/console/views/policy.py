"""Policy: the current one in words, earlier ones, and the effect of another one."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from starlette.datastructures import FormData, UploadFile

from decision.errors import BadDocument
from decision.rules.approvals import Change
from decision.rules.policy import Policy, with_guardrails
from decision.rules.roles import Permission
from decision.rules.toml import load_document
from ledger.record import timestamp
from ledger.store.filters import JobFilter
from render_service.reports.redecide import Outlook, Tally, what_if
from render_service.rules.policies import FILE_LIMIT_BYTES, Rules, read_active_rules
from render_service.rules.policy_words import (
    Activation,
    Difference,
    activations,
    describe_policy,
    rules_differences,
)
from render_service.runtime.errors import BadInput, NotPermitted
from render_service.server.console.pages import Action, Page, View, Visit, text_of

MOST_ACTIVATIONS = 50
PERIODS = {"7": "the last 7 days", "30": "the last 30 days", "90": "the last 90 days"}


class Statement(View):
    """The policy's statements on one topic."""

    topic: str
    text: str
    details: tuple[str, ...]


class Setting(View):
    """A setting that differs; None where it is not set."""

    setting: str
    before: str | None
    after: str | None


class InForce(View):
    """An activated policy; `actor` None means the packaged policy."""

    policy: str
    policy_sha256: str
    catalog: str
    catalog_sha256: str
    position: int | None = None
    actor: str | None = None
    actor_source: str | None = None
    recorded_at: str | None = None
    reason: str | None = None
    """None if it was erased."""
    changes: tuple[Setting, ...] = ()


class Changed(View):
    """A past decision with another result."""

    job_id: str
    recorded_at: str
    before: str
    after: str
    difference_usd_micros: int


class WhatIf(View):
    """The decisions of a period under another policy."""

    policy: str
    period: str
    settings: tuple[Setting, ...]
    warnings: tuple[str, ...]
    decisions: int
    different: int
    unreadable: int
    kinds: Mapping[str, int]
    before_usd_micros: int
    after_usd_micros: int
    held_before_usd_micros: int
    held_after_usd_micros: int
    shown: tuple[Changed, ...]


class PolicyView(View):
    """The page."""

    in_force: InForce
    statements: tuple[Statement, ...]
    warnings: tuple[str, ...]
    needs_approval: bool
    history: tuple[InForce, ...]
    """Newest first, at most `MOST_ACTIVATIONS`."""
    older: int
    may_compare: bool
    """Whether the person sees all jobs, whose decisions are repeated."""
    periods: Mapping[str, str]
    what_if: WhatIf | None = None


def read(visit: Visit) -> PolicyView:
    """Read the policy in force and its history."""
    return _view(visit, None)


def rows(view: PolicyView) -> Sequence[Mapping[str, object]]:
    """Return the history, one row for each changed setting."""
    return [
        activation.model_dump(exclude={"changes"}) | change.model_dump()
        for activation in view.history
        for change in activation.changes or (Setting(setting="", before=None, after=None),)
    ]


async def compare(visit: Visit, form: FormData) -> PolicyView:
    """Repeat the decisions of a period under the policy of a file; nothing is recorded."""
    if not _sees_all(visit):
        raise NotPermitted(
            "this compares the decisions of all teams: only people who see all videos can do that"
        )
    file, period = form.get("file"), text_of(form, "period")
    if not isinstance(file, UploadFile) or not file.filename:
        raise BadInput("choose a policy file, such as team.toml")
    if period not in PERIODS:
        raise BadInput(f"choose a period: {', '.join(PERIODS.values())}")
    content = await file.read(FILE_LIMIT_BYTES + 1)
    if len(content) > FILE_LIMIT_BYTES:
        raise BadInput(f"{file.filename}: a policy file has at most {FILE_LIMIT_BYTES:,} bytes")
    try:
        policy = load_document(Policy, content)
    except BadDocument as error:
        raise BadInput(f"policy file {file.filename}: {error}") from None
    return await asyncio.to_thread(_compared, visit, policy, period)


def _compared(visit: Visit, policy: Policy, period: str) -> PolicyView:
    ledger = visit.session.ledger
    since = timestamp(visit.now - timedelta(days=int(period)))
    now = read_active_rules(ledger)
    rules = Rules(with_guardrails(policy, now.policy.guardrails), now.catalog)
    tally = what_if(ledger, rules.policy, None, since)
    return _view(visit, _what_if(visit, rules, PERIODS[period], rules_differences(now, rules), tally))


def _what_if(visit: Visit, rules: Rules, period: str, settings: Iterable[Difference], tally: Tally) -> WhatIf:
    return WhatIf(
        policy=rules.policy.name,
        period=period,
        settings=_settings(settings),
        warnings=rules.warnings,
        decisions=tally.decisions,
        different=tally.different,
        unreadable=tally.unreadable,
        kinds=dict(tally.kinds),
        before_usd_micros=tally.before_usd_micros,
        after_usd_micros=tally.after_usd_micros,
        held_before_usd_micros=tally.held_before_usd_micros,
        held_after_usd_micros=tally.held_after_usd_micros,
        shown=tuple(
            Changed(
                job_id=row.record.stream,
                recorded_at=row.record.recorded_at,
                before=_words(row.before),
                after=_words(row.after),
                difference_usd_micros=row.difference_usd_micros,
            )
            for row in tally.shown
            if visit.may_see(visit.session.ledger.job(row.record.stream))
        ),
    )


def _words(outlook: Outlook) -> str:
    parts = (outlook.decision, outlook.model, outlook.why)
    return " · ".join(part for part in parts if part)


def _view(visit: Visit, compared: WhatIf | None) -> PolicyView:
    ledger = visit.session.ledger
    rules = read_active_rules(ledger)
    history = activations(ledger)[::-1]
    return PolicyView(
        in_force=_activation(history[0]) if history else _named(rules),
        statements=tuple(Statement(**line._asdict()) for line in describe_policy(rules.policy)),
        warnings=rules.warnings,
        needs_approval=bool(rules.policy.rules_for(Change.POLICY)),
        history=tuple(_activation(activation) for activation in history[:MOST_ACTIVATIONS]),
        older=max(0, len(history) - MOST_ACTIVATIONS),
        may_compare=_sees_all(visit),
        periods=PERIODS,
        what_if=compared,
    )


def _sees_all(visit: Visit) -> bool:
    return visit.caller.sees == (JobFilter(),)


def _named(rules: Rules) -> InForce:
    policy, catalog = rules.policy, rules.catalog
    return InForce(
        policy=policy.name,
        policy_sha256=policy.digest,
        catalog=catalog.name,
        catalog_sha256=catalog.digest,
    )


def _activation(activation: Activation) -> InForce:
    record = activation.record
    return _named(activation.rules).model_copy(
        update={
            "position": record.position,
            "actor": record.actor,
            "actor_source": record.envelope.actor_source,
            "recorded_at": record.recorded_at,
            "reason": activation.why,
            "changes": _settings(activation.changes),
        }
    )


def _settings(changes: Iterable[Difference]) -> tuple[Setting, ...]:
    return tuple(Setting(**change._asdict()) for change in changes)


PAGE = Page("/policy", "Policy", "policy.html", read, rows=rows)
ACTIONS = (Action("/policy/what-if", "/policy", Permission.READ, compare, most_bytes=2 * FILE_LIMIT_BYTES),)
