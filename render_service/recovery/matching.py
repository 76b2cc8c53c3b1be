"""Compare a server's description of a video with the request of an attempt. Pure.

*same*: nothing the server says contradicts the request. *similar*: something differs, possibly the text;
servers trim, normalise and cut prompts, round lengths and rename models, so a person has to decide. *other*:
it has another source.
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
    """The result of comparing a video with a request; `text_differs` if its prompt is another."""

    verdict: Literal["same", "similar", "other"]
    differences: tuple[str, ...] = ()
    text_differs: bool = False


def likeness(attempt: Attempt, video: Observation) -> Likeness:
    """Compare what was requested with what a server has."""
    source, text_differs = _names_another_source(attempt, video), _shows_another_text(attempt, video)
    differences = (
        *(["the source"] if source else []),
        *(["the prompt"] if text_differs else []),
        *_differing(attempt, video),
    )
    verdict: Literal["same", "similar", "other"] = "similar" if differences else "same"
    return Likeness("other" if source else verdict, differences, text_differs)


def _names_another_source(attempt: Attempt, video: Observation) -> bool:
    shown_source = video.remixed_from_video_id
    return shown_source is not None and shown_source != attempt.asked.remix_video_id


def _shows_another_text(attempt: Attempt, video: Observation) -> bool:
    sent, shown = attempt.prompt, video.prompt
    return shown is not None and sent is not None and _words(shown) != _words(sent)


def _words(text: str) -> list[str]:
    """Return the words of a text, regardless of spacing and of how accents are encoded."""
    return unicodedata.normalize("NFC", text).split()


def _differing(attempt: Attempt, video: Observation) -> Iterator[str]:
    requested = attempt.asked
    if video.prompt is not None and attempt.prompt is None:
        yield "the prompt (ours was erased)"
    if (
        requested.operation is Operation.REMIX
        and video.remixed_from_video_id is None
        and video.prompt is None
    ):
        yield "the source (the server names none)"
    if video.created_at is None:
        yield "the time (the server names none)"
    if video.model is not None and video.model not in {attempt.intent.model, attempt.job.model}:
        yield f"the model ({video.model}, asked for {attempt.intent.model})"
    if _is_of_file(attempt):
        return
    if video.size is not None and video.size != requested.size:
        yield f"the size ({video.size}, asked for {requested.size})"
    if video.seconds is not None and video.seconds != str(requested.seconds):
        yield f"the length ({video.seconds} s, asked for {requested.seconds} s)"


def _is_of_file(attempt: Attempt) -> bool:
    """Return whether a file was edited: the size and length of the result are not guaranteed."""
    return attempt.asked.operation is Operation.EDIT and attempt.asked.remix_video_id is None


def may_stand_for(attempt: Attempt, other: Attempt) -> bool:
    """Return whether two attempts have identical requests, so that a video of one may serve the other."""
    return attempt.prompt is not None and _essence(attempt) == _essence(other)


def _essence(attempt: Attempt) -> dict[str, Any]:
    """Return what was sent; for a URL whose text was erased, its commitment."""
    sent = {name: value for name, value in comparable(attempt.asked).items() if name in SENT}
    url = attempt.asked.reference_url
    by_url = {"reference_url": url.commitment} if url is not None and url.text is None else {}
    return sent | by_url | {"prompt": attempt.prompt, "model": attempt.intent.model}
