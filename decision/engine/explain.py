"""A ruling in sentences for people: what was decided and why, and what to do after a denial.

`list_reasons` needs the event alone, so an old decision reads the same as a fresh one. `what_now` gives the
next step as command-line flags; with the request at hand it can also repeat the person's own words, which the
event never contains.
"""

import json
import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import chain, repeat

from decision.engine.guardrails import ModerationStatus, places_in
from decision.engine.inputs import split_names
from decision.engine.judge import explain_judge
from decision.money import format_usd, usd_digits
from decision.one_change.split import split_by
from decision.request.attachments import SERVER_OPTIONS, flag_of
from decision.request.request import RenderRequest
from decision.request.validators import NOUNS
from ledger.events import (
    Candidate,
    Considered,
    DenialTrace,
    Fix,
    GateFailure,
    RenderDecided,
    RenderDenied,
    RenderHeld,
)
from ledger.terms import Operation

__all__ = [
    "explain_candidate",
    "explain_failure",
    "find_denied_field",
    "format_usd",
    "list_reasons",
    "what_now",
]

_Reason = Callable[[RenderDecided], str]


def list_reasons(ruling: Considered) -> list[str]:
    """Return the reasons of a ruling, the most important first."""
    if isinstance(ruling, RenderHeld):
        return _explain_hold(ruling)
    return _explain_allow(ruling) if isinstance(ruling, RenderDecided) else _explain_denial(ruling)


def what_now(
    denied: RenderDenied | RenderHeld,
    request: RenderRequest | None = None,
    *,
    job_id: str = "JOB",
    draft: str | None = None,
    sent: str | None = None,
) -> list[str]:
    """Return the next steps after a denial, or for what is held; `job_id` is what to call the job there.

    With `request`, several changes become one command each. `draft` is the job it was made from, which the
    event omits if there is no source; `request` has it too. `sent` is the prompt as it would be sent, if only
    the record is at hand.
    """
    sent = request.sent_prompt if request else sent
    if isinstance(denied, RenderHeld):
        return [
            f"another person: sora-ledger approve {job_id}, or sora-ledger reject {job_id}",
            f"you, to withdraw it: sora-ledger cancel {job_id}",
        ]
    draft = draft or (request.promotes if request else None)
    steps = [_step(fix, denied, draft, sent) for fix in denied.denial_trace.minimal_fix]
    if request is not None and any(fix.action == "split" for fix in denied.denial_trace.minimal_fix):
        steps += _split_commands(denied, request)
    return steps


_DENIED_BY_NAME = frozenset({"size", "seconds", "model", "budget"})
"""Fields that the detail codes of their denials begin with."""


def find_denied_field(trace: DenialTrace) -> str | None:
    """Return the field that a denial is about; if its code names none, the first one to change."""
    named = trace.detail_code.partition("_")[0].lower()
    if named in _DENIED_BY_NAME:
        return named
    return next((fix.field for fix in trace.minimal_fix), None)


def _explain_hold(held: RenderHeld) -> list[str]:
    people = "a person has" if held.approvals_needed == 1 else f"{held.approvals_needed} people have"
    rules = ", ".join(held.reason_codes)
    choice = held.choice
    cost = format_usd(choice.cost_usd_micros or 0)
    unclear = held.basis.inputs.get("change_verdict") == "ambiguous"
    return [
        f"{people} to approve it first, by the policy's rule {rules}",
        *(["whether the prompt asks for one change or several could not be told"] if unclear else ()),
        *explain_judge(held.basis.inputs),
        *explain_guardrails(held),
        f"every gate was passed; approved, it would be {choice.model}, estimated to cost {cost}",
    ]


def _explain_allow(decided: RenderDecided) -> list[str]:
    cost = format_usd(decided.cost_usd_micros)
    reasons = [_reason(code, decided) for code in decided.reason_codes]
    return [*reasons, f"it is estimated to cost {cost}", *_explain_runner_up(decided)]


def _reason(code: str, decided: RenderDecided) -> str:
    """Return a reason as a sentence; an unknown code, from another version, is returned unchanged."""
    return _REASONS[code](decided) if code in _REASONS else code


