"""``remix``: change exactly one thing in a completed video."""

from typing import Any, TextIO

import click

from cli import options
from cli.advising import advised_request
from cli.asking import read_cost, read_prompt
from cli.deriving import derive
from cli.invocation import Invocation
from cli.placing import Placing, placing
from decision.request import RenderRequest, Source


@click.command("remix")
@options.job_id
@options.prompt
@options.prompt_fields
@click.option("--model", metavar="NAME", help="A remix keeps its source's; naming another is denied.")
@click.option("--size", metavar="WxH", help="A remix keeps its source's; naming another is denied.")
@click.option("--seconds", metavar="N", help="A remix keeps its source's; naming another is denied.")
@options.render
@placing
@options.dry_run
@options.calling
@options.invocation
def remix_command(  # one parameter per option
    inv: Invocation,
    *,
    name: str,
    prompt_text: str | None,
    prompt_file: TextIO | None,
    max_cost: str | None,
    dry_run: bool,
    how: Placing,
    **asked: Any,
) -> None:
    """Change exactly one thing in a completed video.

    \b
    Example:
      sora-ledger remix --id job_01a2 --prompt "Shift the palette to teal, sand and rust"
    """
    prompt, cost = read_prompt(prompt_text, prompt_file), read_cost(max_cost)

    def request_from(source: Source, profile: str) -> RenderRequest:
        return advised_request(
            inv, "remix", source, prompt=prompt, max_cost_usd_micros=cost, profile=profile, **asked
        )

    derive(inv, name, request_from, dry_run=dry_run, how=how)
