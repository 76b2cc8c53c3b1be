"""``remix``: change exactly one thing in a completed video."""

from typing import Any

import click

from cli.flows.change import change_option, changed
from cli.flows.derive import derive
from cli.flows.split_remix import preview_split, remix_split
from cli.invocation import Invocation
from cli.options import common
from cli.options.command import RequestCommand
from cli.options.placement import Placing, placing
from cli.options.prompt import prompting, require_prompt
from render_service.batches.split_remix import split_of


@click.command("remix", cls=RequestCommand, short_help="Change exactly one thing in a completed video.")
@common.job_id
@prompting
@click.option("--model", metavar="NAME", help="A remix keeps its source's; naming another is denied.")
@click.option("--size", metavar="WxH", help="A remix keeps its source's; naming another is denied.")
@click.option("--seconds", metavar="N", help="A remix keeps its source's; naming another is denied.")
@change_option
@click.option("--split", "splits", is_flag=True, help="Make several changes as a series of remixes.")
@common.waiting
@common.render
@placing
@common.dry_run
@common.calling
@common.invocation
def remix_command(  # one parameter per option
    inv: Invocation,
    *,
    name: str,
    prompt: str | None,
    changes: tuple[str, ...],
    splits: bool,
    dry_run: bool,
    how: Placing,
    poll_interval: float,
    timeout: float,
    **asked: Any,
) -> None:
    """Change exactly one thing in a completed video.

    With --change, the prompt is written from the recorded shot and names everything that stays. With --split,
    a prompt for several changes becomes one remix per change, each of the previous result; it waits for each,
    and the same command with the --request-key it prints continues after an interruption.

    \b
    Example:
      sora-ledger remix --id job_01a2 --prompt "Make the palette teal"
      sora-ledger remix --id job_01a2 --change palette="teal, sand, rust"
      sora-ledger remix --id job_01a2 --prompt "Make it night; add rain" --split
    """
    if changes:
        if prompt is not None or splits:
            raise click.UsageError("--change writes the prompt; leave out --prompt, --prompt-file, --split")
        prompt, asked = changed(inv, name, changes, asked)
    wording = require_prompt(prompt, instead=", or one thing to change with --change KEY=VALUE")
    if splits:
        if how != Placing():
            raise click.UsageError(
                "--split makes each remix of the video before, so none is queued or overridden; "
                "leave out --queue and --override"
            )
        _split(inv, name, wording, asked, dry_run=dry_run, poll_interval=poll_interval, timeout=timeout)
        return

    derive(inv, name, "remix", asked | {"prompt": wording}, dry_run=dry_run, how=how)


def _split(
    inv: Invocation,
    name: str,
    prompt: str,
    asked: dict[str, Any],
    *,
    dry_run: bool,
    poll_interval: float,
    timeout: float,
) -> None:
    split = split_of(prompt, asked.pop("fields"), asked.pop("request_key"))
    if dry_run:
        preview_split(inv, name, split, asked)
    else:
        remix_split(inv, name, split, asked, interval_s=poll_interval, timeout_s=timeout)
