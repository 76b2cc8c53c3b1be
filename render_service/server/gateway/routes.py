"""The routes under ``/v1``: who may call each, and the error envelope around all of them.

To add an operation: a method that takes the request and its caller, and a line here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from decision.rules.roles import Permission
from render_service.access.callers import Caller
from render_service.access.gatekeeper import Gatekeeper
from render_service.notifications.post import Post
from render_service.runtime.errors import TooManyRequests
from render_service.server.gateway.content import Content
from render_service.server.gateway.endpoints import EndpointRoutes
from render_service.server.gateway.errors import Call, Refusal, refused
from render_service.server.gateway.gets import Gets
from render_service.server.gateway.posts import IDEMPOTENCY_KEY, Posts
from render_service.server.gateway.projection import PATIENCE_S, Projection
from render_service.session.session import Session

Endpoint = Callable[[Request, Caller], Awaitable[Response]]
PREFIX = "/v1"
LONGEST_PATH = 200


def gateway_routes(session: Session, gatekeeper: Gatekeeper, posts: Posts, post: Post) -> list[Route]:
    """Return the routes of the Videos API; the first that matches answers. `post` sends sample webhooks."""
    projection = Projection(session.ledger)
    gets, content = Gets(session, projection), Content(session)
    webhooks, one = EndpointRoutes(session, post), "/webhook_endpoints/{endpoint_id}"

    def route(method: str, path: str, permission: Permission, endpoint: Endpoint) -> Route:
        answer = _guarded(session, gatekeeper, permission, endpoint)
        return Route(f"{PREFIX}{path}", answer, methods=[method])

    def paid(path: str, endpoint: Endpoint) -> Route:
        answer = _guarded(session, gatekeeper, Permission.REQUEST, endpoint, reads_what_is_refused=True)
        return Route(f"{PREFIX}{path}", answer, methods=["POST"])

    return [
        paid("/videos", posts.create),
        paid("/videos/edits", posts.edit),
        paid("/videos/extensions", posts.extend),
        paid("/videos/{video_id}/remix", posts.remix),
        route("POST", "/videos/characters", Permission.REQUEST, posts.create_character),
        route("GET", "/videos/{video_id}", Permission.READ, gets.retrieve),
        route("GET", "/videos", Permission.READ, gets.list_videos),
        route("GET", "/videos/{video_id}/content", Permission.READ, content.serve),
        route("DELETE", "/videos/{video_id}", Permission.REQUEST, gets.delete_video),
        route("GET", "/videos/characters/{character_id}", Permission.READ, gets.retrieve_character),
        route("GET", "/models", Permission.READ, gets.list_models),
        route("GET", "/models/{model}", Permission.READ, gets.retrieve_model),
        route("POST", "/moderations", Permission.REQUEST, gets.moderations),
        route("GET", "/webhook_event_types", Permission.READ, webhooks.event_types),
        route("POST", "/webhook_endpoints", Permission.READ, webhooks.create),
        route("GET", "/webhook_endpoints", Permission.READ, webhooks.list_page),
        route("GET", one, Permission.READ, webhooks.retrieve),
        route("POST", one, Permission.READ, webhooks.update),
        route("DELETE", one, Permission.READ, webhooks.delete),
        route("POST", f"{one}/rotate_secret", Permission.READ, webhooks.rotate_secret),
        route("POST", f"{one}/test", Permission.READ, webhooks.test),
    ]


def refused_by_router(request: Request, status: int) -> Response:
    """Answer for an unknown address or method, in the envelope of the API."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    matching = [route for route in routes if route.path_regex.match(request.url.path)]
    what = f"{request.method} {request.url.path[:LONGEST_PATH]}"
    if status != HTTPStatus.METHOD_NOT_ALLOWED:
        return _answer(
            Refusal(
                status,
                "unknown_url",
                f"Unknown request URL: {what}.",
                param="url",
                expected="a URL of the Videos API",
                found=what,
            )
        )
    same = [route for route in matching if route.path == matching[0].path]
    methods = sorted({method for route in same for method in route.methods or ()})
    message = f"Not allowed method: {what} (allowed: {', '.join(methods)})."
    refusal = Refusal(
        status,
        "method_not_allowed",
        message,
        param="method",
        expected=", ".join(methods),
        found=request.method,
    )
    return _answer(refusal.about({"allow": ", ".join(methods)}))


def _answer(refusal: Refusal) -> Response:
    return JSONResponse(refusal.envelope, refusal.status, headers=refusal.headers)


def _call(request: Request) -> Call:
    """Return a request as it may be made again, with the fields that were read of it."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    return Call(request.method, request.url.path[:LONGEST_PATH], request.state.fields, key)


def _guarded(
    session: Session,
    gatekeeper: Gatekeeper,
    permission: Permission,
    endpoint: Endpoint,
    *,
    reads_what_is_refused: bool = False,
) -> Callable[[Request], Awaitable[Response]]:
    """Identify the caller, check the permission and the rate, and answer; every error becomes an envelope.

    ``request.state.identified`` does the first two again, for endpoints that read a body first.
    With `reads_what_is_refused`, the endpoint itself raises ``request.state.refused``, the refusal for too
    many requests: once it has read which request is refused.
    """

    async def identified(request: Request) -> Caller:
        async with asyncio.timeout(PATIENCE_S):
            caller = await gatekeeper.identify(request.headers.get("authorization"))
        request.state.logged["actor"] = caller.name
        caller.check(permission)
        return caller

    async def answer(request: Request) -> Response:
        request.state.fields = {}
        try:
            caller = await identified(request)
            request.state.identified = partial(identified, request)
            request.state.refused = None
            try:
                gatekeeper.admit(caller)
            except TooManyRequests as many:
                if not reads_what_is_refused:
                    raise
                request.state.refused = many
            return await endpoint(request, caller)
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001  # a client of the API gets the API's envelope, always
            return refused(error, session.log, _call(request))

    return answer
