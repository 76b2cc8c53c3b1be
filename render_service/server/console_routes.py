"""The routes of the console: the only list of its pages and actions, and their surroundings.

To add a page: a module in `render_service.server.console.views` with a `Page`, a template, and a line here.
The menu shows the pages in this order to those who have the permission.
"""

import asyncio
from functools import partial
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from ledger.errors import SoraLedgerError
from ledger.log.opening import open_now
from ledger.log.replica import Replica
from render_service.access.code_flow import CodeFlow
from render_service.access.gatekeeper import Gatekeeper
from render_service.access.sign_ins import EndedSessions
from render_service.access.signing import open_signer
from render_service.server.console.answers import Site
from render_service.server.console.files import SHARES_ACTIONS, SHARES_PAGE, Files, SharedLinks
from render_service.server.console.pages import PREFIX, Action, Endpoint, NotHere, Page
from render_service.server.console.rendering import Templates
from render_service.server.console.security import Guard
from render_service.server.console.sessions import LONGEST, Sessions
from render_service.server.console.signin import SignIn
from render_service.server.console.static import STATIC, Static
from render_service.server.console.views import (
    access,
    inbox,
    log,
    new_request,
    operations,
    policy,
    record,
    review,
    spend,
    video,
    video_next,
    videos,
)
from render_service.server.console.views.log import Live
from render_service.server.gateway.request_inputs import Submit
from render_service.session.session import Session
from render_service.worker.leases import WorkerOptions

PAGES: tuple[Page, ...] = (
    *inbox.PAGES,
    videos.PAGE,
    new_request.PAGE,
    *video.PAGES,
    SHARES_PAGE,
    review.COMPARE_PAGE,
    *log.PAGES,
    *record.PAGES,
    *review.PAGES,
    access.PASSKEY_PAGE,
    policy.PAGE,
    spend.PAGE,
    record.AS_OF_PAGE,
    operations.PAGE,
    access.PAGE,
)
ACTIONS: tuple[Action, ...] = (
    *inbox.ACTIONS,
    *new_request.ACTIONS,
    *review.ACTIONS,
    *video_next.ACTIONS,
    *SHARES_ACTIONS,
    *access.PASSKEY_ACTIONS,
    *access.ACTIONS,
    *policy.ACTIONS,
    *operations.ACTIONS,
)
ENDPOINTS: tuple[Endpoint, ...] = ()


def console_routes(
    session: Session,
    gatekeeper: Gatekeeper,
    submit: Submit,
    stopping: asyncio.Event,
    worker: WorkerOptions | None,
) -> list[BaseRoute]:
    """Return the routes of the console, and of ``/``, which leads to it.

    New requests are sent with `submit`, like the gateway's. Streams end when `stopping`. `worker` are the
    terms of the worker in this process, if there is one.
    """
    settings, ledger_id = session.settings, session.ledger.ledger_id
    signer, files = open_signer(settings, ledger_id), Files(session)
    ended = EndedSessions(session.ledger, LONGEST, session.clock)
    sessions = Sessions(signer, gatekeeper, session, ended, ledger_id)
    static = Static(STATIC)
    templates = Templates(static.url)
    replica = Replica(settings.read_url, session.ledger, open_now) if settings.read_url else None
    site = Site(session, sessions, templates, PAGES, replica)
    endpoints = (*ENDPOINTS, *files.endpoints(), *Live(session, templates, stopping).endpoints())
    known = gatekeeper.signed_in
    flow = None if known is None else CodeFlow(known, settings.oidc_secret)
    sign_in = SignIn(site, settings.console_url, flow)
    console = Starlette(
        routes=[
            Route("/", site.home),
            *sign_in.routes(),
            Route("/static/{name}", static.answer),
            *SharedLinks(site, files, signer).routes(),
            *site.routes(ACTIONS, endpoints),
        ],
        middleware=[Middleware(Guard, public=settings.console_url)],
        exception_handlers={HTTPException: partial(_refused, site)},
    )
    console.router.redirect_slashes = False
    console.state.submit, console.state.worker = submit, worker
    return [Route("/", _to_console), Route(PREFIX, _to_console), Mount(PREFIX, console)]


async def _to_console(_: Request) -> Response:
    return RedirectResponse(f"{PREFIX}/", HTTPStatus.SEE_OTHER)


async def _refused(site: Site, request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # registered only for this type
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        problem: SoraLedgerError = NotHere("this address is for a form: open the page it is on")
    else:
        problem = NotHere("there is no such page")
    return await site.not_here(request, problem)
