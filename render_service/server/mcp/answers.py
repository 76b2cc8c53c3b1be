"""Answers of the tools: a job with its cost and the next allowed call, or an error with the same.

No answer suggests a retry where something may be billed: it names the job to wait for, or the request key
under which the same call returns the same job.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Unpack

from pydantic import ValidationError

from decision.engine.explain import list_reasons, what_now
from decision.errors import DecisionError
from decision.money import usd_digits
from decision.request.prompt import FIELDS
from ledger.errors import BudgetExceeded, Facts, LedgerUnusable, Retry, SoraLedgerError, argv_of, error_facts
from ledger.events import RenderDecided
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.terms import State
from render_service.runtime.documents import Json
from render_service.runtime.errors import BudgetGone
from render_service.session.history import JobHistory
from render_service.session.session import Session
from render_service.submission.result import held_for, shortfall, submission_trouble
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
    """The next allowed call, why, and the commands that only a person can run; `tool` may be None."""

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
    """Return the calls that may follow for `job`."""
    if job.state in {State.HELD, State.APPROVED} and job.outcome is None:
        hold = held_for(ledger, job)
        because = f"nothing was sent, and nothing will be until a person approves it; you cannot. {hold}"
        return Next("job", because, {"job": job.job_id}, tuple(_COMMAND.findall(hold)))
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
    if "error" not in more and job.state in REFUSED:
        document["error"] = _refusal(session, job, following)
    return document | more


REFUSED = (State.DENIED, State.HELD, State.APPROVED, State.REFUSED)
"""States of a job that was not sent, and that the agent cannot send."""


def _refusal(session: Session, job: Job, following: Next) -> Json:
    """Return the error of a refused job: what was expected, and the calls that would be allowed."""
    lacks = shortfall(session.ledger, job)
    commands = [*map(shlex.join, lacks.commands), *following.person]
    document: Json = error_document(
        f"job_{job.state}",
        f"{job.job_id} is {job.state}: {following.because}",
        otherwise=following.tool,
        commands=commands,
        param=lacks.param and argument_of(lacks.param),
        expected=lacks.expected,
        found=lacks.found,
    )["error"]
    return document


def decision_of(ruling: Any, job: Job) -> Json:
    """Return a decision with its reasons, and the nearest allowed request if it is denied."""
    document: Json = {"decision": ruling.decision, "why": list_reasons(ruling)}
    if not isinstance(ruling, RenderDecided):
        steps = what_now(ruling, job_id=job.job_id, draft=job.source_job)
        document["what_now"] = [in_tool_terms(step) for step in steps]
    return document


def cost_of(job: Job) -> Json:
    """Return the cost of a job in dollars: estimated, reserved and final."""
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


def argument_of(param: str) -> str:
    """Return the argument of a tool for the `param` of an error."""
    name = param.removeprefix("--").replace("-", "_")
    return {"max_cost_usd_micros": "max_cost_usd", "declared_change": "declare_change"}.get(
        name, _argument(name)
    )


_USUALLY_NEXT: dict[type[Exception], str] = {
    DecisionError: "decide",
    BudgetGone: "budget",
    BudgetExceeded: "budget",
    AdapterError: "find",
    LedgerUnusable: "find",
}
"""The tool to use after an error whose message names no command."""
_JOB = re.compile(r"\bjob_[0-9a-f]{32}\b")


def error_answer(
    error: Exception,
    tool: str = "",
    arguments: Mapping[str, Any] | None = None,
    known: Collection[str] = (),
) -> Json | None:
    """Return the answer for an error raised on purpose by a call of `tool`; None for any other.

    `known` are the names of the tool's arguments. If the error names an acceptable value, the same call with
    that value comes first in `calls`.
    """
    if isinstance(error, ValidationError):
        return _bad_arguments(error, tool, arguments or {}, known)
    answer = _of_ours(error)
    if answer is not None and isinstance(error, SoraLedgerError) and error.param and error.instead and tool:
        name = argument_of(error.param)
        better: str | int = int(error.instead) if error.instead.isdecimal() else error.instead
        _put_first(answer, tool, {**(arguments or {}), name: better})
    return answer


def _put_first(answer: Json, tool: str, arguments: Mapping[str, Any]) -> None:
    answer["error"]["calls"].insert(0, {"tool": tool, "arguments": dict(arguments)})


def _of_ours(error: Exception) -> Json | None:
    if not isinstance(error, SoraLedgerError):
        return None
    helpful = next((tool for kind, tool in _USUALLY_NEXT.items() if isinstance(error, kind)), None)
    return error_document(
        error.code,
        in_tool_terms(str(error)),
        error.retry,
        otherwise=helpful,
        retry_after_s=error.retry_after_s,
        param=error.param and argument_of(error.param),
        expected=error.expected and in_tool_terms(error.expected),
        found=error.found,
        commands=list(map(shlex.join, error.commands)),
    )


def error_document(
    code: str,
    message: str,
    retry: Retry = "never",
    *,
    otherwise: str | None = None,
    retry_after_s: float | None = None,
    commands: Sequence[str] = (),
    **about: Unpack[Facts],
) -> Json:
    """Return an error with the tools to call next: from `next`, or the tool `otherwise`.

    `person` are the commands that only a person may run.
    """
    argvs = [argv_of(command) for command in commands]
    facts = error_facts(code, message, retry=retry, retry_after_s=retry_after_s, commands=argvs, **about)
    calls, person = [], []
    for argv in facts["next"]:
        call = call_of(argv)
        if call is None:
            person.append(shlex.join(argv))
        else:
            calls.append(call)
    if not calls and (named := _JOB.search(message)):
        calls.append({"tool": "job", "arguments": {"job": named[0]}})
    if not calls and otherwise:
        calls.append({"tool": otherwise, "arguments": {}})
    return {"error": facts | {"calls": calls, "person": person}}


def call_of(argv: Sequence[str]) -> Json | None:
    """Return the tool call equivalent to a command; None if only a person may run it."""
    name, words = argv[1], argv[2:]
    if name in TOOL_OF:
        arguments = _arguments(words)
        return None if arguments is None else {"tool": TOOL_OF[name], "arguments": arguments}
    tool = _TOOL_OF_COMMAND.get(name)
    if tool is None or "--absent" in words or "set" in words:
        return None
    job = next((word for word in words if word.startswith(("job_", "video_"))), None)
    return {"tool": tool, "arguments": {"job": job} if job else {}}


_TAKEN = frozenset(
    "prompt job model size seconds purpose max_cost_usd declare_change promotes request_key".split()
)


def _arguments(words: Sequence[str]) -> Json | None:
    """Return a paid tool's arguments for the options of a command; None if it does not accept them."""
    left = list(words)
    arguments: Json = {}
    while left:
        option = left.pop(0)
        name = argument_of(option)
        if option == "--attest":
            arguments["attested"] = True
        elif option == "--no-augment":
            arguments["augment"] = False
        elif name in FIELDS and left:
            arguments.setdefault("fields", {})[name] = left.pop(0)
        elif name in _TAKEN and left:
            arguments[name] = int(left.pop(0)) if name == "seconds" else left.pop(0)
        else:
            return None
    return arguments