_REASONS: Mapping[str, _Reason] = {
    "HIGHEST_SCORE": lambda decided: (
        f"{decided.model} because the purpose is {_input(decided, 'purpose')}"
        f" and {_input(decided, 'size')} is offered by it"
    ),
    "ONLY_ONE_PASSED_GATES": lambda decided: (
        f"{decided.model} because it is the only model that passed every gate"
    ),
    "EXPLICIT_MODEL": lambda decided: f"{decided.model} because it was asked for by name",
    "POLICY_AGREES": lambda _: "the policy would have chosen it too",
    "POLICY_WOULD_CHOOSE_OTHER": lambda decided: (
        f"the policy would have chosen {decided.policy_choice} for the purpose {_input(decided, 'purpose')}"
    ),
    "MODEL_OF_SOURCE": lambda decided: f"{decided.model} because the video it starts from was made with it",
    "SINGLE_CHANGE": lambda decided: (
        f"the prompt asks for one change: {str(_input(decided, 'change_aspects')).partition(':')[0]}"
    ),
    "SINGLE_CHANGE_NOT_ESTABLISHED": lambda _: (
        "whether the prompt asks for one change or several could not be told; it was let through and marked"
    ),
    "SINGLE_CHANGE_DECLARED": lambda decided: (
        f"the requester declared that it changes one thing: {_input(decided, 'declared_change')}"
        " (the words of the prompt do not tell)"
    ),
    "JUDGED": lambda decided: explain_judge(decided.basis.inputs)[0],
    "JUDGE_MISSING": lambda decided: explain_judge(decided.basis.inputs)[0],
    "EDIT_OF_SEVERAL_CHANGES": lambda decided: (
        f"the prompt asks for {_input(decided, 'change_count')} changes; an edit may, a remix may not"
    ),
    "FACE_IN_REFERENCE": lambda _: (
        "warning: the reference image seems to show a human face, which servers refuse"
    ),
    "FACES_NOT_CHECKED": lambda _: (
        "the reference image was not looked at for faces: the extra `faces` is not installed"
    ),
    "TERMS_NOT_SEARCHED": lambda _: "its words were not searched for the terms of the policy in force now",
    "TERM_FOUND": lambda decided: (
        f"warning: the prompt contains terms of the policy's rules {rules_of_terms(decided)}"
    ),
    "MODERATION_FLAGGED": lambda decided: f"warning: the server's moderation{describe_moderation(decided)}",
    "MODERATION_PASSED": lambda _: "the server's moderation found nothing in the prompt that a rule is about",
    "MODERATION_MISSING": lambda decided: (
        f"warning: the prompt was not moderated by the server: {not_moderated(decided)}"
    ),
    "APPROVED": lambda _: "a person approved it, as the policy requires",
    "OVERRIDDEN": lambda decided: f"an entitled person overrode {_input(decided, 'overridden')}",
    "EDIT_OF_NO_CHANGE_FOUND": lambda _: (
        "no change was found in the prompt; an edit is not held to one, so it was let through and marked"
    ),
}


def _explain_runner_up(decided: RenderDecided) -> list[str]:
    other = next((item for item in decided.basis.candidates if item.model == decided.runner_up), None)
    if other is None:
        return []
    if other.gates_failed:
        return [explain_failure(other, failure, decided) for failure in other.gates_failed]
    cost = format_usd(other.cost_usd_micros or 0)
    return [f"{other.model} would cost {cost} instead of {format_usd(decided.cost_usd_micros)}"]


