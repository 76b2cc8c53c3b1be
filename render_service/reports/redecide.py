"""Repeat recorded decisions from their own inputs, under the policy and catalog they cite, or under another.

Only the record is read: no clock, no server, no current measurements. A different result is `DECISION_DRIFT`.
`NOT_RECOMPUTABLE` names the obstacle: another version of the engine, a document that is not stored, or an
erased text whose analysis cannot be checked.

`what_if` decides the same requests under another policy. Each job counts once, by the first decision on it,
before any person intervened. The outcome of an approval cannot be predicted, so held requests are counted
separately.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from heapq import merge
from typing import Any, cast

from pydantic import ValidationError

from decision.engine.approval import consider_inputs
from decision.engine.decide import ENGINE, rule
from decision.engine.guardrails import find_in, result_in
from decision.engine.inputs import Inputs
from decision.engine.judge import apply_judgement, judge_result_in
from decision.one_change.verdict import RemixVerdict, check_remix
from decision.one_change.verdict import Verdict as OneChange
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from ledger.errors import LedgerUnusable
from ledger.events import Considered, RenderDecided, RenderDenied, RenderHeld, RenderRequested
from ledger.log.ledger import Ledger
from ledger.record import Entry, Record
from ledger.store.filters import RecordFilter
from ledger.terms import Operation
from render_service.rules.policies import restore_document

MOST_SHOWN = 1_000
"""Limit of the findings listed per kind."""

CACHED_DOCUMENTS = 32
"""Limit of the policies, and of the catalogs, cached while many decisions are repeated."""


class Verdict(StrEnum):
    """The result of repeating one decision."""

    SAME = "SAME"
    DECISION_DRIFT = "DECISION_DRIFT"
    NOT_RECOMPUTABLE = "NOT_RECOMPUTABLE"


@dataclass(frozen=True)
class Remade:
    """One recorded decision and its repetition; `differences` are (recorded, remade) by field."""

    record: Record
    verdict: Verdict
    why: str = ""
    differences: Mapping[str, tuple[object, object]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the result as JSON."""
        return {
            "code": self.verdict.value,
            "position": self.record.position,
            "job_id": self.record.stream,
            "type": self.record.type,
            "why": self.why or None,
            "fields": {name: list(pair) for name, pair in self.differences.items()},
        }


@dataclass
class Summary:
    """The result of repeating all decisions; all are counted, and the first that differ are listed."""

    position: int
    counts: Counter[Verdict] = field(default_factory=Counter)
    shown: list[Remade] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return the summary as JSON."""
        return {
            "position": self.position,
            "decisions": self.counts.total(),
            "counts": {verdict.value: self.counts[verdict] for verdict in Verdict},
            "findings": [remade.document() for remade in self.shown],
        }


class Documents:
    """The policies and catalogs that a ledger's decisions cite; recently used ones are cached."""

    def __init__(self, ledger: Ledger) -> None:
        self.policy = lru_cache(CACHED_DOCUMENTS)(lambda sha256: restore_document(ledger, Policy, sha256))
        self.catalog = lru_cache(CACHED_DOCUMENTS)(lambda sha256: restore_document(ledger, Catalog, sha256))


def decisions(ledger: Ledger, since: str | None = None) -> Iterator[Entry[Considered]]:
    """Yield the decisions in order, starting with those recorded at `since` (RFC 3339 UTC)."""
    where = RecordFilter(since=since)
    by_type: tuple[Iterator[Entry[Considered]], ...] = (
        ledger.entries(RenderDecided, where),
        ledger.entries(RenderDenied, where),
        ledger.entries(RenderHeld, where),
    )
    return merge(*by_type, key=lambda entry: entry.record.position)


def remake_all(ledger: Ledger) -> Iterator[Remade]:
    """Repeat every recorded decision, one at a time."""
    documents = Documents(ledger)
    for decision in decisions(ledger):
        yield remake(ledger, decision, documents)


def remake_summary(ledger: Ledger) -> Summary:
    """Repeat every recorded decision and count the results; drift is listed first."""
    summary = Summary(ledger.head().size)
    for remade in remake_all(ledger):
        summary.counts[remade.verdict] += 1
        if remade.verdict is not Verdict.SAME and summary.counts[remade.verdict] <= MOST_SHOWN:
            summary.shown.append(remade)
    return summary


