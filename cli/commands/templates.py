"""``templates``: starting points for prompts, by asset type."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation, say
from cli.options import common
from cli.text.tables import columns
from cli.text.usage import Usage
from decision.request.templates import template, templates

if TYPE_CHECKING:
    from rich.console import Console

    from decision.request.templates import Template


@click.command("templates")
@click.argument("name", required=False)
@click.option(
    "--fill",
    "filled",
    metavar="BLANK=TEXT",
    multiple=True,
    help="Fill a blank of the template; repeatable. `create` asks for the remaining blanks.",
)
@click.option("--example", is_flag=True, help="Fill the remaining blanks with their examples.")
@common.invocation
def templates_command(inv: Invocation, *, name: str | None, filled: tuple[str, ...], example: bool) -> None:
    """List the templates, or print one as a structured prompt to save and fill.

    \b
    Example:
      sora-ledger templates
      sora-ledger templates product-teaser --fill product="a red kettle"
    """
    if name is not None:
        _show(inv, name, template(name), filled, example=example)
        return
    if filled or example:
        raise Usage(
            "--fill and --example are about one template; name it",
            param="name",
            expected="a template",
            found="nothing",
        )
    known = templates()
    document = {"templates": [_document(name, known[name]) for name in known]}
    inv.emit(document, lambda console: _list(console, known.items()))


def _show(inv: Invocation, name: str, template: "Template", filled: Sequence[str], *, example: bool) -> None:
    values = {blank: text.example for blank, text in template.blanks.items()} if example else {}
    values |= _values(filled)
    draft = template.fill(values)
    document = _document(name, template) | {
        "prompt": draft.prompt,
        "fields": dict(draft.fields),
        "text": draft.text,
        "command": _command(template, draft.prompt, draft.fields),
    }

    def text(console: "Console") -> None:
        """Print the prompt alone, so that it can be saved verbatim."""
        console.print(draft.text, markup=False)

    inv.emit(document, text)
    if blank := [name for name in template.blanks if name not in values]:
        say(f"to fill: {', '.join(blank)}, each with --fill BLANK=TEXT; --example shows how it may look")


def _values(filled: Sequence[str]) -> dict[str, str]:
    values = {}
    for filling in filled:
        name, equals, value = filling.partition("=")
        if not equals or not name:
            raise Usage(
                f"--fill {filling}: expected BLANK=TEXT, such as product='a red kettle'",
                param="fill",
                expected="BLANK=TEXT, such as product='a red kettle'",
                found=filling,
            )
        values[name] = value
    return values


def _document(name: str, template: "Template") -> dict[str, Any]:
    return {
        "name": name,
        **template.model_dump(include={"title", "use_when", "purpose", "size", "seconds"}),
        "blanks": {blank: blank_field.model_dump() for blank, blank_field in template.blanks.items()},
    }


def _command(template: "Template", prompt: str, fields: Any) -> str:
    words = ["sora-ledger", "create", "--prompt", prompt]
    for field, text in fields.items():
        words += [f"--{field.replace('_', '-')}", text]
    words += ["--purpose", template.purpose, "--size", template.size, "--seconds", str(template.seconds)]
    return shlex.join(words)


def _list(console: "Console", known: Any) -> None:
    rows = [
        (name, template.purpose, template.size, f"{template.seconds} s", template.use_when)
        for name, template in known
    ]
    columns(console, ("template", "purpose", "size", "length", "use it when"), rows, cuts=True)
