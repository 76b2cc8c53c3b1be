"""Answers of the tools: a job with its cost and the next allowed call, or an error with the same.

No answer says to try again where something may be billed: it names the job to wait for, or the request key
under which the same call returns the same job.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from decision.engine.explain import what_now, why
from decision.errors import DecisionError
from decision.money import usd_digits
from ledger.errors import BudgetExceeded, LedgerUnusable, Retry, SoraLedgerError, error_facts
from ledger.events import RenderDecided
from ledger.job import Job, State
from ledger.log.ledger import Ledger
from render_service.runtime.documents import Json
from render_service.runtime.errors import BudgetGone
from render_service.session.history import JobHistory
from render_service.session.session import Session
from render_service.submission.result import held_for, submission_trouble
from sora_adapter.errors import AdapterError

TOOL_OF = {"create": "render", "remix": "remix", "edit": "edit", "extend": "extend"}
_COMMAND = re.compile(r"`(sora-ledger [^`]+)`")
_FLAG = re.compile(r"--([a-z][a-z-]*)")
_TOOL_OF_COMMAND = {
    "poll": "wait",
    "reconcile": "wait",
    "status": "job",
    "show": "job",
    "download": "download",
    "explain": "explain",
    "whynot": "explain",
    "jobs": "find",
    "budget": "budget",
    "check-remix": "check_remix",
    "cancel": "cancel",
}


@dataclass(frozen=True)
class Next:
    """The next allowed call, why, and the commands that only a person can run; `tool` None is none."""

    tool: str | None
    because: str
    arguments: Json = field(default_factory=dict)
    person: tuple[str, ...] = ()

    @property
    def call(self) -> str:
        """The end of a sentence that names the call."""
        return f" (next: {self.tool})" if self.tool else ""

    def document(self) -> Json:
        """Return it as JSON."""
        return {
            "tool": self.tool,
            "arguments": self.arguments,
            "because": self.because,
            "person": list(self.person),
        }


_MAY_EXIST = (
    "its answer is not known yet, so a video may exist and be billed: wait looks for it and never sends "
    "the request again; do not request it under another key"
)
_THEN: dict[State, tuple[str | None, str]] = {
    State.DENIED: ("decide", "nothing was sent; what_now says what would be allowed, under another key"),
    State.SUBMITTING: ("wait", _MAY_EXIST),
    State.UNKNOWN: ("wait", _MAY_EXIST),
    State.REQUESTED: ("wait", "the request is being decided"),
    State.RUNNING: ("wait", "the server is rendering, and bills this render once"),
    State.COMPLETED: ("wait", "it is rendered, and its file is not stored yet"),
    State.STORED: ("download", "its file is stored and checked"),
    State.FAILED: ("explain", "there will be no video; a new render needs a new request key"),
    State.LOST: ("explain", "its video is no longer available; a new render needs a new request key"),
    State.ABANDONED: ("explain", "it was given up; a new render needs a new request key"),
    State.REFUSED: (None, "a person rejected it; nothing was sent and nothing will be"),
    State.CANCELLED: (None, "it was withdrawn; nothing was sent"),
    State.DELETED: (None, "its video was deleted on the server"),
}
_SENDS = "nothing is billed so far: the same call with the same request key sends it, once"


def next_call(job: Job, ledger: Ledger) -> Next:
    """Return what may be called next about `job`."""
    if job.state in {State.HELD, State.APPROVED} and job.outcome is None:
        told = held_for(ledger, job)
        because = f"nothing was sent, and nothing will be until a person approves it; you cannot. {told}"
        return Next("job", because, {"job": job.job_id}, tuple(_COMMAND.findall(told)))
    if job.state in {State.DECIDED, State.ABSENT, State.REJECTED}:
        return _not_sent(job)
    tool, because = _THEN[job.state]
    return Next(tool, because, {} if tool in {None, "decide"} else {"job": job.job_id})


def _not_sent(job: Job) -> Next:
    tool = TOOL_OF.get(job.operation or "")
    if job.outcome is not None:
        return Next("explain", "nothing was created and it is closed; use a new key", {"job": job.job_id})
    if tool is None or job.request_key is None:
        return Next("job", "a person submits it", {"job": job.job_id}, (f"sora-ledger resume {job.job_id}",))
    return Next(tool, _SENDS, {"request_key": job.request_key})


def job_answer(session: Session, job: Job, **more: Any) -> Json:
    """Return a job with its cost, its decision and the next allowed call; reads the ledger."""
    history = JobHistory.of(session.ledger, job)
    following = next_call(job, session.ledger)
    document: Json = {
        "summary": f"{job.job_id} is {job.state}: {following.because}{following.call}",
        "job": job.job_id,
        "state": job.state.value,
        "status": job.status.value if job.status else None,
        "progress": job.progress,
        "operation": job.operation,
        "request_key": job.request_key,
        "model": job.model,
        "size": job.size,
        "seconds": job.seconds,
        "cost": cost_of(job),
        "decision": None,
        "error_code": job.error_code,
        "files": {variant.value: asset.sha256 for variant, asset in job.assets.items()},
        "next": following.document(),
    }
    if history.decision is not None:
        document["decision"] = decision_of(history.decision.event, job)
    if trouble := submission_trouble(session.ledger, job, session.settings.profiles_file):
        document["trouble"] = in_tool_terms(str(trouble))
    return document | more


def decision_of(ruling: Any, job: Job) -> Json:
    """Return a decision with its reasons, and what would be allowed if this was not."""
    document: Json = {"decision": ruling.decision, "why": why(ruling)}
    if not isinstance(ruling, RenderDecided):
        steps = what_now(ruling, job_id=job.job_id, draft=job.source_job)
        document["what_now"] = [in_tool_terms(step) for step in steps]
    return document


def cost_of(job: Job) -> Json:
    """Return what a job costs in dollars: the estimate, what is reserved for it, and what it has cost."""
    return {
        "estimated_usd": usd_digits(job.estimate_usd_micros or 0),
        "reserved_usd": usd_digits(job.reserved_usd_micros or 0),
        "so_far_usd": usd_digits(job.settled_usd_micros or 0),
    }


def in_tool_terms(message: str) -> str:
    """Return a message of the command line with the names of arguments in place of options."""
    parts = message.split("`")
    parts[::2] = [_FLAG.sub(lambda flag: _argument(flag[1].replace("-", "_")), part) for part in parts[::2]]
    return "`".join(parts)


def _argument(option: str) -> str:
    return {"max_cost": "max_cost_usd", "id": "job", "input_reference": "first_frame"}.get(option, option)


_USUALLY_NEXT: dict[type[Exception], str] = {
    DecisionError: "decide",
    BudgetGone: "budget",
    BudgetExceeded: "budget",
    AdapterError: "find",
    LedgerUnusable: "find",
}
"""The tool that helps after an error whose message names no command."""
_JOB = re.compile(r"\bjob_[0-9a-f]{32}\b")


def error_answer(error: Exception) -> Json | None:
    """Return the answer for an error raised on purpose; None for any other."""
    if isinstance(error, ValidationError):
        return _bad_arguments(error)
    if not isinstance(error, SoraLedgerError):
        return None
    helpful = next((tool for kind, tool in _USUALLY_NEXT.items() if isinstance(error, kind)), None)
    return error_document(
        error.code,
        in_tool_terms(str(error)),
        error.retry,
        otherwise=helpful,
        retry_after_s=error.retry_after_s,
    )


def error_document(
    code: str,
    message: str,
    retry: Retry = "never",
    *,
    otherwise: str | None = None,
    retry_after_s: float | None = None,
    **more: Any,
) -> Json:
    """Return an error with the tools to call next: those that its message names, or the tool `otherwise`.

    `person` are the commands that only a person may run.
    """
    calls, person = [], []
    for command in dict.fromkeys(_COMMAND.findall(message)):
        call = _as_call(command)
        if call is None:
            person.append(command)
        else:
            calls.append(call)
    if not calls and (named := _JOB.search(message)):
        calls.append({"tool": "job", "arguments": {"job": named[0]}})
    if not calls and otherwise:
        calls.append({"tool": otherwise, "arguments": {}})
    facts = error_facts(code, message, retry=retry, retry_after_s=retry_after_s)
    return {"error": facts | {"calls": calls, "person": person} | more}


def _as_call(command: str) -> Json | None:
    """Return the tool call that does what a command does; None if only a person may run it."""
    _, name, *words = command.split()
    tool = _TOOL_OF_COMMAND.get(name)
    if tool is None or "--absent" in words or "set" in words:
        return None
    job = next((word for word in words if word.startswith(("job_", "video_"))), None)
    return {"tool": tool, "arguments": {"job": job} if job else {}}


def _bad_arguments(error: ValidationError) -> Json:
    first = error.errors(include_url=False, include_context=False)[0]
    param = ".".join(map(str, first["loc"])) or "arguments"
    found = first.get("input")
    shown = repr(found) if isinstance(found, str | int | float | bool) else type(found).__name__
    message = f"{param}: {first['msg']}; found {shown[:80]}; nothing was recorded"
    facts: Json = {"param": param, "expected": first["msg"], "found": shown[:80]}
    if first["type"] == "missing":
        message, facts["found"] = f"{param} is missing; nothing was recorded", None
    return error_document("bad_arguments", message, **facts)