_FLAGS: Mapping[str, str] = {
    **{name: flag_of(name) for name in SERVER_OPTIONS},
    "input_references": "--all-images",
    "url": "--input-reference-url",
    "file_id": "--input-reference-file-id",
}
_NAMED = {operation.value: noun for operation, noun in NOUNS.items()}
_FAILURES: Mapping[str, str] = {
    "OPERATION_NOT_OFFERED": "the profile {profile} does not offer {found} (offered: {expected})",
    "OPTION_NOT_OFFERED": "the profile {profile} does not take {found} (it takes {expected})",
    "ATTESTATION_MISSING": "the policy asks for the guardrails to be confirmed, and they were not",
    "DRAFT_NOT_APPROVED": ("the policy asks for {expected} before a render for {purpose}: {found}"),
    "MODEL_RETIRED": "{model} is not served any more: {found} (served: {expected})",
    "FACE_IN_IMAGE": "the reference image shows a human face, as far as can be told; the policy wants none",
    "FACES_NOT_CHECKED": "the policy wants reference images to be looked at for faces, and nobody could",
    "SIZE_NOT_OFFERED": "size {found} is not offered by {model} (offered: {expected})",
    "SECONDS_NOT_OFFERED": "{found} seconds are not offered by {model} (offered: {expected})",
    "SOURCE_DELETED": "the video to {verb} was deleted",
    "SOURCE_FAILED": "the video to {verb} failed, so there is nothing to start from",
    "SOURCE_NOT_COMPLETED": "the video to {verb} is {found}; only a completed one can be {verb}ed",
    "EXTENDED_TOO_OFTEN": "a video can be extended {expected} times; this one has been {found} times",
    "EXTENDED_TOO_FAR": "a video can be extended to {expected} seconds in total; this one would have {found}",
    "MODEL_FIXED_BY_SOURCE": "{operation} keeps the model of its source, {expected}; {found} was asked for",
    "SIZE_FIXED_BY_SOURCE": "{operation} keeps the size of its source, {expected}; {found} was asked for",
    "SECONDS_FIXED_BY_SOURCE": (
        "{operation} keeps the {expected} seconds of its source; {found} were asked for"
    ),
    "SEVERAL_CHANGES": "the prompt asks for {found}; a remix changes exactly one thing",
    "NO_CHANGE_FOUND": "the prompt only says what stays; a remix changes exactly one thing",
    "CHANGE_UNCLEAR": (
        "it cannot be told whether the prompt asks for one change or several;"
        " a remix changes exactly one thing"
    ),
    "TERM_NOT_ALLOWED": "the prompt contains terms that the policy does not allow, by its rule {found}",
    "MODERATION_FLAGGED": "the server's moderation{moderated}; the policy's rule {found} denies that",
    "MODERATION_MISSING": (
        "the policy wants the server to moderate the prompt first, and it was not: {not_moderated}"
    ),
    "PRICE_UNKNOWN": "the cost cannot be estimated; the catalog has no price: {found}",
    "COST_ABOVE_LIMIT": "{model} would cost {found}; the limit allows {expected}",
    "BUDGET_EXHAUSTED": "{model} would cost {found}; the budget{named} allows {expected}",
}


def explain_failure(candidate: Candidate, failure: GateFailure, ruling: Considered) -> str:
    """Return, as a sentence, why a candidate failed a gate."""
    are_options = failure.detail_code == "OPTION_NOT_OFFERED"
    if failure.detail_code == "NO_CHANGE_FOUND" and _wishes_other_shape(candidate):
        return "nothing else is to change; a remix changes exactly one thing"
    if failure.detail_code not in _FAILURES:  # from another version: the code and the compared values
        return f"{failure.detail_code} (expected {failure.expected}, found {failure.found})"
    return _FAILURES[failure.detail_code].format(
        model=candidate.model,
        expected=_as_flags(failure.expected) if are_options else failure.expected,
        found=_as_flags(failure.found) if are_options else failure.found,
        verb=_input(ruling, "operation"),
        operation=_NAMED.get(str(_input(ruling, "operation")), "the request"),
        profile=_input(ruling, "profile"),
        purpose=_input(ruling, "purpose"),
        named=_name_budgets(ruling),
        moderated=describe_moderation(ruling),
        not_moderated=not_moderated(ruling),
    )


def _wishes_other_shape(candidate: Candidate) -> bool:
    return any(failure.detail_code.endswith("_FIXED_BY_SOURCE") for failure in candidate.gates_failed)


def explain_candidate(candidate: Candidate, ruling: Considered) -> list[str]:
    """Return why another candidate was chosen, or why this one failed its gates."""
    if candidate.gates_failed:
        return [explain_failure(candidate, failure, ruling) for failure in candidate.gates_failed]
    if not isinstance(ruling, RenderDecided) or candidate.model == ruling.model:
        return []
    if _input(ruling, "wished_model"):
        return [f"{ruling.model} was asked for by name"]
    chosen = next((item for item in ruling.basis.candidates if item.model == ruling.model), None)
    if chosen is None:
        return []
    cost = format_usd(candidate.cost_usd_micros or 0)
    return [
        f"its score is {candidate.score}, that of {ruling.model} {chosen.score}",
        f"it would cost {cost} instead of {format_usd(ruling.cost_usd_micros)}",
    ]


def _as_flags(options: str) -> str:
    """Return the names of `options` as they are typed; some server options cannot be requested."""
    flags = [_FLAGS[name] for name in options.split(", ") if name in _FLAGS]
    return ", ".join(flags) or "none of these options"


def _name_budgets(ruling: Considered) -> str:
    names = split_names(str(_input(ruling, "budgets") or ""))
    among = "the least left of " if len(names) > 1 else ""
    return f" ({among}{', '.join(names)})" if names else ""


