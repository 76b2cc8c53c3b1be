"""``extend``: add seconds to the end of a completed video."""

from typing import Any

import click

from cli.flows.derive import derive
from cli.invocation import Invocation
from cli.options import common
from cli.options.command import RequestCommand
from cli.options.placement import Placing, placing
from cli.options.prompt import prompting, require_prompt


@click.command("extend", cls=RequestCommand, short_help="Add seconds to the end of a video.")
@common.job_id
@click.option("--seconds", metavar="N", help="Seconds to add: 4, 8, 12, 16 or 20.")
@prompting
@click.option("--model", metavar="NAME", help="An extension keeps its source's; naming another is denied.")
@click.option("--size", metavar="WxH", help="An extension keeps its source's; naming another is denied.")
@common.render
@placing
@common.dry_run
@common.calling
@common.invocation
def extend_command(  # one parameter per option
    inv: Invocation,
    *,
    name: str,
    prompt: str | None,
    dry_run: bool,
    how: Placing,
    **asked: Any,
) -> None:
    """Add seconds to the end of a completed video; the result contains the old and the new part.

    \b
    Example:
      sora-ledger extend --id job_01a2 --seconds 8 --prompt "The coupe drives on"
    """
    asked["prompt"] = require_prompt(prompt)

    derive(inv, name, "extend", asked, dry_run=dry_run, how=how)
