"""A prompt as a structured, production-oriented spec: the template of the Sora skill's "Prompt augmentation".

The template contains only what was given, line by line in the order of the template; nothing is invented and
empty lines are left out. A prompt that already has this form is not wrapped a second time.

There are also templates by asset type, as data: a prompt and fields with blanks to fill, and a purpose, size
and seconds to suggest. What is left blank stays ``{like_this}``, where
`decision.advice.reading.missing_details` finds it.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, NamedTuple, Self

from pydantic import Field, StringConstraints, model_validator

from decision.errors import BadRequest
from decision.request import validators
from decision.rules.document import Document, Entry
from decision.rules.purpose import PURPOSES

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
"""What a change of a video can be about; ``subject`` is what no other aspect names."""

_FIELD_OF = {label.lower(): name for name, label in LABELS.items()}
_LABELLED = re.compile(
    rf"^[ \t]*({'|'.join(re.escape(label) for label in LABELS.values())})[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)


def augment(prompt: str, fields: Mapping[str, str]) -> str:
    """Return `prompt` in the template with the lines of `fields`; keys are `FIELDS`, blank ones are ignored.

    Missing lines are added to a structured prompt. `BadRequest` if it already has one of them, because one of
    the two would be lost.
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
    return bool(_LABELLED.match(text)) or "prompt" in labelled_lines(text)


def labelled_lines(prompt: str) -> frozenset[str]:
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
    twice = [name for name in entries if name in labelled_lines(prompt)]
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


BLANK = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class Blank(Entry):
    """A blank to fill: its question, and an example answer."""

    ask: str
    example: str


class Draft(NamedTuple):
    """A prompt and its fields, ready for a request."""

    prompt: str
    fields: Mapping[str, str]

    @property
    def text(self) -> str:
        """Everything as one structured prompt, for a file and ``--prompt-file``."""
        return augment(self.prompt, self.fields)


class Template(Entry):
    """One template; `blanks` are all blanks of `prompt` and `fields`, in the order to ask."""

    title: str
    use_when: str
    purpose: str
    size: str
    seconds: Annotated[int, Field(gt=0, strict=True)]
    prompt: str
    fields: dict[str, str]
    blanks: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], Blank]

    def fill(self, values: Mapping[str, str]) -> Draft:
        """Return the prompt with `values` in its blanks; the others stay open.

        `BadRequest` for a blank it does not have.
        """
        for name in values:
            validators.word("blank", name, self.blanks)
        entries = {name: value.strip() for name, value in values.items() if value.strip()}
        return Draft(
            _filled(self.prompt, entries),
            {name: _filled(text, entries) for name, text in self.fields.items()},
        )

    @property
    def example(self) -> Draft:
        """The template with every blank filled by its example."""
        return self.fill({name: blank.example for name, blank in self.blanks.items()})

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        strange = [name for name in self.fields if name not in FIELDS]
        if strange or self.purpose not in PURPOSES:
            raise ValueError(f"unknown: {strange[0] if strange else self.purpose}")
        open_blanks = set(BLANK.findall("\n".join([self.prompt, *self.fields.values()])))
        differing = open_blanks ^ set(self.blanks)
        if differing:
            raise ValueError(f"either never asked for or never used: {', '.join(sorted(differing))}")
        return self


class TemplateFile(Document):
    """All of them, by the name a person types."""

    templates: dict[Annotated[str, StringConstraints(pattern=r"^[a-z]+(-[a-z]+)*$")], Template]


@cache
def templates() -> Mapping[str, Template]:
    """Return every template by name, in the order to show them."""
    return TemplateFile.load(files("decision").joinpath("templates.toml").read_bytes()).templates


def template(name: str) -> Template:
    """Return the template called `name`; `BadRequest` names the known ones and the nearest."""
    known = templates()
    return known[validators.word("template", name, known)]


def _filled(text: str, values: Mapping[str, str]) -> str:
    return BLANK.sub(lambda match: values.get(match[1], match[0]), text)