def _bad_arguments(
    error: ValidationError, tool: str, arguments: Mapping[str, Any], known: Collection[str]
) -> Json:
    first = error.errors(include_url=False, include_context=False)[0]
    param = ".".join(map(str, first["loc"])) or "arguments"
    if first["type"] == "extra_forbidden" and param in arguments:
        return _unknown_argument(param, tool, arguments, known)
    found = first.get("input")
    shown = repr(found) if isinstance(found, str | int | float | bool) else type(found).__name__
    if first["type"] != "missing":
        message = f"{param}: {first['msg']}; found {shown[:80]}; nothing was recorded"
        return error_document("bad_arguments", message, param=param, expected=first["msg"], found=shown[:80])
    message = f"{param} is missing; nothing was recorded"
    answer = error_document("bad_arguments", message, param=param, expected="a value", found="nothing")
    if param == "request_key" and len(error.errors()) == 1:
        _put_first(answer, tool, {**arguments, param: suggested_key(arguments)})
    return answer


def _unknown_argument(param: str, tool: str, arguments: Mapping[str, Any], known: Collection[str]) -> Json:
    names = ", ".join(sorted(known))
    near = get_close_matches(param, [name for name in known if name not in arguments], n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    message = f"{tool} has no argument {param}; {hint}it has {names}; nothing was recorded"
    answer = error_document("bad_arguments", message, param=param, expected=names, found=param)
    if near:
        renamed = {near[0] if name == param else name: value for name, value in arguments.items()}
        _put_first(answer, tool, renamed)
    return answer


def suggested_key(arguments: Mapping[str, Any]) -> str:
    """Return a request key for a call without one: equal for equal calls, so that a retry is safe."""
    text = json.dumps(arguments, sort_keys=True, default=str)
    return f"key-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
