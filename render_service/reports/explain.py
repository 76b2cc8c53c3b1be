"""Explain a decision: what was decided, why, by whose authority, and whether the record is intact.

`explain` answers all four questions, and shows the recorded origin of the files. `explain_denial` is for a
person whose request was refused: what prevented it, and what to do now. Both read only the ledger.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from decision.engine.explain import explain_candidate, explain_failure, list_reasons, what_now
from ledger.canonical import leaf_hash, sha256_hex
from ledger.events import (
    Candidate,
    Considered,
    RenderDecided,
    RenderDenied,
    RenderHeld,
    RenderRequested,
    RequestSigned,
)
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.record import Entry, Record
from ledger.terms import Outcome, State
from ledger.tree.merkle import Frontier, ProofInvalid, inclusion_proof, verify_inclusion
from render_service.approvals.reviews import reviews_document, reviews_in
from render_service.provenance.words import provenance_document
from render_service.rules.policies import activation_before
from render_service.runtime.documents import Json
from render_service.runtime.errors import NotReady
from render_service.session.history import JobHistory
from render_service.session.jobs import RETRYABLE
from render_service.submission.fix_commands import command_again, commands_after

NOBODY: Mapping[int, str] = MappingProxyType({})
_CAME_TO_NOTHING = frozenset({State.FAILED, State.LOST, State.ABANDONED, State.REJECTED, State.ABSENT})
_RETRIED = RETRYABLE - {State.REFUSED}
"""States whose next command is a retry; a retry of a person's refusal would be refused again."""


@dataclass(frozen=True)
class Explained:
    """A job, its request, and the last decision on it with its record; `document` is all of this as JSON."""

    job: Job
    requested: RenderRequested
    ruling: Considered
    record: Record
    document: Json


def explain(ledger: Ledger, name: str) -> Explained:
    """Return the last decision on the job called `name`; `NotReady` if no decision was made on it."""
    job = ledger.job(name)
    history, requested, decided = _read_decision(ledger, job)
    ruling = decided.event
    document = {
        "job_id": job.job_id,
        "state": job.state.value,
        "decided": _what(decided, history),
        "why": {
            "reasons": list_reasons(ruling),
            "candidates": candidates_of(ruling),
            "inputs": dict(ruling.basis.inputs),
            "what_now": _steps(job, ruling, requested),
        },
        "authority": _authority(ledger, history, decided),
        "reviews": reviews_document(reviews_in(history)),
        "provenance": provenance_document(history),
        "record": trust(ledger, history, decided.record),
    }
    return Explained(job, requested, ruling, decided.record, document)


def explain_denial(ledger: Ledger, name: str) -> Explained:
    """Return why the job called `name` was not allowed, and what to do; if it was, why no other was."""
    job = ledger.job(name)
    history, requested, decided = _read_decision(ledger, job)
    ruling = decided.event
    denied = ruling if isinstance(ruling, RenderDenied) else None
    document = {
        "job_id": job.job_id,
        "state": job.state.value,
        "decision": ruling.decision,
        "denial_trace": denied.denial_trace.as_json() if denied else None,
        "why": list_reasons(ruling),
        "people": people_of(ledger, history),
        "candidates": candidates_of(ruling),
        "what_now": _steps(job, ruling, requested),
        "failure": _failure(job, history),
        "request_again": None if denied else _as_typed(job, ruling, requested),
        "commands": commands_after(denied, requested) if denied else _list_retries(job),
    }
    return Explained(job, requested, ruling, decided.record, document)


def _failure(job: Job, history: JobHistory) -> Json | None:
    """Return why an allowed job failed, in the server's words; None for all other jobs."""
    if job.state not in _CAME_TO_NOTHING:
        return None
    errors = (getattr(record.event, "error", None) for record in reversed(history.records))
    error = next(filter(None, errors), None)
    return {
        "state": job.state.value,
        "code": error.code if error else job.error_code,
        "http_status": error.http_status if error else None,
        "message": _text(error.message) if error and error.message else None,
    }


