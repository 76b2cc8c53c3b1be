"""Advice on a request before money is spent, and the content rules of every server.

Advice never blocks, and may be wrong. Its rules come from the Sora skill: one main action and one camera move
per shot, short dialogue for short clips, little on-screen text and a static camera for it, size and length by
option instead of prose, and a remix that says what stays the same. Missing details that make a render
pointless are in `decision.advice.reading`.

Servers enforce the content rules too, but only after the request was sent and perhaps charged. Prompts are
not searched for words: that would be a guess. A person confirms the rules (``--attest``); a policy can
require it (`decision.rules.policy`).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from decision.advice.reading import (
    Question,
    camera_moves,
    count_spoken_words,
    main_actions,
    missing_details,
    word_count,
)
from decision.one_change.clauses import clauses
from decision.one_change.grammar import Role
from decision.request.prompt import read_lines
from decision.request.request import RenderRequest
from ledger.terms import Operation

__all__ = ["Advice", "Question", "advise", "missing_details"]


WORDS_IN_TWO_SECONDS = 5
"""Words spoken in two seconds at an easy pace of 150 words a minute."""


MOST_WORDS_ON_SCREEN = 6
"""Words that viewers can read and models can spell."""


MOST_COLOURS = 5


_LENGTH = re.compile(
    r"\b(\d{1,3})[- ]?(?:s|sec|seconds?)[- ](?:long )?(?:ad|clip|film|spot|teaser|video)\b", re.IGNORECASE
)


_RESOLUTION = re.compile(r"\b(?:4k|8k|(?:720|1080|2160)p|\d{3,4} ?[x\u00d7] ?\d{3,4})\b", re.IGNORECASE)


class Advice(NamedTuple):
    """One piece of advice: a stable code, the field it concerns, and the text with what to do."""

    code: str
    field: str
    message: str


Lines = Mapping[str, str]
"""The texts of a request by field; ``prompt`` is the primary request."""


_Rule = Callable[[RenderRequest, Lines], Iterator[Advice]]


def advise(request: RenderRequest) -> tuple[Advice, ...]:
    """Return advice on `request`, the most important first; often none."""
    lines = {**read_lines(request.prompt), **request.fields}
    return tuple(advice for rule in _RULES for advice in rule(request, lines))


def _find_several_actions(_: RenderRequest, lines: Lines) -> Iterator[Advice]:
    field = "action" if "action" in lines else "prompt"
    actions = main_actions(lines.get(field, ""))
    if len(actions) > 1:
        yield Advice(
            "SEVERAL_ACTIONS",
            field,
            f"more than one main action ({', '.join(actions)}): a shot holds one; keep the one that matters,"
            " or make a clip of each",
        )


def _find_several_camera_moves(_: RenderRequest, lines: Lines) -> Iterator[Advice]:
    moves = _moves(lines)
    if len(moves) > 1:
        yield Advice(
            "SEVERAL_CAMERA_MOVES",
            "camera" if "camera" in lines else "prompt",
            f"more than one camera move ({', '.join(moves)}): a shot holds one; choose one,"
            " or make a clip of each",
        )


def _moves(lines: Lines) -> tuple[str, ...]:
    return camera_moves(
        "\n".join(lines[name] for name in ("prompt", "action", "camera", "timing") if name in lines)
    )


def _long_dialogue(request: RenderRequest, lines: Lines) -> Iterator[Advice]:
    words = count_spoken_words(lines.get("dialogue", ""))
    fitting = request.seconds * WORDS_IN_TWO_SECONDS // 2
    if words > fitting:
        yield Advice(
            "LONG_DIALOGUE",
            "dialogue",
            f"the dialogue has {words} words, and about {fitting} can be said in {request.seconds} seconds:"
            " shorten it, or use more --seconds",
        )


def _text_on_screen(_: RenderRequest, lines: Lines) -> Iterator[Advice]:
    words = word_count(lines.get("text", ""))
    if words > MOST_WORDS_ON_SCREEN:
        yield Advice(
            "LONG_TEXT",
            "text",
            f"the text on screen has {words} words: beyond {MOST_WORDS_ON_SCREEN} letters go wrong and nobody"
            " reads to the end; shorten it, or add the text in editing",
        )
    moves = _moves(lines)
    if words and moves:
        yield Advice(
            "TEXT_BEFORE_MOVING_CAMERA",
            "camera",
            f"text is shown while the camera moves ({', '.join(moves)}):"
            " a locked-off camera keeps it readable",
        )


def _shape_in_prose(request: RenderRequest, lines: Lines) -> Iterator[Advice]:
    prose = "\n".join(text for name, text in lines.items() if name not in {"text", "dialogue"})
    lengths = [match[1] for match in _LENGTH.finditer(prose) if int(match[1]) != request.seconds]
    if lengths:
        yield Advice(
            "LENGTH_IN_PROMPT",
            "prompt",
            f"the prompt speaks of {lengths[0]} seconds, and {request.seconds} will be made: only --seconds"
            " decides the length",
        )
    sizes = [match[0] for match in _RESOLUTION.finditer(prose) if match[0].lower() != request.size]
    if sizes:
        yield Advice(
            "SIZE_IN_PROMPT",
            "prompt",
            f"the prompt speaks of {sizes[0]}, and {request.size} will be made: only --size decides the size",
        )


def _find_many_colours(_: RenderRequest, lines: Lines) -> Iterator[Advice]:
    colours = [part for part in re.split(r"[,/;]|\band\b", lines.get("palette", "")) if part.strip()]
    if len(colours) > MOST_COLOURS:
        yield Advice(
            "MANY_COLOURS",
            "palette",
            f"the palette names {len(colours)} colours: three to five anchors hold a clip together",
        )


def _no_invariant(request: RenderRequest, lines: Lines) -> Iterator[Advice]:
    if request.operation not in (Operation.REMIX, Operation.EDIT) or "constraints" in lines:
        return
    if not any(clause.role is Role.INVARIANT for clause in clauses(lines.get("prompt", ""))):
        yield Advice(
            "NOTHING_KEPT",
            "prompt",
            "the prompt does not say what stays: add 'same shot and framing', or use --constraints",
        )


def _find_further_images(request: RenderRequest, _: Lines) -> Iterator[Advice]:
    if request.character_ids:
        yield Advice(
            "CHARACTER_NAME_NEEDED",
            "character_ids",
            "a character appears only if its name stands in the prompt, letter by letter as it was created",
        )
    if request.further_images and request.input_reference and len(request.sent_images) == 1:
        count = len(request.further_images)
        others = "another image is" if count == 1 else f"{count} other images are"
        yield Advice(
            "IMAGES_NOT_SENT",
            "further_images",
            f"a video has one first frame: {request.input_reference.name} is sent,"
            f" {others} recorded with the request and not sent",
        )


_RULES: tuple[_Rule, ...] = (
    _find_several_actions,
    _find_several_camera_moves,
    _long_dialogue,
    _text_on_screen,
    _no_invariant,
    _find_further_images,
    _shape_in_prose,
    _find_many_colours,
)


class Guardrail(NamedTuple):
    """One rule: a stable code, the rule in one line, and its meaning in practice."""

    code: str
    rule: str
    meaning: str


GUARDRAILS = (
    Guardrail(
        code="SUITABLE_UNDER_18",
        rule="Everything shown and said is suitable for people under 18.",
        meaning="No sexual content, no gore, nothing that teaches harm; when in doubt, leave it out.",
    ),
    Guardrail(
        code="NO_REAL_PEOPLE",
        rule="No real person appears or is imitated, and no public figure either.",
        meaning="Describe a role and a look, not a name: 'a cellist in her sixties', 'a tired courier'.",
    ),
    Guardrail(
        code="NO_PROTECTED_CHARACTERS",
        rule="No character that belongs to someone else.",
        meaning="Figures from films, games, comics or brands need their owner's permission; invent your own.",
    ),
    Guardrail(
        code="NO_PROTECTED_MUSIC",
        rule="No music that belongs to someone else.",
        meaning="Name a mood, tempo or instrument, not a song, a lyric or 'in the voice of' a performer.",
    ),
    Guardrail(
        code="NO_FACES_IN_IMAGES",
        rule="No human face in a reference image.",
        meaning="Servers reject such images. Crop the face out, or describe the person in the prompt.",
    ),
)
"""In display order."""


ATTESTATION = "I have read the guardrails, and what I ask for keeps to them."
"""The statement behind ``--attest``."""
