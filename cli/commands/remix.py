"""``remix``: change exactly one thing in a completed video."""

from typing import TYPE_CHECKING, Any, TextIO

import click

from cli import options
from cli.asking import make_request, read_cost, read_prompt
from cli.commands.create import placed_document, show_placed, show_preview
from cli.finishing import end
from cli.invocation import Invocation
from decision.request import RenderRequest, Source
from render_service.material import NOTHING

if TYPE_CHECKING:
    from render_service.desk import Desk
    from render_service.placed import Placed


@click.command("remix")
@options.job_id
@options.prompt
@options.prompt_fields
@click.option("--model", metavar="NAME", help="A remix keeps its source's; naming another is denied.")
@click.option("--size", metavar="WxH", help="A remix keeps its source's; naming another is denied.")
@click.option("--seconds", metavar="N", help="A remix keeps its source's; naming another is denied.")
@options.render
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
    **asked: Any,
) -> None:
    """Change exactly one thing in a completed video.

    \b
    Example:
      sora-ledger remix --id job_01a2 --prompt "Shift the palette to teal, sand and rust"
    """
    prompt, cost = read_prompt(prompt_text, prompt_file), read_cost(max_cost)

    def request_from(source: Source, profile: str) -> RenderRequest:
        return make_request(source, prompt=prompt, max_cost_usd_micros=cost, profile=profile, **asked)

    if dry_run:
        from render_service.sources import source_in  # noqa: PLC0415

        with inv.ledger() as ledger:
            source, profile = source_in(ledger, name)
        show_preview(inv, request_from(source, profile), NOTHING)
        return

    async def follow(desk: "Desk") -> "tuple[Placed, RenderRequest]":
        from render_service.renders import place  # noqa: PLC0415
        from render_service.sources import source_of  # noqa: PLC0415

        source, profile = await source_of(desk, name)
        request = request_from(source, profile)
        return await place(desk, request), request

    placed, request = inv.desk(follow)
    inv.emit(placed_document(placed, request), lambda console: show_placed(console, placed, request))
    end(inv, placed.job)
