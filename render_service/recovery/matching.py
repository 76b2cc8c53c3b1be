"""How a video that a server describes compares with what an attempt asked for. Pure.

*same*: nothing the server says contradicts the request. *similar*: something differs, be it the text; servers
trim, normalise and cut prompts, round lengths and rename models, so a person has to look. *other*: it is made
of another source.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ledger.events import Operation
from render_service.recovery.attempts import Attempt
from render_service.submission.recorded_call import SENT, comparable
from sora_adapter.models import Observation


@dataclass(frozen=True)
class Likeness:
    """How a video compares with a request, and what differs; `text_differs` if its prompt is another."""

    verdict: Literal["same", "similar", "other"]
    differences: tuple[str, ...] = ()
    text_differs: bool = False


def likeness(attempt: Attempt, seen: Observation) -> Likeness:
    """Compare what was asked with what a server has."""
    source, text_differs = _names_another_source(attempt, seen), _shows_another_text(attempt, seen)
    differences = (
        *(["the source"] if source else []),
        *(["the prompt"] if text_differs else []),
        *_differing(attempt, seen),
    )
    verdict: Literal["same", "similar", "other"] = "similar" if differences else "same"
    return Likeness("other" if source else verdict, differences, text_differs)


def _names_another_source(attempt: Attempt, seen: Observation) -> bool:
    found = seen.remixed_from_video_id
    return found is not None and found != attempt.asked.remix_video_id


def _shows_another_text(attempt: Attempt, seen: Observation) -> bool:
    sent, shown = attempt.prompt, seen.prompt
    return shown is not None and sent is not None and _words(shown) != _words(sent)


def _words(text: str) -> list[str]:
    """Return the words of a text: how many spaces, and how an accent is encoded, makes no difference."""
    return unicodedata.normalize("NFC", text).split()


def _differing(attempt: Attempt, seen: Observation) -> Iterator[str]:
    asked = attempt.asked
    if seen.prompt is not None and attempt.prompt is None:
        yield "the prompt (ours is erased)"
    if asked.operation is Operation.REMIX and seen.remixed_from_video_id is None and seen.prompt is None:
        yield "the source (the server names none)"
    if seen.created_at is None:
        yield "the time (the server names none)"
    if seen.model is not None and seen.model not in {attempt.intent.model, attempt.job.model}:
        yield f"the model ({seen.model}, asked for {attempt.intent.model})"
    if _is_of_file(attempt):
        return
    if seen.size is not None and seen.size != asked.size:
        yield f"the size ({seen.size}, asked for {asked.size})"
    if seen.seconds is not None and seen.seconds != str(asked.seconds):
        yield f"the length ({seen.seconds} s, asked for {asked.seconds} s)"


def _is_of_file(attempt: Attempt) -> bool:
    """Say whether a file was edited: nobody promises the size and length of what comes of it."""
    return attempt.asked.operation is Operation.EDIT and attempt.asked.remix_video_id is None


def may_stand_for(one: Attempt, other: Attempt) -> bool:
    """Say whether two attempts asked for the very same, so that a video of one is as good for the other."""
    return one.prompt is not None and _essence(one) == _essence(other)


def _essence(attempt: Attempt) -> dict[str, Any]:
    """Return what was sent; of a URL whose text was erased, the commitment."""
    sent = {name: value for name, value in comparable(attempt.asked).items() if name in SENT}
    url = attempt.asked.reference_url
    by_url = {"reference_url": url.commitment} if url is not None and url.text is None else {}
    return sent | by_url | {"prompt": attempt.prompt, "model": attempt.intent.model}
