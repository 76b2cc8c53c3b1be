"""``create``: request a render and return immediately."""

from typing import Any

import click

from cli.flows.submit import list_models, place_and_show, request_of
from cli.invocation import Invocation
from cli.options import common
from cli.options.inputs import LoopCommand, ingredients, list_models_option
from cli.options.placement import Placing, placing
from cli.options.prompt import prompting


@click.command("create", cls=LoopCommand, short_help="Request a render and return immediately.")
@prompting
@common.shape
@ingredients
@list_models_option
@common.render
@common.promotes
@placing
@common.dry_run
@common.calling
@common.invocation
def create_command(inv: Invocation, *, models: bool, dry_run: bool, how: Placing, **asked: Any) -> None:
    """Request a render and return immediately; `poll` waits for it.

    \b
    Example:
      sora-ledger create --prompt "A teal coupe on a desert highway" --seconds 8
      sora-ledger create --prompt-file shot.txt --purpose final --dry-run
    """
    if models:
        list_models(inv)
    else:
        place_and_show(inv, *request_of(inv, **asked), dry_run=dry_run, how=how)
