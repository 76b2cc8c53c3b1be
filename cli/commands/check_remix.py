"""``check-remix``: whether a prompt asks for one change; no ledger, no server."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation, write_json
from cli.options import common
from cli.text import output
from cli.text.usage import Usage
from decision.one_change.verdict import RemixVerdict, check_single_change
from decision.rules.toml import default_catalog
from render_service.runtime.errors import BadInput
from render_service.runtime.printable import printable

if TYPE_CHECKING:
    from rich.console import Console


@click.command("check-remix")
@click.option("--prompt", metavar="TEXT", help="The prompt of a remix.")
@click.option(
    "--file",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    help='Many prompts: JSON Lines, each {"prompt": TEXT}; - is stdin.',
)
@click.option("--encoder", is_flag=True, help="Judge it with the encoder of the extra one-change.")
@common.invocation
def check_remix_command(inv: Invocation, *, prompt: str | None, file: Path | None, encoder: bool) -> None:
    """Check whether a prompt asks for one change, several or none, or is ambiguous, and name each change.

    The answer is `verdict` (single, multiple, none or ambiguous) and `changes`, each with its aspect, its
    words and their position; for a file, one such answer per line. Nothing is recorded. --encoder answers
    as the judge "local" of a policy does, which is right more often for long or terse prompts.

    \b
    Example:
      sora-ledger check-remix --prompt "Make the sky purple and remove the trees"
      sora-ledger check-remix --file prompts.jsonl --json
    """
    if (prompt is None) == (file is None):
        which = "neither was" if prompt is None else "both were"
        raise Usage(
            f"give the prompt with --prompt, or many with --file; {which} given",
            param="prompt",
            expected="one of --prompt and --file",
            found=f"{which}",
        )
    read = _check_by_encoder if encoder else check_single_change
    if file is None:
        answer = _answer(_check("--prompt", prompt), read)
        inv.emit(answer, lambda console: _text(console, answer))
        return
    _emit_lines(inv, [_answer(text, read) for text in _prompts(file)])


def _check_by_encoder(prompt: str) -> RemixVerdict:
    from decision.one_change.encoder import EncoderMissing, check_by_encoder

    try:
        return check_by_encoder(prompt)
    except EncoderMissing as error:
        raise BadInput(
            f"--encoder: {error}", param="encoder", expected="the extra one-change", found="no encoder"
        ) from error


def _emit_lines(inv: Invocation, answers: list[dict[str, Any]]) -> None:
    if inv.json_out:
        write_json(inv.json_out, answers)
    for answer in answers:
        if inv.prints_json:
            output.print_document(answer, indent=None)
        else:
            _text(inv.console, answer)


def _answer(prompt: str, read: Callable[[str], RemixVerdict]) -> dict[str, Any]:
    verdict, changes = read(prompt)
    return {
        "verdict": verdict,
        "why": _explain(verdict, [(change.aspect, prompt[change.start : change.end]) for change in changes]),
        "changes": [change.as_json() | {"text": prompt[change.start : change.end]} for change in changes],
        "prompt": prompt,
    }


def _explain(verdict: str, changes: list[tuple[str, str]]) -> str:
    """Return in one line why a prompt has its verdict."""
    named = ", ".join(f"{aspect} (“{words}”)" if words else aspect for aspect, words in changes)
    if verdict == "none":
        return "nothing in it says what is to change"
    if verdict == "single":
        return f"it changes one thing: {named}" if named else "it changes one thing"
    if verdict == "multiple":
        return f"it changes {len(changes)} things: {named}"
    return "it may change one thing or several" + (f"; it names {named}" if named else "")


def _prompts(file: Path) -> Iterator[str]:
    with click.open_file(str(file), encoding="utf-8") as lines:
        try:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _prompt(f"{file}, line {number}", line)
        except UnicodeDecodeError as error:
            raise Usage(
                f"{file}: expected UTF-8 text ({error.reason})",
                param="file",
                expected="UTF-8 text",
                found=error.reason,
            ) from error


def _prompt(where: str, line: str) -> str:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Usage(
            f'{where}: expected JSON such as {{"prompt": "Make it rain."}} ({error})',
            param="file",
            expected='JSON such as {"prompt": "Make it rain."}',
            found=error,
        ) from error
    return _check(where, found.get("prompt") if isinstance(found, dict) else None)


def _check(where: str, prompt: object) -> str:
    """Return `prompt` if a remix could have it."""
    if not isinstance(prompt, str) or not prompt.strip():
        raise Usage(
            f'{where}: expected a prompt that is text, such as {{"prompt": "Make it rain."}}',
            param="file",
            expected='a prompt that is text, such as {"prompt": "Make it rain."}',
            found="another JSON",
        )
    if any("\ud800" <= letter <= "\udfff" for letter in prompt):
        raise Usage(
            f"{where}: the prompt is not valid Unicode; write it as UTF-8",
            param="file",
            expected="valid Unicode",
            found="text that is not",
        )
    most = default_catalog().prompt.max_characters
    if len(prompt) > most:
        raise Usage(
            f"{where}: the prompt has {len(prompt):,} characters, at most {most:,} are allowed",
            param="file",
            expected=f"at most {most:,} characters",
            found=f"{len(prompt):,}",
        )
    return prompt


def _text(console: "Console", answer: dict[str, Any]) -> None:
    console.print(f"{answer['verdict']:<10}{printable(answer['prompt'])}", markup=False)
    console.print(f"  {printable(answer['why'])}", markup=False)
    for change in answer["changes"]:
        console.print(f"  {change['aspect'] + ':':<12}{printable(change['text'])}", markup=False)
