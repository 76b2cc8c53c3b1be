"""What remix, edit and extend share: the video they start from is one the ledger knows."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from cli.flows.submit import end_placed, placed_document, show_placed, show_preview
from cli.flows.video import job_of
from cli.invocation import Invocation
from cli.options.placement import Placing
from decision.request.request import RenderRequest, Source
from render_service.assets.inputs import NOTHING
from render_service.submission.sources import source_ahead, source_of
from render_service.submission.submit import place

if TYPE_CHECKING:
    from render_service.session.session import Session
    from render_service.submission.result import Placed

RequestFrom = Callable[[Source, str], RenderRequest]


def derive(inv: Invocation, name: str, request_from: RequestFrom, *, dry_run: bool, how: Placing) -> None:
    """Place the request made from the video called `name` and the profile whose server has it.

    A video that only the server knows is adopted first; in a dry run it stays unknown.
    """
    if dry_run:
        with inv.ledger() as ledger:
            source, profile = source_ahead(ledger, name)
        show_preview(inv, request_from(source, profile), NOTHING, how)
        return

    job_id = job_of(inv, name).job_id

    async def follow(session: "Session") -> "tuple[Placed, RenderRequest]":
        source, profile = await source_of(session, job_id)
        request = request_from(source, profile)
        return await place(session, request, queue=how.queue, override=how.override), request

    placed, request = inv.session(follow)
    inv.emit(placed_document(inv, placed, request), lambda console: show_placed(console, placed, request))
    end_placed(inv, placed)
