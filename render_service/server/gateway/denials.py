"""Denials in the error envelope: the reason, and the smallest change that would be allowed, in API terms."""

from collections.abc import Callable, Mapping, Sequence

from decision.engine.explain import why
from decision.money import format_usd, usd_digits
from ledger.errors import argv_of
from ledger.events import DenialTrace, Fix, RenderDenied, RenderRequested
from ledger.job import Job
from render_service.runtime.documents import Json
from render_service.server.gateway.api_terms import in_api_terms
from render_service.server.gateway.errors import Refusal, over_budget
from render_service.server.gateway.headers import job_headers
from render_service.submission.fix_commands import commands_after

FORBIDDEN = frozenset(
    "ATTESTATION_MISSING DRAFT_NOT_APPROVED FACE_IN_IMAGE FACES_NOT_CHECKED TERM_NOT_ALLOWED"
    " MODERATION_FLAGGED MODERATION_MISSING".split()
)
"""Denials by what the policy demands of people or content; all others are about a value of the request."""

BUDGET = "BUDGET_EXHAUSTED"

_PARAMS: Mapping[str, str] = {
    "max_cost_usd_micros": "max_cost_usd",
    "character_ids": "characters",
    "reference_url": "input_reference",
    "reference_file_id": "input_reference",
    "reference_faces": "input_reference",
    "source": "video",
    "draft": "promotes",
    "declared_change": "declare_change",
    "terms": "prompt",
    "moderation": "prompt",
}
_NAMED = frozenset({"size", "seconds", "model"})
"""Fields with which the codes of their denials begin."""

_NOT_SENT = frozenset({"operation", "profile", "catalog", "budget_left_usd_micros"})
"""What a fix may name that is not a field of a request."""


def denial(job: Job, denied: RenderDenied, requested: RenderRequested) -> Refusal:
    """Return the refusal for a denied job: 429 for lack of budget, 403 for a policy on content, else 400."""
    trace = denied.denial_trace
    steps = [step_of(fix) for fix in trace.minimal_fix]
    remedy = f" It would be allowed if you {' and '.join(steps)}." if steps else ""
    message = in_api_terms(f"{_sentence(why(denied)[0])}{remedy}")
    document, headers = trace.as_json(), job_headers(job, denied)
    if trace.detail_code == BUDGET:
        return over_budget(message, param="budget", expected=trace.expected, found=trace.found).about(
            headers, document
        )
    status = 403 if trace.detail_code in FORBIDDEN else 400
    refusal = Refusal(
        status,
        trace.detail_code,
        message,
        param=_param(trace),
        expected=trace.expected,
        found=trace.found,
    )
    commands = [argv_of(command) for command in commands_after(denied, requested, with_keys=True)]
    calls = [call for call in map(call_of, commands) if call is not None]
    return refusal.about(headers, document).followed_by(calls, commands)


_FIELD_OF = {
    f"--{name.replace('_', '-')}": name for name in ("prompt", "model", "size", "seconds", "purpose")
} | {
    "--max-cost": "max_cost_usd",
    "--declare-change": "declare_change",
    "--promotes": "promotes",
}


def call_of(argv: Sequence[str]) -> Json | None:
    """Return the call of the API that does what a command does; None for one that the API has not."""
    words, source = list(argv[2:]), None
    body: Json = {}
    headers: Json = {}
    while words:
        option = words.pop(0)
        if option == "--attest":
            body["attested"] = True
        elif option == "--no-augment":
            pass  # the API never augments
        elif not words:
            return None
        elif option in _FIELD_OF:
            body[_FIELD_OF[option]] = words.pop(0)
        elif option == "--request-key":  # of which the first part is the access key's
            headers["Idempotency-Key"] = words.pop(0).partition("/")[2]
        elif option == "--id":
            source = words.pop(0)
        else:
            return None
    path = {"create": "/v1/videos", "remix": f"/v1/videos/{source}/remix"}.get(argv[1])
    if path is None:
        return None
    return {"method": "POST", "path": path, **({"headers": headers} if headers else {}), "body": body}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _param(trace: DenialTrace) -> str | None:
    """Return the field that was denied; where the code does not name one, the field to change."""
    named = trace.detail_code.partition("_")[0].lower()
    if named in _NAMED:
        return named
    field = next((fix.field for fix in trace.minimal_fix if fix.field not in _NOT_SENT), None)
    return _PARAMS.get(field, field) if field else None


def step_of(fix: Fix) -> str:
    """Return in words how to apply `fix` to a request of the API."""
    step = _STEPS.get((fix.field, fix.action))
    if step is not None:
        return step(fix)
    name = _PARAMS.get(fix.field, fix.field)
    return f"leave out '{name}'" if fix.action == "drop" else f"set '{name}' to {fix.value}"


def _usd(fix: Fix) -> int:
    return fix.value if isinstance(fix.value, int) else 0


_STEPS: Mapping[tuple[str, str], Callable[[Fix], str]] = {
    ("max_cost_usd_micros", "raise"): lambda fix: f"raise 'max_cost_usd' to {usd_digits(_usd(fix))}",
    ("budget_left_usd_micros", "raise"): lambda fix: (
        f"have the budget raised until {format_usd(_usd(fix))} are left in it"
    ),
    ("source", "wait"): lambda _: "wait until the source video is completed",
    ("operation", "set"): lambda _: "create a new video instead (POST /v1/videos)",
    ("prompt", "split"): lambda fix: (
        f"make {fix.value} remixes, one change each, each of the result of the one before"
    ),
    ("prompt", "set"): lambda _: "name in 'prompt' one thing that is to change",
    ("input_reference", "drop"): lambda _: "leave out the image, or crop the face out",
    ("reference_faces", "set"): lambda _: "have the operator install face detection, which the policy needs",
    ("declared_change", "set"): lambda fix: (
        f"word it as one change; or, if it is one, declare which with 'declare_change', such as {fix.value!r}"
    ),
    ("terms", "drop"): lambda fix: f"leave out of 'prompt' the words that the rule {fix.value} names",
    ("moderation", "drop"): lambda fix: f"change in 'prompt' what the rule {fix.value} is about",
    ("moderation", "wait"): lambda _: "send it again when the server can be asked to moderate it",
    ("attested", "set"): lambda _: "confirm the guardrails with 'attested' set to true",
    ("draft", "wait"): lambda _: "name a draft that a review approved in 'promotes'",
    ("profile", "set"): lambda _: "use a gateway whose server offers this operation",
    ("catalog", "set"): lambda _: "have the operator add the model and its price to the catalog",
}
