"""A prompt as a structured, production-oriented spec: the template of the Sora skill's "Prompt augmentation".

The template contains only the fields of the request, line by line in its own order; nothing is invented and
empty lines are left out. A prompt that already has this form is not wrapped a second time.

`decision.request.templates` has prompts with blanks to fill.
"""

import re
from collections.abc import Mapping

from decision.errors import BadRequest

PRIMARY = "Primary request"
LABELS: Mapping[str, str] = {
    "use_case": "Use case",
    "prompt": PRIMARY,
    "scene": "Scene/background",
    "subject": "Subject",
    "action": "Action",
    "camera": "Camera",
    "lighting": "Lighting/mood",
    "palette": "Color palette",
    "style": "Style/format",
    "timing": "Timing/beats",
    "audio": "Audio",
    "text": "Text (verbatim)",
    "dialogue": "Dialogue",
    "constraints": "Constraints",
    "negative": "Avoid",
}
FIELDS = tuple(name for name in LABELS if name != "prompt")

CHANGE_ASPECTS = (
    "action",
    "audio",
    "camera",
    "lighting",
    "palette",
    "setting",
    "style",
    "subject",
    "text",
    "timing",
)
"""The aspects that a change of a video can be about; ``subject`` covers everything else."""

_FIELD_OF = {label.lower(): name for name, label in LABELS.items()}
_LABELLED = re.compile(
    rf"^[ \t]*({'|'.join(re.escape(label) for label in LABELS.values())})[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)


def augment(prompt: str, fields: Mapping[str, str]) -> str:
    """Return `prompt` in the template with the lines of `fields`; keys are `FIELDS`, blank ones are ignored.

    Missing lines are added to a structured prompt. `BadRequest` if it already has one of these lines, because
    one of the two would be lost.
    """
    entries = {name: fields[name].strip() for name in FIELDS if fields.get(name, "").strip()}
    if not is_structured(prompt):
        entries["prompt"] = prompt
        return "\n".join(_line(name, entries[name]) for name in LABELS if name in entries)
    _refuse_lines_given_twice(prompt, entries)
    return "\n".join([prompt, *(_line(name, text) for name, text in entries.items())])


def is_structured(prompt: str) -> bool:
    """Return whether `prompt` has the form of the template: its first line, or a Primary request line."""
    text = prompt.lstrip()
    return bool(_LABELLED.match(text)) or "prompt" in find_labelled_lines(text)


def find_labelled_lines(prompt: str) -> frozenset[str]:
    """Return the fields that have a line in `prompt`; ``prompt`` is the primary request."""
    return frozenset(_FIELD_OF[match[1].lower()] for match in _LABELLED.finditer(prompt))


def read_lines(prompt: str) -> dict[str, str]:
    """Return the lines of a structured prompt by field; any other prompt is all ``prompt``.

    ``prompt`` is the primary request, and any text before the first label.
    """
    if not is_structured(prompt):
        return {"prompt": prompt}
    lines: dict[str, str] = {}
    labels = list(_LABELLED.finditer(prompt))
    ends = [*(label.start() for label in labels[1:]), len(prompt)]
    for label, end in zip(labels, ends, strict=True):
        name = _FIELD_OF[label[1].lower()]
        lines[name] = f"{lines.get(name, '')}\n{prompt[label.end() : end]}".strip()
    unlabelled = prompt[: labels[0].start()].strip()
    if unlabelled:
        lines["prompt"] = f"{unlabelled}\n{lines.get('prompt', '')}".strip()
    return lines


def _refuse_lines_given_twice(prompt: str, entries: Mapping[str, str]) -> None:
    twice = [name for name in entries if name in find_labelled_lines(prompt)]
    if twice:
        raise BadRequest(
            f"{twice[0]} is given, but the prompt already has a line {LABELS[twice[0]]!r}:"
            f" leave out --{twice[0].replace('_', '-')}, or take that line out of the prompt",
            param=twice[0],
            expected=f"{LABELS[twice[0]]} once",
            found="twice",
        )


def _line(name: str, text: str) -> str:
    if name == "dialogue":
        return f"{LABELS[name]}:\n<dialogue>\n{text}\n</dialogue>"
    if name == "text" and not (text.startswith('"') and text.endswith('"')):
        return f'{LABELS[name]}: "{text}"'
    return f"{LABELS[name]}: {text}"
