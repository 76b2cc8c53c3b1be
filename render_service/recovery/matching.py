"""Whether a video a server describes may be what an attempt created. Pure.

*same*: nothing the server says contradicts the request. *similar*: the text agrees, as far as the server
shows it, and something else does not; servers round lengths and rename models, so a person has to look.
*other*: another text, or another source.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ledger.events import Operation
from render_service.recovery.attempts import Attempt
from sora_adapter.observation import Observation


@dataclass(frozen=True)
class Likeness:
    """How a video compares with a request, and what differs."""

    verdict: Literal["same", "similar", "other"]
    differences: tuple[str, ...] = ()


def likeness(attempt: Attempt, seen: Observation) -> Likeness:
    """Compare what was asked with what a server has."""
    decisive = tuple(_decisive(attempt, seen))
    if decisive:
        return Likeness("other", decisive)
    differing = tuple(_differing(attempt, seen))
    return Likeness("similar" if differing else "same", differing)


def _decisive(attempt: Attempt, seen: Observation) -> Iterator[str]:
    sent, shown = attempt.prompt, seen.prompt
    if shown is not None and sent is not None and shown.split() != sent.split():
        yield "the prompt"
    found = seen.remixed_from_video_id
    if found is not None and found != attempt.asked.remix_video_id:
        yield "the source"


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


def _essence(attempt: Attempt) -> tuple[object, ...]:
    asked = attempt.asked
    image, file, url = asked.input_reference, asked.source_file, asked.reference_url
    return (
        asked.operation,
        attempt.prompt,
        attempt.intent.model,
        asked.size,
        asked.seconds,
        image.sha256 if image else None,
        file.sha256 if file else None,
        (url.text or url.commitment) if url else None,
        asked.reference_file_id,
        asked.character_ids,
        tuple(sorted(asked.options.items())),
        asked.remix_video_id,
    )
