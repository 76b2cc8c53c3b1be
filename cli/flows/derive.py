"""What remix, edit and extend share: the video they start from is one the ledger knows."""

from typing import TYPE_CHECKING, Any

from cli.flows.advise import advised_request
from cli.flows.submit import end_placed, placed_document, show_placed, show_preview
from cli.flows.video import job_of
from cli.invocation import Invocation
from cli.options.placement import Placing
from decision.request.request import RenderRequest, parse_request
from render_service.assets.inputs import NOTHING
from render_service.submission.sources import source_ahead, source_of
from render_service.submission.submit import place

if TYPE_CHECKING:
    from render_service.session.session import Session
    from render_service.submission.result import Placed


def derive(
    inv: Invocation, name: str, operation: str, values: dict[str, Any], *, dry_run: bool, how: Placing
) -> None:
    """Place the request that makes `operation` of the video called `name`, and emit what came of it.

    A video that only the server knows is adopted first; in a dry run it stays unknown. Questions are asked
    before the session is opened: its event loop never waits for a person.
    """
    job_name = name if dry_run else job_of(inv, name).job_id
    with inv.ledger() as ledger:
        source, profile = source_ahead(ledger, job_name)
    advised = advised_request(inv, operation, source, profile=profile, **values)
    if dry_run:
        show_preview(inv, advised, NOTHING, how)
        return
    answered = values | {"prompt": advised.prompt, "fields": dict(advised.fields)}
    catalog = inv.rules.catalog

    async def follow(session: "Session") -> "tuple[Placed, RenderRequest]":
        source, profile = await source_of(session, job_name)
        request = parse_request(
            catalog=catalog, operation=operation, source=source, profile=profile, **answered
        )
        return await place(session, request, queue=how.queue, override=how.override), request

    placed, request = inv.session(follow)
    inv.emit(placed_document(inv, placed, request), lambda console: show_placed(console, placed, request))
    end_placed(inv, placed)
