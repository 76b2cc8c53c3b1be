"""The prompt of a request: typed or read from a file or stdin, with the fields that structure it."""

import functools
import os
import stat
import sys
from collections.abc import Callable
from typing import Any, TextIO

import click

from cli.text.usage import Usage
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


def add_prompt_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add these options; the function gets `prompt` (None without one), `augment` and `fields`."""

    @functools.wraps(function)
    def command(*args: Any, prompt: str | None, file: TextIO | None, **rest: Any) -> Any:
        if prompt is not None and file is not None:
            raise _refuse_prompts("both were")
        texts = {name: rest.pop(f"field_{name}") for name in FIELDS}
        fields = {name: text for name, text in texts.items() if text}
        return function(*args, prompt=_read(file) if file else prompt, fields=fields, **rest)

    decorated: Any = command
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]  # click's decorator keeps the function


def add_prompt_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same options, and the prompt as the first word; for commands that name no job."""

    @click.argument("words", metavar="[PROMPT]", required=False)
    @functools.wraps(function)
    def command(*args: Any, words: str | None, prompt: str | None, **rest: Any) -> Any:
        if words is not None and (prompt is not None or rest.get("file") is not None):
            raise _refuse_prompts("the first word, and one of these, were")
        return function(*args, prompt=prompt if words is None else words, **rest)

    return command


def require_prompt(prompt: str | None, *, instead: str = "") -> str:
    """Return the prompt; without one, raise a usage error that mentions what could be given `instead`."""
    if prompt is None:
        raise _refuse_prompts("neither was", instead)
    return prompt


def find_prompt(prompt: str | None) -> str:
    """Return the given prompt; without one, read a pipe or file at stdin, or ask the person.

    A closed stdin, a device and a socket are not read: they may never send anything.
    """
    if prompt is not None:
        return prompt
    if _is_piped(sys.stdin):
        text = _read(sys.stdin)
        if not text:
            raise _refuse_prompts("stdin is empty, and none was", _OTHER_WAYS)
        return text
    if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        return str(click.prompt("What should the clip show?", err=True))
    raise _refuse_prompts("none was", _OTHER_WAYS)


_OTHER_WAYS = ", as the first word, or through a pipe"


def _is_piped(stdin: TextIO | None) -> bool:
    try:
        mode = os.fstat(stdin.fileno()).st_mode if stdin else 0
    except (OSError, ValueError):  # closed, or no file of the system
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _refuse_prompts(problem: str, instead: str = "") -> click.UsageError:
    return Usage(
        f"give the prompt with --prompt or --prompt-file (- is stdin){instead}; {problem} given",
        param="prompt",
        expected="one of --prompt and --prompt-file",
        found=problem,
    )


def _read(file: TextIO) -> str:
    try:
        return file.read().strip()
    except UnicodeDecodeError as error:
        raise Usage(
            f"the prompt in {file.name}: expected UTF-8 text ({error.reason})",
            param="prompt_file",
            expected="UTF-8 text",
            found=error.reason,
        ) from error
