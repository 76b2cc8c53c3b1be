"""The prompt of a request: typed or read from a file or stdin, with the fields that structure it."""

import functools
from collections.abc import Callable
from typing import Any, TextIO

import click

from decision.request.prompt import FIELDS

_HELP = {
    "use_case": "Where the clip will be used.",
    "scene": "Location, time of day, atmosphere.",
    "subject": "Main subject.",
    "action": "One clear action.",
    "camera": "Shot type, angle, motion.",
    "style": "Film, animation or format cues.",
    "lighting": "Lighting and mood.",
    "palette": "3 to 5 colours.",
    "audio": "Ambient sound, music, voice-over.",
    "dialogue": "Short spoken lines.",
    "text": "Exact text on screen.",
    "timing": "Counts or beats.",
    "constraints": "Must keep, must avoid.",
    "negative": "What to avoid.",
}
_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--prompt", metavar="TEXT", help="What the clip shows."),
    click.option(
        "--prompt-file",
        "file",
        metavar="FILE",
        type=click.File(encoding="utf-8"),
        help="Read the prompt from a file; - is stdin.",
    ),
    click.option(
        "--augment/--no-augment",
        default=True,
        help="Append the fields above to the prompt as labelled lines.  [default: augment]",
    ),
    *(
        click.option(f"--{name.replace('_', '-')}", f"field_{name}", metavar="TEXT", help=_HELP[name])
        for name in FIELDS
    ),
)


def prompting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add these options; the function gets `prompt` (None without one), `augment` and `fields`."""

    @functools.wraps(function)
    def command(*args: Any, prompt: str | None, file: TextIO | None, **rest: Any) -> Any:
        if prompt is not None and file is not None:
            raise _one_prompt("both were")
        texts = {name: rest.pop(f"field_{name}") for name in FIELDS}
        fields = {name: text for name, text in texts.items() if text}
        return function(*args, prompt=_read(file) if file else prompt, fields=fields, **rest)

    decorated: Any = command
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]  # click's decorator keeps the function


def require_prompt(prompt: str | None, *, instead: str = "") -> str:
    """Return the prompt; without one, raise a usage error that mentions what could be given `instead`."""
    if prompt is None:
        raise _one_prompt("neither was", instead)
    return prompt


def _one_prompt(problem: str, instead: str = "") -> click.UsageError:
    return click.UsageError(
        f"give the prompt with --prompt or --prompt-file (- is stdin){instead}; {problem} given"
    )


def _read(file: TextIO) -> str:
    try:
        return file.read().strip()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"--prompt-file {file.name}: expected UTF-8 text ({error.reason})") from error
