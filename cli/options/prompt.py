"""The prompt of a request: typed, or read from a file or stdin, and the fields that structure it."""

import functools
from collections.abc import Callable
from typing import Any, TextIO

import click

from decision.request.prompt import FIELDS

_HELP = {
    "use_case": "Where the clip will be used.",
    "scene": "Location, time of day, atmosphere.",
    "subject": "Main subject.",
    "action": "Single clear action.",
    "camera": "Shot type, angle, motion.",
    "style": "Film, animation, format cues.",
    "lighting": "Lighting and mood.",
    "palette": "3 to 5 colour anchors.",
    "audio": "Ambient cue, music, voiceover.",
    "dialogue": "Short spoken lines.",
    "text": "Exact text on screen.",
    "timing": "Counts or beats.",
    "constraints": "Must keep, must avoid.",
    "negative": "What to avoid.",
}
_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--prompt", metavar="TEXT", help="What the clip should show."),
    click.option(
        "--prompt-file",
        "file",
        metavar="FILE",
        type=click.File(encoding="utf-8"),
        help="Read the prompt from a file, - is stdin.",
    ),
    click.option(
        "--augment/--no-augment",
        default=True,
        help="Send the prompt with the fields below as labelled lines, or as it is.  [default: augment]",
    ),
    *(
        click.option(f"--{name.replace('_', '-')}", f"field_{name}", metavar="TEXT", help=_HELP[name])
        for name in FIELDS
    ),
)


def prompting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take these options, passed on as `prompt` (None where none was given), `augment` and `fields`."""

    @functools.wraps(function)
    def command(*args: Any, prompt: str | None, file: TextIO | None, **rest: Any) -> Any:
        if prompt is not None and file is not None:
            raise _one_prompt("both were")
        given = {name: rest.pop(f"field_{name}") for name in FIELDS}
        fields = {name: text for name, text in given.items() if text}
        return function(*args, prompt=_read(file) if file else prompt, fields=fields, **rest)

    decorated: Any = command
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]  # click's decorator keeps the function


def needed(prompt: str | None, *, instead: str = "") -> str:
    """Return the prompt; a usage error where there is none, which says what could be given `instead`."""
    if prompt is None:
        raise _one_prompt("neither was", instead)
    return prompt


def _one_prompt(given: str, instead: str = "") -> click.UsageError:
    return click.UsageError(
        f"give the prompt with --prompt or --prompt-file (- is stdin){instead}; {given} given"
    )


def _read(file: TextIO) -> str:
    try:
        return file.read().strip()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"--prompt-file {file.name}: expected UTF-8 text ({error.reason})") from error