def _explain_denial(denied: RenderDenied) -> list[str]:
    """Return why each candidate was ruled out, the reason of the trace first, and the invariant behind it."""
    trace = denied.denial_trace
    failures = [(item, failure) for item in denied.basis.candidates for failure in item.gates_failed]
    own = (trace.detail_code, trace.expected, trace.found)
    failures.sort(key=lambda pair: (pair[1].detail_code, pair[1].expected, pair[1].found) != own)
    reasons = dict.fromkeys(explain_failure(candidate, failure, denied) for candidate, failure in failures)
    judge = explain_judge(denied.basis.inputs)
    return [*reasons, *judge, f"this is required by {trace.failed_invariant} ({trace.code})"]


def _step(fix: Fix, denied: RenderDenied, draft: str | None, sent: str | None) -> str:
    value = fix.value if isinstance(fix.value, int) else 0
    steps = {
        ("model", "set"): f"use --model {fix.value}",
        ("size", "set"): f"use --size {fix.value}",
        ("seconds", "set"): f"use --seconds {fix.value}",
        ("max_cost_usd_micros", "raise"): f"use --max-cost {usd_digits(value)}",
        ("budget_left_usd_micros", "raise"): f"have the budget raised until {format_usd(value)} are left",
        ("source", "wait"): f"wait until the video is completed: sora-ledger poll --id {_source_id(denied)}",
        ("operation", "set"): "render a new video instead: sora-ledger create with a prompt of its own",
        (
            "model",
            "drop",
        ): f"{_explain_leaving_out('model', denied)}, or render a new video: {_create_with(denied)}",
        (
            "size",
            "drop",
        ): f"{_explain_leaving_out('size', denied)}, or render a new video: {_create_with(denied)}",
        (
            "seconds",
            "drop",
        ): f"{_explain_leaving_out('seconds', denied)}, or render a new video: {_create_with(denied)}",
        (
            "prompt",
            "split",
        ): f"make {fix.value} remixes, one change each, each of the result of the one before",
        ("prompt", "set"): _change_step(denied),
        ("input_reference", "drop"): (
            "crop the face out, or leave out the image and describe the person in the prompt"
        ),
        ("reference_faces", "set"): "have images looked at: pip install 'sora-ledger[faces]', then again",
        ("declared_change", "set"): (
            f"if it changes one thing, declare which: --declare-change {fix.value};"
            " or say it as --change KEY=VALUE instead of --prompt"
        ),
        ("terms", "drop"): terms_step(fix, denied, sent),
        ("moderation", "drop"): (
            f"change what the rule {fix.value} is about; do not rephrase it to slip past the check"
        ),
        ("moderation", "wait"): (
            "try again when the server can be asked, or use the --profile of one that has moderations"
        ),
        ("attested", "set"): "read the guardrails and confirm them with --attest",
        ("draft", "wait"): _draft_step(denied, draft),
        ("profile", "set"): f"use --profile with the name of a server that offers {_list_needed(denied)}",
        **{
            (name, "drop"): f"leave out {flag_of(name)}, or use the --profile of a server that takes it"
            for name in SERVER_OPTIONS
        },
        ("input_references", "drop"): (
            "send only the first with --first-image, or use the --profile of a server that takes several"
        ),
        ("character_ids", "drop"): "leave out --character-id, or use the --profile of a server that has them",
        ("reference_url", "drop"): "leave out --input-reference-url and give the file with --input-reference",
        ("reference_file_id", "drop"): (
            "leave out --input-reference-file-id and give the file with --input-reference"
        ),
        ("catalog", "set"): "add the model and its price to the catalog, or render a new video with create",
    }
    unknown = f"{fix.action} {fix.field}" if fix.value is None else f"{fix.action} {fix.field}: {fix.value}"
    return steps.get((fix.field, fix.action), unknown)


def _explain_leaving_out(wish: str, denied: RenderDenied) -> str:
    """Return how to drop a requested value; for a remix it can come from two places."""
    is_remix = _input(denied, "operation") == Operation.REMIX.value
    return f"leave out --{wish} or --change {wish}" if is_remix else f"leave out --{wish}"


def _change_step(denied: RenderDenied) -> str:
    fixes = denied.denial_trace.minimal_fix
    if any(fix.action == "drop" and fix.field in {"model", "size", "seconds"} for fix in fixes):
        return "and name, with --prompt or --change, one thing to change that a remix does not keep"
    return "say in --prompt what is to change"


def _draft_step(denied: RenderDenied, draft: str | None) -> str:
    if _input(denied, "draft_approved") is None:
        return (
            "render a draft, have it reviewed (sora-ledger review JOB --verdict approved), and name it with"
            " --promotes JOB"
        )
    made_from = _input(denied, "source_job") or draft or "JOB"
    return f"have the draft reviewed: sora-ledger review {made_from} --verdict approved"


