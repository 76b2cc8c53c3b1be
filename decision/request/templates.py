"""Prompt templates by asset type, as data: a prompt and fields with blanks, and a purpose, size and seconds.

An unfilled blank stays ``{like_this}``, and `decision.advice.reading.missing_details` finds it.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, NamedTuple, Self

from pydantic import Field, StringConstraints, model_validator

from decision.request import validators
from decision.request.prompt import FIELDS, augment
from decision.rules.document import Document, Entry
from decision.rules.purpose import PURPOSES
from decision.rules.toml import load_document

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
    """One template; `blanks` are all blanks of `prompt` and `fields`, in the order to ask for them."""

    title: str
    use_when: str
    purpose: str
    size: str
    seconds: Annotated[int, Field(gt=0, strict=True)]
    prompt: str
    fields: dict[str, str]
    blanks: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], Blank]

    def fill(self, values: Mapping[str, str]) -> Draft:
        """Return the prompt with `values` in its blanks; other blanks stay open.

        `BadRequest` for a blank it does not have.
        """
        for name in values:
            validators.parse_word("blank", name, self.blanks)
        entries = {name: value.strip() for name, value in values.items() if value.strip()}
        return Draft(
            _fill(self.prompt, entries),
            {name: _fill(text, entries) for name, text in self.fields.items()},
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
    """All templates, by the name a person types."""

    templates: dict[Annotated[str, StringConstraints(pattern=r"^[a-z]+(-[a-z]+)*$")], Template]


@cache
def templates() -> Mapping[str, Template]:
    """Return every template by name, in the order to show them."""
    return load_document(TemplateFile, files("decision").joinpath("templates.toml").read_bytes()).templates


def template(name: str) -> Template:
    """Return the template called `name`; `BadRequest` names the known ones and the nearest."""
    known = templates()
    return known[validators.parse_word("template", name, known)]


def _fill(text: str, values: Mapping[str, str]) -> str:
    return BLANK.sub(lambda match: values.get(match[1], match[0]), text)
