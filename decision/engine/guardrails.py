"""Findings of a policy's guardrails in a request, as inputs of its decision, and their effects.

The inputs record which rules matched, where their terms are in the prompt, and how a server moderated it:
categories and scores, never words. `find_in` is the only place that reads the text, so a recorded decision
can be repeated after the text is erased.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from decision.rules.guardrails import FLAGGED, MISSING, Action, Category, Guardrails
from decision.rules.terms import find, fold, fold_term

MOST_PLACES = 20
"""The maximum number of places recorded for one rule."""


class ModerationStatus(StrEnum):
    """The outcome of a moderation request; only ``checked`` has a result."""

    CHECKED = "checked"
    NOT_OFFERED = "not_offered"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    NOT_ASKED = "not_asked"


class ModerationResult(BaseModel):
    """A server's moderation of a prompt: the categories it flagged, and scores in parts per million."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: ModerationStatus
    model: str | None = None
    flagged: tuple[Category, ...] = ()
    ppm: Mapping[Category, Annotated[int, Field(ge=0, le=1_000_000)]] = Field(default_factory=dict)


NOT_ASKED = ModerationResult(status=ModerationStatus.NOT_ASKED)


def find_in(
    text: str | None, guardrails: Guardrails | None, result: ModerationResult | None
) -> dict[str, str | None]:
    """Return the inputs about `text` under `guardrails`; without a text, its terms are unknown."""
    if guardrails is None:
        return {}
    places = _places(text, guardrails) if text is not None and guardrails.terms else None
    codes = list(places or ())
    inputs: dict[str, str | None] = {} if places is None else {"terms_found": _join_places(places)}
    if guardrails.moderation is not None:
        result = result or NOT_ASKED
        codes += moderation_codes(guardrails, result)
        inputs |= _read_result(result)
    return {"guardrails": ",".join(sorted(codes)), **inputs}


def moderation_codes(guardrails: Guardrails, result: ModerationResult) -> list[str]:
    """Return the codes of the rules that match `result`; every flagged category matches some rule."""
    if guardrails.moderation is None:
        return []
    if result.status is not ModerationStatus.CHECKED:
        return [MISSING]
    rules = guardrails.moderation.rules
    named = {name for rule in rules for name in rule.categories}
    others = [FLAGGED] if set(result.flagged) - named else []
    return [rule.code for rule in rules if rule.matches(result.flagged, result.ppm)] + others


def is_denied_by_terms(text: str, guardrails: Guardrails, purpose: str) -> bool:
    """Return whether a rule about terms denies `text`: then no server needs to see it."""
    return bool(codes_that(Action.DENY, _places(text, guardrails), guardrails, purpose))


def was_sent_to_moderation(inputs: Mapping[str, object]) -> bool:
    """Return whether recorded inputs show that a server was asked to moderate the prompt."""
    never = {ModerationStatus.NOT_ASKED, ModerationStatus.NOT_OFFERED}
    return inputs.get("moderation_status") not in {None, *never}


def result_in(inputs: Mapping[str, object]) -> ModerationResult | None:
    """Return the result in recorded inputs; None if no server was asked."""
    if not inputs.get("moderation_status"):
        return None
    pairs = [pair.rpartition(":") for pair in str(inputs.get("moderation_ppm") or "").split(",") if pair]
    return ModerationResult(
        status=ModerationStatus(str(inputs["moderation_status"])),
        model=None if inputs.get("moderation_model") is None else str(inputs["moderation_model"]),
        flagged=tuple(filter(None, str(inputs.get("moderation_flagged") or "").split(","))),
        ppm={name: int(value) for name, _, value in pairs},
    )


def places_in(terms_found: str) -> Iterator[tuple[str, int, int]]:
    """Yield code, start and end of the places in recorded inputs (code points of the sent prompt)."""
    for pair in filter(None, terms_found.split(",")):
        code, _, place = pair.partition(":")
        start, _, end = place.partition("-")
        yield code, int(start), int(end)


def codes_that(action: Action, codes: Iterable[str], guardrails: Guardrails, purpose: str) -> list[str]:
    """Return the `codes` whose rules do `action` with a request for `purpose`."""
    return [code for code in codes if guardrails.action(code, purpose) is action]


@lru_cache(maxsize=256)
def _places(text: str, guardrails: Guardrails) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return the places of each rule's terms in `text`, by code, up to a maximum per rule."""
    searched = fold(text)
    found: dict[str, tuple[tuple[int, int], ...]] = {}
    for rule in guardrails.terms:
        places = sorted({place for term in rule.terms for place in find(searched, fold_term(term))})
        if places:
            found[rule.code] = tuple(islice(places, MOST_PLACES))
    return found


def _join_places(places: Mapping[str, tuple[tuple[int, int], ...]]) -> str:
    pairs = ((start, end, code) for code, own in places.items() for start, end in own)
    return ",".join(f"{code}:{start}-{end}" for start, end, code in sorted(pairs))


def _read_result(result: ModerationResult) -> dict[str, str | None]:
    checked = result.status is ModerationStatus.CHECKED
    scores = ",".join(f"{name}:{value}" for name, value in sorted(result.ppm.items()))
    return {
        "moderation_status": result.status.value,
        "moderation_model": result.model,
        "moderation_flagged": ",".join(sorted(result.flagged)) if checked else None,
        "moderation_ppm": scores if checked else None,
    }
