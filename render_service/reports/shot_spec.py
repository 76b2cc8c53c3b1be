"""Derive the spec of a shot from the remixes that led to it.

A remix requested with `decision.one_change.shot_spec.change_spec` changes one known line. For a remix in
other words, only the changed aspect is known, so that line becomes unknown; nothing is guessed.
"""

from decision.one_change.shot_spec import asked_key, spec_of
from decision.one_change.verdict import FIELD_ASPECTS
from ledger.events import Operation, RenderDecided
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private import Private
from render_service.session.history import JobHistory

Spec = dict[str, str]


def spec_at(ledger: Ledger, job: Job) -> Spec:
    """Return what is known of the shot that `job` shows; an empty spec for a job of another tool."""
    line = [job]
    while line[-1].operation in (Operation.REMIX, Operation.EDIT) and line[-1].source_job:
        line.append(ledger.job(line[-1].source_job))
    spec: Spec = {}
    for ancestor in reversed(line):
        spec = _after(ledger, ancestor, spec)
    return spec


def _after(ledger: Ledger, job: Job, spec: Spec) -> Spec:
    history = JobHistory.of(ledger, job)
    request = history.requested
    if request is None:
        return {}
    prompt, fields = _text(request.prompt), {name: _text(field) for name, field in request.fields.items()}
    if request.operation not in (Operation.REMIX, Operation.EDIT):
        return spec_of(prompt, fields)
    key = asked_key(prompt, fields)
    if key is not None:
        return {**spec, key: fields[key]}
    decided = history.all_of(RenderDecided)[0].event
    changed = _aspects(str(decided.basis.inputs.get("change_aspects") or ""))
    return {name: line for name, line in spec.items() if FIELD_ASPECTS.get(name) not in changed}


def _text(private: Private) -> str:
    return private.text or ""


def _aspects(recorded: str) -> set[str]:
    return {pair.partition(":")[0] for pair in recorded.split(",")}