def _list_retries(job: Job) -> list[str]:
    """Return the commands that retry a failed job."""
    if job.state in {State.REJECTED, State.ABSENT} and job.outcome is None:
        return [f"sora-ledger resume {job.job_id}"]
    return [f"sora-ledger retry {job.job_id}"] if job.state in _RETRIED else []


def _as_typed(job: Job, ruling: Considered, requested: RenderRequested) -> str | None:
    """Return the complete command of a failed job's request, to be changed and run."""
    return command_again(ruling, requested) if job.state in _CAME_TO_NOTHING else None


def _steps(job: Job, ruling: Considered, requested: RenderRequested) -> list[str]:
    """Return the next steps; none for a job that was allowed, or was held and has been withdrawn."""
    if isinstance(ruling, RenderHeld) and job.outcome is Outcome.REFUSED:
        return [
            "change the render so that an approver accepts it, and make a new request: this job is closed"
        ]
    over = isinstance(ruling, RenderHeld) and job.outcome is not None
    if over or isinstance(ruling, RenderDecided):
        return []
    sent = (requested.augmented_prompt or requested.prompt).text
    return what_now(ruling, job_id=job.job_id, draft=job.source_job, sent=sent)


def _read_decision(ledger: Ledger, job: Job) -> tuple[JobHistory, RenderRequested, Entry[Considered]]:
    history = JobHistory.of(ledger, job)
    if history.requested is None or history.decision is None:
        raise NotReady(
            f"{job.job_id} was made by another tool, so there is no decision: "
            f"`sora-ledger show {job.job_id}` shows what is recorded",
            param="job",
            expected="a job with a decision",
            found="a video of another tool",
        )
    return history, history.requested, history.decision


# --- what and why ---


def _what(decided: Entry[Considered], history: JobHistory) -> Json:
    ruling = decided.event
    return {
        "decision": ruling.decision,
        "model": ruling.model if isinstance(ruling, RenderDecided) else None,
        "cost_usd_micros": ruling.cost_usd_micros if isinstance(ruling, RenderDecided) else None,
        "at": decided.record.recorded_at,
        "decision_id": ruling.basis.decision_id,
        "earlier": [
            {
                "decision": earlier.event.decision,
                "at": earlier.record.recorded_at,
                "position": earlier.record.position,
            }
            for earlier in history.decisions[:-1]
        ],
    }


def candidates_of(ruling: Considered) -> list[Json]:
    """Return every candidate of a decision as recorded: gates, score, and why it was not chosen."""
    return [_candidate(candidate, ruling) for candidate in ruling.basis.candidates]


def _candidate(candidate: Candidate, ruling: Considered) -> Json:
    chosen = isinstance(ruling, RenderDecided) and candidate.model == ruling.model
    return {
        "model": candidate.model,
        "chosen": chosen,
        "cost_usd_micros": candidate.cost_usd_micros,
        "score": candidate.score,
        "features": dict(candidate.features),
        "gates_passed": list(candidate.gates_passed),
        "gates_failed": [
            failure.as_json() | {"reason": explain_failure(candidate, failure, ruling)}
            for failure in candidate.gates_failed
        ],
        "why_not": [] if chosen else explain_candidate(candidate, ruling),
    }


# --- by whose authority ---


def _authority(ledger: Ledger, history: JobHistory, decided: Entry[Considered]) -> Json:
    record, basis = decided.record, decided.event.basis
    return {
        "requested_by": _name_person(history.first, _find_unproven(ledger, history)),
        "decided_by": _name_person(record) | {"authority": record.envelope.authority},
        "policy": {
            "name": _read_name(ledger, basis.policy_sha256),
            "sha256": basis.policy_sha256,
            "activated": _activation(ledger, record, basis.policy_sha256),
        },
        "catalog": {"name": _read_name(ledger, basis.catalog_sha256), "sha256": basis.catalog_sha256},
        "engine": basis.engine,
        "people": people_of(ledger, history),
    }


