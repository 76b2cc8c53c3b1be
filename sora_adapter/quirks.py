"""Bring a server's answer into the form of the protocol, undoing the quirks that its profile lists. Pure.

Each function takes an answer and returns it, changed or not. ``profiles.toml`` says which quirk belongs to
which server, with the source; quirks of requests are in `sora_adapter.requests`.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from sora_adapter.profiles import Quirk
from sora_adapter.responses import LARGEST_RECORDED, Answer

_PREFIX = "llm_provider-"
_COST = "x-litellm-response-cost"
_MICROS = 1_000_000

Quirks = Collection[Quirk]


def plain(answer: Answer, quirks: Quirks) -> Answer:
    """Undo the quirks of every answer: headers and the error envelope."""
    if Quirk.PREFIXED_HEADERS in quirks:
        answer = replace(answer, headers=_without_prefix(answer.headers))
    if Quirk.ERROR_IN_MESSAGE in quirks and not answer.is_success:
        answer = _with_document(answer, _original_error(answer))
    return answer


def plain_video(answer: Answer, quirks: Quirks) -> Answer:
    """Undo the quirks of an answer about one video."""
    answer = plain(answer, quirks)
    if Quirk.FAILED_JOB_IS_AN_HTTP_ERROR in quirks and _is_failed_job(answer.document):
        return replace(answer, http_status=200)
    return answer


def plain_deletion(answer: Answer, quirks: Quirks) -> Answer:
    """Undo the quirks of a confirmed deletion."""
    answer = plain(answer, quirks)
    shown = (answer.document or {}).get("status") == "deleted"
    if Quirk.DELETION_SHOWS_THE_VIDEO in quirks and answer.is_success and shown:
        return _with_document(answer, {"deleted": True})
    return answer


def reported_cost_usd_micros(answer: Answer, quirks: Quirks) -> int | None:
    """Return the cost that the server reports for the call; None if it reports none, or no valid price.

    LiteLLM sends 0 with every error, even if the video was created before.
    """
    if Quirk.COST_HEADER not in quirks or not answer.is_success:
        return None
    try:
        micros = Decimal(answer.headers.get(_COST, "")) * _MICROS
    except InvalidOperation:
        return None
    return round(micros) if micros.is_finite() and 0 <= micros <= LARGEST_RECORDED else None


def _with_document(answer: Answer, document: Mapping[str, Any] | None) -> Answer:
    return answer if document is None else replace(answer, text=json.dumps(document))


def _without_prefix(headers: Mapping[str, str]) -> dict[str, str]:
    """Add the headers of the server behind the gateway; the gateway's own take precedence."""
    forwarded = {name.removeprefix(_PREFIX): value for name, value in headers.items() if _PREFIX in name}
    return forwarded | dict(headers)


def _original_error(answer: Answer) -> dict[str, Any] | None:
    """Find the first JSON object with an error inside the message of an envelope."""
    message = answer.error.message or ""
    for start in (index for index, letter in enumerate(message) if letter == "{"):
        try:
            found, _ = json.JSONDecoder().raw_decode(message, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(found.get("error"), dict):
            return {"error": found["error"]}
    return None


def _is_failed_job(document: dict[str, Any] | None) -> bool:
    return document is not None and document.get("object") == "video" and document.get("status") == "failed"
