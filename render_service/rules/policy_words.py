"""A policy in words, the differences between two policies, and the history of activations."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from decision.money import format_usd
from decision.rules.approvals import ApprovalRule
from decision.rules.catalog import Catalog
from decision.rules.document import Document
from decision.rules.guardrails import Guardrails
from decision.rules.policy import LOCAL, PPM_PER_PERCENT, JudgeUse, Policy
from ledger.events import PolicyActivated
from ledger.log.ledger import Ledger
from ledger.record import Record
from ledger.store.filters import RecordFilter
from render_service.rules.policies import STREAM, Rules, read_packaged_rules, restore_document
from render_service.runtime.documents import format_count

MOST_TERMS = 8
"""Number of a rule's terms that are shown."""
NAMED_BY = ("code", "model", "name")
"""Keys that identify an entry of a list, so that it is compared with itself wherever it moves."""


class Sentence(NamedTuple):
    """A policy's statements on one topic; an approval rule has details of what it applies to."""

    topic: str
    text: str
    details: tuple[str, ...] = ()


def describe_policy(policy: Policy) -> Iterator[Sentence]:
    """Yield a policy's statements, with the rules that need a person first."""
    for rule in policy.approvals or ():
        yield _approval(rule)
    yield Sentence("denials that may be overridden", _list(policy.overridable, "none"))
    yield Sentence("purposes that need an approved draft", _list(policy.require_approved_draft, "none"))
    if policy.require_marking:
        yield Sentence("purposes that need a mark to be published", _list(policy.require_marking, "none"))
    yield Sentence("guardrails have to be attested", "yes" if policy.require_attestation else "no")
    unclear = "allowed, and marked" if policy.unclear_changes_pass else "denied until it is declared"
    yield Sentence("remixes whose change is unclear", unclear)
    yield _judge(policy)
    yield from _guardrails(policy.guardrails)
    yield Sentence("may sign approvals", _list(policy.approvers, "nobody"))
    yield Sentence("roles of access keys", _list(policy.roles_in_force, "none"))


def _judge(policy: Policy) -> Sentence:
    judge = policy.judge
    if judge is None:
        return Sentence("judge of remixes", "none")
    when = "always" if judge.ask is JudgeUse.ALWAYS else "where the offline rule is not sure"
    where = judge.url or "the server of the render"
    sent = "read on this machine" if judge.url == LOCAL else f"sent to {where}"
    may = "it may overrule the offline rule" if judge.may_overrule else "it never lets several changes pass"
    words = f"{judge.model}, asked {when}"
    return Sentence("judge of remixes", words, (f"the text of remixes is {sent}; {may}",))


def _guardrails(guardrails: Guardrails | None) -> Iterator[Sentence]:
    for terms in guardrails.terms if guardrails else ():
        count = len(terms.terms)
        shown = ", ".join(terms.terms[:MOST_TERMS]) + (", …" if count > MOST_TERMS else "")
        yield Sentence(f"terms {terms.code}", f"{terms.then}: {format_count(count, 'term')}", (shown,))
    moderation = guardrails.moderation if guardrails else None
    if moderation is None:
        yield Sentence("moderation by the server", "not asked for")
        return
    missing = moderation.unreachable or "hold for final purposes, warn for others"
    rules = [
        f"{rule.code}: {rule.then} {', '.join(rule.categories)}"
        + ("" if rule.min_ppm is None else f" from {rule.min_ppm / PPM_PER_PERCENT:g} %")
        for rule in moderation.rules
    ]
    text = f"asked for; flagged prompts: {moderation.flagged}"
    yield Sentence("moderation by the server", text, (*rules, f"if it cannot be asked: {missing}"))


def _approval(rule: ApprovalRule) -> Sentence:
    signed = f" signed by {' or '.join(rule.signed_by)}" if rule.signed_by else ""
    people = format_count(rule.people, "person", "people")
    matches = rule.model_dump(exclude_none=True, exclude={"code", "people", "signed", "signed_by"})
    least = matches.pop("min_cost_usd_micros", None)
    details = [f"{name}: {', '.join(map(str, values))}" for name, values in matches.items()]
    details += [f"from {format_usd(least)}"] if least is not None else []
    text = f"{people}{signed or (', signed' if rule.wants_signature else '')}"
    return Sentence(f"approval {rule.code}", text, tuple(details))


def _list(words: Any, none: str) -> str:
    return ", ".join(words or ()) or none


class Difference(NamedTuple):
    """A setting that differs between two documents, as ``weights.fit_weight``; None if it is not set."""

    setting: str
    before: str | None
    after: str | None


def differences(before: Document, after: Document) -> list[Difference]:
    """Return the changes from one document to another of the same kind, by setting."""
    old, new = _settings(before), _settings(after)
    return [
        Difference(name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def rules_differences(before: Rules, after: Rules) -> list[Difference]:
    """Return the changes in the policy, then in the catalog, whose settings are marked as such."""
    changes = differences(before.catalog, after.catalog)
    in_catalog = [change._replace(setting=f"catalog: {change.setting}") for change in changes]
    return [*differences(before.policy, after.policy), *in_catalog]


def _settings(document: Document) -> dict[str, str]:
    return dict(_flat("", document.model_dump(mode="json", by_alias=True, exclude_none=True)))


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield each setting below `path`; a list of plain values is one setting."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{path}.{name}" if path else name, inner)
    elif isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
        for index, inner in enumerate(value, 1):
            named = next((str(inner[key]) for key in NAMED_BY if key in inner), str(index))
            yield from _flat(f"{path}[{named}]", inner)
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class Activation:
    """An activated policy: the record, its documents, and its changes."""

    record: Record
    why: str | None
    """None if erased, or if none was given."""
    rules: Rules
    changes: tuple[Difference, ...]


def activations(ledger: Ledger) -> list[Activation]:
    """Return all activations, oldest first; the first one replaced the rules of the package."""
    activations_: list[Activation] = []
    before = read_packaged_rules()
    for entry in ledger.entries(PolicyActivated, RecordFilter(stream=STREAM)):
        event = entry.event
        policy = restore_document(ledger, Policy, event.policy_sha256)
        rules = Rules(policy, restore_document(ledger, Catalog, event.catalog_sha256), entry.record)
        changes = rules_differences(before, rules)
        why = event.why.text if event.why else None
        activations_.append(Activation(entry.record, why, rules, tuple(changes)))
        before = rules
    return activations_