def people_of(ledger: Ledger, history: JobHistory) -> list[Json]:
    """Return the people's answers in a job, with the identification of each."""
    unproven = _find_unproven(ledger, history)
    return [_answer(entry.record, unproven) for entry in history.by_people]


def _find_unproven(ledger: Ledger, history: JobHistory) -> dict[int, str]:
    """Return, by position, how people are identified whose signature is missing, invalid or weak.

    A problem with the signature of a request is reported for the request.
    """
    if not any(map(_says_signed, history.records)):
        return {}
    from render_service.reports.answers import answers  # noqa: PLC0415  # cryptography

    identified = {}
    for answer in answers(ledger, history):
        if answer.key_id is not None or answer.record.envelope.actor_source == "signature":
            about = history.first if isinstance(answer.record.event, RequestSigned) else answer.record
            identified[about.position] = answer.how if not answer.is_proven else "signature"
            if answer.is_proven and not answer.binds_request:
                identified[about.position] = "signature, of version 1, which does not bind the request"
    return identified


def _says_signed(record: Record) -> bool:
    return record.envelope.actor_source == "signature" or bool(getattr(record.event, "signature", None))


def _name_person(record: Record, unproven: Mapping[int, str] = NOBODY) -> Json:
    return {
        "actor": record.actor,
        "identified_by": unproven.get(record.position, record.envelope.actor_source),
        "at": record.recorded_at,
        "position": record.position,
    }


def _read_name(ledger: Ledger, sha256: str) -> str | None:
    """Return the name that a policy or catalog gives itself; None if that document is not stored."""
    body = ledger.store.document(sha256)
    document = json.loads(body) if body and sha256_hex(body) == sha256 else {}
    return str(document["name"]) if "name" in document else None


def _activation(ledger: Ledger, decided: Record, policy_sha256: str) -> Json | None:
    """Return who activated the policy that decided; None for the packaged policy."""
    record = activation_before(ledger, decided.position, policy_sha256)
    return None if record is None else _name_person(record) | {"why": _words(record, "why")}


def _answer(record: Record, unproven: Mapping[int, str]) -> Json:
    more = {name: getattr(record.event, name, None) for name in ("key_id", "detail_code", "expires_at")}
    words = _words(record, "comment") or _words(record, "why")
    return (
        {"event": record.type}
        | _name_person(record, unproven)
        | {"said": words}
        | {k: v for k, v in more.items() if v}
    )


def _words(record: Record, name: str) -> str | None:
    private = getattr(record.event, name, None)
    return _text(private) if isinstance(private, Private) else None


def _text(private: Private) -> str:
    return "[erased]" if private.text is None else private.text


# --- can the record be trusted ---


def trust(ledger: Ledger, history: JobHistory, decided: Record) -> Json:
    """Recompute digests, leaves and the path to the root for every record of a job, from the stored bytes."""
    edge = ledger.store.head()
    root = edge.root()
    trouble = [line for record in history.records for line in _trouble(ledger, record, edge, root)]
    trouble += [
        f"position {position}: {how}"
        for position, how in _find_unproven(ledger, history).items()
        if how.startswith("NOT IDENTIFIED")
    ]
    return {
        "position": decided.position,
        "leaf": leaf_hash(decided.record).hex(),
        "size": edge.size,
        "root": root.hex(),
        "records_checked": len(history.records),
        "trusted": not trouble,
        "trouble": trouble,
    }


def _trouble(ledger: Ledger, record: Record, edge: Frontier, root: bytes) -> list[str]:
    where = f"position {record.position} ({record.type})"
    trouble = []
    if sha256_hex(record.payload) != record.envelope.payload_sha256:
        trouble.append(f"{where}: its payload differs from what was recorded")
    index = record.position - 1
    try:
        path = inclusion_proof(ledger.store, index, edge.size, edge)
        verify_inclusion(leaf_hash(record.record), index, edge.size, path, root)
    except ProofInvalid as error:
        trouble.append(f"{where}: it is not in the tree ({error})")
    return trouble