def remake(ledger: Ledger, decision: Entry[Considered], documents: Documents) -> Remade:
    """Repeat one recorded decision."""
    record, ruling = decision.record, decision.event
    basis = ruling.basis
    if basis.engine != ENGINE:
        return _give_up(record, f"it was made by engine {basis.engine}, and this is {ENGINE}")
    try:
        policy, catalog = documents.policy(basis.policy_sha256), documents.catalog(basis.catalog_sha256)
    except LedgerUnusable as error:
        return _give_up(record, str(error))
    try:
        inputs = Inputs.model_validate(basis.inputs)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        return Remade(record, Verdict.DECISION_DRIFT, f"its inputs cannot be read: {problem}")
    verdict = _find_in_prompt(ledger, record, inputs, policy)
    searched = _search_again(ledger, record, inputs, policy)
    changes = verdict.changes if verdict and _has_trace_of_changes(ruling) else ()
    remade = consider_inputs(inputs, catalog=catalog, policy=policy, changes=changes)
    differences = _differences(ruling, remade, inputs, verdict) | _guardrails_differ(inputs, searched)
    if differences:
        return Remade(record, Verdict.DECISION_DRIFT, "", differences)
    if (inputs.change_verdict is not None and verdict is None) or searched is ERASED:
        return _give_up(record, "the text was erased; with its recorded analysis, the decision is the same")
    return Remade(record, Verdict.SAME)


def _give_up(record: Record, why: str) -> Remade:
    return Remade(record, Verdict.NOT_RECOMPUTABLE, why)


def _find_in_prompt(ledger: Ledger, record: Record, inputs: Inputs, policy: Policy) -> RemixVerdict | None:
    """Return the changes that a prompt of a remix or edit asks for; None for others, or if erased.

    A judge is not asked again: its answer is among the inputs.
    """
    if inputs.operation not in (Operation.REMIX, Operation.EDIT):
        return None
    request = next(ledger.entries(RenderRequested, RecordFilter(stream=record.stream), limit=1)).event
    texts = {name: private.text for name, private in request.fields.items()}
    if request.prompt.text is None or None in texts.values():
        return None
    verdict = check_remix(
        request.prompt.text, {name: text for name, text in texts.items() if text is not None}
    )
    judge = policy.judge if inputs.operation is Operation.REMIX else None
    return apply_judgement(verdict, judge, judge_result_in(inputs.to_record()))[0]


ERASED = "erased"


def _search_again(
    ledger: Ledger, record: Record, inputs: Inputs, policy: Policy
) -> Mapping[str, str | None] | str | None:
    """Return the guardrails' findings in the text now; `ERASED` without it; None if nothing was searched.

    A decision after a person's answer repeats the first findings, under the policy of that time.
    """
    if inputs.guardrails is None or record.version != FIRST_DECISION:
        return None
    text = _read_sent_text(ledger, record) if inputs.terms_found is not None else None
    if inputs.terms_found is not None and text is None:
        return ERASED
    return find_in(text, policy.guardrails, result_in(inputs.to_record()))


def _read_sent_text(ledger: Ledger, record: Record) -> str | None:
    """Return the prompt of a request as it would be sent; None if erased."""
    request = next(ledger.entries(RenderRequested, RecordFilter(stream=record.stream), limit=1)).event
    return (request.augmented_prompt or request.prompt).text


def _guardrails_differ(
    inputs: Inputs, searched: Mapping[str, str | None] | str | None
) -> dict[str, tuple[object, object]]:
    if searched is None or isinstance(searched, str):
        return {}
    recorded = inputs.to_record()
    return {
        name: (recorded.get(name), searched.get(name))
        for name in ("guardrails", "terms_found")
        if recorded.get(name) != searched.get(name)
    }


def _has_trace_of_changes(ruling: Considered) -> bool:
    """Return whether a denial has the positions of the changes in the text; not after a person's review."""
    return isinstance(ruling, RenderDenied) and bool(ruling.denial_trace.changes)


def _differences(
    ruling: Considered, remade: Considered, inputs: Inputs, verdict: RemixVerdict | None
) -> dict[str, tuple[object, object]]:
    before, after = _flatten(ruling.as_json()), _flatten(remade.as_json())
    if inputs.change_verdict is not None and verdict is None:
        for document in (before, after):  # positions of changes depend on the text alone
            trace = document.get("denial_trace")
            document["denial_trace"] = trace and {**trace, "changes": None}
    names = sorted(before.keys() | after.keys())
    differing = {n: (before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)}
    if verdict is not None and verdict.verdict != inputs.change_verdict:
        differing["change_verdict"] = (inputs.change_verdict, verdict.verdict)
    return differing


