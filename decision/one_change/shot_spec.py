"""A structured remix: the spec of the shot is known, and the new spec differs in exactly one line.

A spec holds the lines of a shot by field (`decision.request.prompt.FIELDS`, and ``prompt`` for the primary
request). Properties that a remix cannot change (model, size, length) are refused with the command that can.
"""

from collections.abc import Mapping
from typing import NamedTuple

from decision.errors import BadRequest
from decision.one_change.lexicon import FIELD_ASPECTS
from decision.request import validators
from decision.request.prompt import FIELDS, LABELS, find_labelled_lines, read_lines

Spec = Mapping[str, str]

NAMES: Mapping[str, str] = {
    "subject": "subject",
    "scene": "scene",
    "action": "action",
    "camera": "camera",
    "lighting": "lighting",
    "palette": "color palette",
    "style": "style",
    "timing": "timing",
    "audio": "audio",
    "text": "on-screen text",
    "dialogue": "dialogue",
}
"""The aspects that can be changed, in the words of a prompt."""

_IN_EVERY_SHOT = ("subject", "scene", "action", "camera", "lighting", "palette")
"""Aspects of every shot, described by a line or not."""

_FIXED: Mapping[str, str] = {
    "model": "render a new video with it: sora-ledger create --model {value}",
    "size": "render a new video in it: sora-ledger create --size {value}",
    "seconds": "make it longer with sora-ledger extend, or a new one: sora-ledger create --seconds {value}",
}


class ChangedSpec(NamedTuple):
    """The request for a remix, `prompt` and `fields`, and the `spec` of the resulting shot."""

    prompt: str
    fields: dict[str, str]
    spec: dict[str, str]


def spec_of(prompt: str, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the spec of a shot that was requested with `prompt` and `fields`."""
    return {**read_lines(prompt), **fields}


def change_spec(parent: Spec, key: str, value: str) -> ChangedSpec:
    """Return `parent` with `value` for `key`, and how to request it; `parent` is known from `spec_of`.

    A later change starts from the previous `spec`. `BadRequest` unless exactly one thing would change.
    """
    if key in _FIXED:
        way_out = _FIXED[key].format(value=validators.show_value(value))
        raise BadRequest(
            f"a remix keeps the {key} of its source; {way_out}",
            param=key,
            expected=f"the {key} of the source",
            found=f"another {key}",
        )
    _check_changeable(key)
    text = _check_line(key, value)
    if parent.get(key, "").strip().strip('"') == text.strip('"'):
        raise BadRequest(
            f"{key} is {validators.show_value(text)} already: nothing would change; give another value",
            param=key,
            expected=f"another {key}",
            found=validators.show_value(text),
        )
    fields = {
        key: text,
        "constraints": "; ".join(
            filter(None, [_invariants(parent, key), parent.get("constraints", "").strip()])
        ),
        "negative": parent.get("negative", "").strip(),
    }
    ordered = {name: fields[name] for name in FIELDS if fields.get(name)}
    return ChangedSpec(_change_prompt(key), ordered, {**parent, key: text})


def find_changed_key(prompt: str, fields: Mapping[str, str]) -> str | None:
    """Return the key changed by a remix that `change_spec` worded; None for one in other words."""
    return next((key for key in NAMES if key in fields and prompt == _change_prompt(key)), None)


def _check_changeable(key: str) -> None:
    if key in FIELDS and key not in FIELD_ASPECTS:
        raise BadRequest(
            f"{key} is nothing that can be seen or heard, so it is no change (known: {', '.join(NAMES)});"
            f" say it beside the change with --{key.replace('_', '-')}",
            param="change",
            expected=", ".join(NAMES),
            found=key,
        )
    validators.parse_word("change", key, NAMES)


def _check_line(key: str, value: object) -> str:
    """Return `value` if it is the text of this line and no other."""
    text = validators.parse_text(f"change {key}", value).strip()
    if not text:
        raise BadRequest(
            f"change {key} is empty; say what it is to be, for example --change {key}='…'",
            param="change",
            expected=f"what {key} is to be",
            found="nothing",
        )
    others = sorted(find_labelled_lines(text))
    if others:
        raise BadRequest(
            f"change {key} holds the line {LABELS[others[0]]!r} too: a remix changes exactly one thing;"
            " make a remix of each",
            param="change",
            expected="exactly one change",
            found=f"a line {LABELS[others[0]]} too",
        )
    return text


def _change_prompt(key: str) -> str:
    shot = "same clip" if key == "camera" else "same shot and framing"
    return f"{shot}; change only the {NAMES[key]}"


def _invariants(parent: Spec, key: str) -> str:
    """Return the invariants in words: the aspects of every shot, and the known lines of this one."""
    known = {name for name, line in parent.items() if line.strip()} | set(_IN_EVERY_SHOT)
    unchanged = ", ".join(noun for name, noun in NAMES.items() if name in known - {key})
    return f"keep everything else unchanged: {unchanged}"
