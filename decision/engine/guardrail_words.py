"""What the guardrails found in a request, in sentences; with words of the prompt only where it is at hand."""

import json
from collections import Counter
from collections.abc import Mapping

from decision.engine.guardrails import ModerationStatus, places_in
from decision.engine.inputs import split_names
from ledger.events import Considered, Fix, RenderDenied


def about_guardrails(ruling: Considered) -> list[str]:
    """Return in sentences what the guardrails found."""
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
    return [*terms, f"the server's moderation{moderated(ruling)}"] if others else terms


def moderated(ruling: Considered) -> str:
    """Return what a moderation found, the highest scores first: `` (MODEL) flagged violence 93 %``."""
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
"""The categories of a moderation that a sentence names."""
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


def _input(ruling: Considered, name: str) -> str | int | bool | None:
    return ruling.basis.inputs.get(name)