def _flatten(document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a decision merged with its basis, to be compared one by one."""
    basis: dict[str, Any] = document.pop("basis")
    return document | basis


FIRST_DECISION = 2
"""The version of the first decision in a job's stream, after the request."""


@dataclass(frozen=True)
class Outlook:
    """The result for one request: the decision, and its cost; no cost if it is denied."""

    decision: str
    model: str | None
    cost_usd_micros: int
    why: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ChangedDecision:
    """One past decision that would have a different result."""

    record: Record
    inputs: Inputs
    before: Outlook
    after: Outlook

    @property
    def difference_usd_micros(self) -> int:
        """The additional cost, negative if it would cost less."""
        return self.after.cost_usd_micros - self.before.cost_usd_micros


@dataclass
class Tally:
    """The totals; money is counted separately for what is allowed and what is held."""

    decisions: int = 0
    different: int = 0
    unreadable: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    before_usd_micros: int = 0
    after_usd_micros: int = 0
    held_before_usd_micros: int = 0
    held_after_usd_micros: int = 0
    shown: list[ChangedDecision] = field(default_factory=list)

    def add(self, differing: ChangedDecision) -> None:
        """Count one decision."""
        self.decisions += 1
        for outlook, when in ((differing.before, "before"), (differing.after, "after")):
            name = f"held_{when}_usd_micros" if outlook.decision == "HOLD" else f"{when}_usd_micros"
            setattr(self, name, getattr(self, name) + outlook.cost_usd_micros)
        if differing.before == differing.after:
            return
        self.different += 1
        self.kinds[f"{differing.before.decision} to {differing.after.decision}"] += 1
        if len(self.shown) < MOST_SHOWN:
            self.shown.append(differing)


def what_if(ledger: Ledger, policy: Policy, catalog: Catalog | None, since: str | None = None) -> Tally:
    """Repeat the decisions since `since` under `policy`; `catalog` None uses the one each of them cited."""
    tally = Tally()
    for differing in _compare_decisions(ledger, policy, catalog, since):
        if differing is None:
            tally.unreadable += 1
        else:
            tally.add(differing)
    return tally


def _compare_decisions(
    ledger: Ledger, policy: Policy, catalog: Catalog | None, since: str | None
) -> Iterator[ChangedDecision | None]:
    documents = Documents(ledger)
    for decision in decisions(ledger, since):
        if decision.record.version != FIRST_DECISION:
            continue
        basis = decision.event.basis
        try:
            inputs = Inputs.model_validate(basis.inputs)
            cited = documents.catalog(basis.catalog_sha256)
            before = _remake_recorded(decision.event, inputs, cited, documents)
        except (ValidationError, LedgerUnusable):
            yield None
            continue
        inputs = _apply_guardrails(policy, ledger, decision.record, inputs)
        now = consider_inputs(inputs, catalog=catalog or cited, policy=policy)
        after = _outlook(now, rule(inputs, catalog=catalog or cited, policy=policy))
        yield ChangedDecision(decision.record, inputs, before, after)


def _apply_guardrails(policy: Policy, ledger: Ledger, record: Record, inputs: Inputs) -> Inputs:
    """Return `inputs` with the guardrail findings of `policy`: from the text if available, and the scores.

    No server is asked: a prompt that was not moderated at the time counts as not moderated.
    """
    inputs = _apply_judge(policy, inputs)
    if policy.guardrails is None:
        return inputs
    text = _read_sent_text(ledger, record) if policy.guardrails.terms else None
    inputs_found = find_in(text, policy.guardrails, result_in(inputs.to_record()))
    return Inputs.model_validate({**inputs.to_record(), **inputs_found})


def _apply_judge(policy: Policy, inputs: Inputs) -> Inputs:
    """Return `inputs` as they would be under the judge of `policy`, from the judge's answer at the time."""
    if inputs.offline_verdict is None:
        return inputs
    found = RemixVerdict(cast("OneChange", inputs.offline_verdict))  # it was recorded from one
    verdict, by_judge = apply_judgement(found, policy.judge, judge_result_in(inputs.to_record()))
    none_of_it = dict.fromkeys(
        ("offline_verdict", "judge_status", "judge_model", "judge_verdict", "judge_changes")
    )
    update = {**none_of_it, **by_judge, "change_verdict": verdict.verdict if verdict else None}
    return Inputs.model_validate({**inputs.to_record(), **update})


def _remake_recorded(ruling: Considered, inputs: Inputs, catalog: Catalog, documents: Documents) -> Outlook:
    if not isinstance(ruling, RenderHeld):
        return _outlook(ruling, ruling)
    policy = documents.policy(ruling.basis.policy_sha256)
    return _outlook(ruling, rule(inputs, catalog=catalog, policy=policy))


def _outlook(considered: Considered, without_people: Considered) -> Outlook:
    """Return the result; `without_people` has the model and cost of a held request."""
    if isinstance(considered, RenderDenied):
        return Outlook(considered.decision, None, 0, considered.denial_trace.detail_code)
    why = ", ".join(considered.reason_codes) if isinstance(considered, RenderHeld) else None
    if not isinstance(without_people, RenderDecided):
        return Outlook(considered.decision, None, 0, why)
    return Outlook(considered.decision, without_people.model, without_people.cost_usd_micros, why)