def _list_needed(denied: RenderDenied) -> str:
    instead = any(fix.field == "operation" for fix in denied.denial_trace.minimal_fix)
    needed = Operation.CREATE.value if instead else str(_input(denied, "operations_needed"))
    return " and ".join(needed.split(","))


def _create_with(denied: RenderDenied) -> str:
    wished = ((flag, _input(denied, f"wished_{flag}")) for flag in ("model", "size", "seconds"))
    flags = " ".join(f"--{flag} {value}" for flag, value in wished if value is not None)
    return f"sora-ledger create {flags}"


def _split_commands(denied: RenderDenied, request: RenderRequest) -> list[str]:
    """Return one remix command per change, with the other values of the request."""
    shown = len(denied.denial_trace.changes)
    parts = split_by(request.prompt, request.fields, denied.denial_trace.changes)
    texts = map(shlex.quote, parts[:shown])
    sources = chain([_source_id(denied)], repeat("ID_OF_THE_REMIX_BEFORE"))
    return [
        f"sora-ledger remix --id {source} --prompt {text}"
        for source, text in zip(sources, texts, strict=False)
    ]


def _source_id(denied: RenderDenied) -> str:
    return str(_input(denied, "source_job") or _input(denied, "source_video_id"))


def _input(ruling: Considered, name: str) -> str | int | bool | None:
    return ruling.basis.inputs.get(name)


def explain_guardrails(ruling: Considered) -> list[str]:
    """Return the findings of the guardrails in sentences."""
    codes = Counter(code for code, _, _ in places_in(str(_input(ruling, "terms_found") or "")))
    terms = [
        f"the prompt contains {count} {'term' if count == 1 else 'terms'} of the policy's rule {code}"
        for code, count in codes.items()
    ]
    status = _input(ruling, "moderation_status")
    if status is None:
        return terms
    if status != ModerationStatus.CHECKED:
        return [*terms, f"the prompt was not moderated by the server: {not_moderated(ruling)}"]
    others = set(split_names(str(_input(ruling, "guardrails") or ""))) - codes.keys()
    return [*terms, f"the server's moderation{describe_moderation(ruling)}"] if others else terms


def describe_moderation(ruling: Considered) -> str:
    """Return the findings of a moderation, the highest scores first: `` (MODEL) flagged violence 93 %``."""
    pairs = [pair.rpartition(":") for pair in split_names(str(_input(ruling, "moderation_ppm") or ""))]
    scores = {name: int(value) for name, _, value in pairs}
    flagged = split_names(str(_input(ruling, "moderation_flagged") or ""))
    shown = sorted(flagged or scores, key=lambda name: (-scores.get(name, 0), name))[:MOST_CATEGORIES]
    percents = (f"{name} {scores[name] // _PPM_PER_PERCENT} %" if name in scores else name for name in shown)
    model = _input(ruling, "moderation_model")
    by = f" ({model})" if model else ""
    return f"{by} {'flagged' if flagged else 'scored'} {', '.join(percents) or 'nothing'}"


def not_moderated(ruling: Considered) -> str:
    """Return why the server did not moderate the prompt."""
    status = str(_input(ruling, "moderation_status") or ModerationStatus.NOT_ASKED)
    return _NOT_MODERATED.get(status, status).format(profile=_input(ruling, "profile"))


MOST_CATEGORIES = 3
"""The maximum number of moderation categories in a sentence."""
_PPM_PER_PERCENT = 10_000
_NOT_MODERATED: Mapping[str, str] = {
    ModerationStatus.NOT_OFFERED: "the profile {profile} has no moderations",
    ModerationStatus.UNREACHABLE: "it did not answer in time",
    ModerationStatus.REFUSED: "it refused to",
    ModerationStatus.UNREADABLE: "its answer could not be read",
    ModerationStatus.NOT_ASKED: "it was not asked",
}


def rules_of_terms(ruling: Considered) -> str:
    """Return the codes of the rules whose terms the prompt contains."""
    places = places_in(str(_input(ruling, "terms_found") or ""))
    return ", ".join(dict.fromkeys(code for code, _, _ in places))


def terms_step(fix: Fix, denied: RenderDenied, sent: str | None) -> str:
    """Return what to leave out, in the words of the prompt if it is at hand."""
    rules = str(fix.value).split(", ")
    places = places_in(str(_input(denied, "terms_found") or ""))
    words = dict.fromkeys(sent[start:end] for code, start, end in places if sent and code in rules)
    named = ", ".join(json.dumps(word, ensure_ascii=False) for word in words)
    what = named or "the words that it names (sora-ledger policy show --json)"
    return f"leave out {what}: the rule {fix.value} does not allow them"
