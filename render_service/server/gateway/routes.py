"""The routes under ``/v1``: who may call each, and the error envelope around all of them.

To add an operation: a method that takes the request and its caller, and a line here.

``/webhook_endpoints`` are the receivers of webhooks that a caller has registered, as the SDKs manage them. An
endpoint belongs to the team of the key that registered it, or without a team to its owner. Others get a
404. A member of the team who changes an endpoint or rotates its secret becomes its owner, and the owner's
     keys decide what it receives (`render_service.notifications.announcements`). Every event type of the API
     is accepted, so that no client has to be changed, but only `SENT` are ever sent.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from decision.rules.roles import Permission
from render_service.access.callers import Caller
from render_service.access.gatekeeper import Gatekeeper
from render_service.notifications.addresses import AddressRefused
from render_service.notifications.announcements import APPROVAL_REQUESTED, EVENT_TYPES, Audience, event_body
from render_service.notifications.endpoints import Endpoint, Endpoints, EndpointState, NoSuchEndpoint
from render_service.notifications.outbox import letter_to
from render_service.notifications.post import Post
from render_service.runtime.errors import NotPermitted, NotReady, TooManyRequests
from render_service.server.gateway.errors import Call, refused
from render_service.server.gateway.gets import Content, Gets
from render_service.server.gateway.posts import IDEMPOTENCY_KEY, Posts
from render_service.server.gateway.projection import PATIENCE_S, Projection
from render_service.server.gateway.refusals import LONGEST_PATH, PREFIX, Refusal
from render_service.session.session import Session
from sora_adapter.serving import endpoints as api
from sora_adapter.serving.bodies import read_fields
from sora_adapter.serving.signatures import hint_of

Operation = Callable[[Request, Caller], Awaitable[Response]]
SENT = EVENT_TYPES
OFFERED = tuple(dict.fromkeys((*SENT, *api.EVENT_TYPES)))
MOST_BODY_BYTES = 64 * 1024
ERASED = "[erased]"


class EndpointRoutes:
    """The operations on webhook endpoints of one gateway; sample events are posted with `post`."""

    def __init__(self, session: Session, post: Post) -> None:
        self._session, self._post = session, post
        self._endpoints = Endpoints(session.ledger)
        self._audience = Audience(session)

    async def event_types(self, _: Request, __: Caller) -> Response:
        """``GET /webhook_event_types``: the types of events that this gateway sends."""
        return JSONResponse(api.event_type_list(SENT))

    async def create(self, request: Request, caller: Caller) -> Response:
        """``POST /webhook_endpoints``: register a receiver; only this answer shows its secret."""
        fields = api.parse_endpoint(await self._fields(request), OFFERED)
        await self._check(caller, fields.get("event_types", ()), fields.get("url"))
        endpoint, secret = await self._endpoints.create(caller.session(self._session), **fields)
        return JSONResponse(await self._shown(endpoint) | {"signing_secret": secret})

    async def list_page(self, request: Request, caller: Caller) -> Response:
        """``GET /webhook_endpoints``: the caller's endpoints, newest first."""
        page = api.parse_page(request.query_params)
        await self._renew()
        own = [endpoint for endpoint in self._endpoints.by_id.values() if _may_manage(caller, endpoint)][::-1]
        start = 0
        if page.after is not None:
            names = [endpoint.endpoint_id for endpoint in own]
            if page.after not in names:
                raise api.no_such_endpoint(page.after, "after")
            start = names.index(page.after) + 1
        data = [await self._shown(endpoint) for endpoint in own[start : start + page.limit]]
        return JSONResponse(api.endpoint_list(data, has_more=len(own) > start + page.limit))

    async def retrieve(self, request: Request, caller: Caller) -> Response:
        """``GET /webhook_endpoints/{endpoint_id}``: one endpoint."""
        return JSONResponse(await self._shown(await self._found(request, caller)))

    async def update(self, request: Request, caller: Caller) -> Response:
        """``POST /webhook_endpoints/{endpoint_id}``: change the given fields; the others are unchanged."""
        changes = api.parse_changes(await self._fields(request), OFFERED)
        endpoint = await self._found(request, caller)
        await self._check(caller, changes.get("event_types", endpoint.event_types), changes.get("url"))
        session = caller.session(self._session)
        changed = await self._endpoints.update(session, endpoint.endpoint_id, **changes)
        return JSONResponse(await self._shown(changed))

    async def rotate_secret(self, request: Request, caller: Caller) -> Response:
        """``POST /webhook_endpoints/{endpoint_id}/rotate_secret``: give it a new secret and return it."""
        keep_old = api.parse_rotation(await self._fields(request))
        endpoint = await self._found(request, caller)
        await self._check(caller, endpoint.event_types, None)
        session = caller.session(self._session)
        changed, secret = await self._endpoints.rotate(session, endpoint.endpoint_id, keep_old=keep_old)
        return JSONResponse(await self._shown(changed) | {"signing_secret": secret})

    async def delete(self, request: Request, caller: Caller) -> Response:
        """``DELETE /webhook_endpoints/{endpoint_id}``: delete an endpoint and its pending deliveries."""
        endpoint = await self._found(request, caller)
        await self._endpoints.delete(caller.session(self._session), endpoint.endpoint_id)
        return JSONResponse(api.deleted_endpoint(endpoint.endpoint_id))

    async def test(self, request: Request, caller: Caller) -> Response:
        """``POST /webhook_endpoints/{endpoint_id}/test``: send a sample event now, once."""
        event_type = api.parse_test(await self._fields(request), OFFERED)
        endpoint = await self._found(request, caller)
        if endpoint.state is EndpointState.ERASED:
            raise NotReady(
                f"{endpoint.endpoint_id}: its URL or its secret was erased: set the URL, "
                "or rotate the secret",
                param="url",
                expected="a URL and a secret",
                found="erased ones",
            )
        now, name = self._session.clock(), uuid.uuid4().hex
        subject = f"{event_type.partition('.')[0]}_sample"
        body = event_body(f"evt_{name}", event_type, subject, int(now.timestamp()))
        answer = await self._post(letter_to(self._session, endpoint, f"wh_{name}", body))
        if answer.http_status is None:
            raise api.unreachable(str(endpoint.url.text), answer.problem)
        return JSONResponse(api.test_resource(endpoint.endpoint_id, event_type, answer.http_status))

    async def _fields(self, request: Request) -> dict[str, Any]:
        return await read_fields(request, max_bytes=MOST_BODY_BYTES)

    async def _check(self, caller: Caller, event_types: Sequence[str], url: str | None) -> None:
        """Refuse event types that the caller may not receive, and a forbidden URL."""
        if caller.key_id is None:
            raise NotPermitted(
                f"{caller.name} signed in, and a webhook comes when nobody is: register endpoints with an "
                "access key (`sora-ledger access grant NAME --role requester`)",
                param="Authorization",
                expected="an access key",
                found="a sign-in",
            )
        if APPROVAL_REQUESTED in event_types:
            caller.check(Permission.APPROVE)
        if url is not None:
            try:
                await self._post.addresses.check(url)
            except AddressRefused as refused:
                raise Refusal(
                    400,
                    "invalid_url",
                    str(refused),
                    param="url",
                    expected=refused.expected,
                    found=refused.found,
                ) from refused

    async def _found(self, request: Request, caller: Caller) -> Endpoint:
        name = str(request.path_params["endpoint_id"])
        await self._renew()
        try:
            endpoint = self._endpoints.get(name)
        except NoSuchEndpoint as error:
            raise api.no_such_endpoint(name) from error
        if not _may_manage(caller, endpoint):
            raise api.no_such_endpoint(name)
        return endpoint

    async def _renew(self) -> None:
        await asyncio.to_thread(self._endpoints.renew)

    async def _shown(self, endpoint: Endpoint) -> dict[str, Any]:
        """Return an endpoint in the API's format, and whether it receives anything."""
        await asyncio.to_thread(self._audience.renew)
        is_known = any(Permission.READ in caller.permissions for caller in self._audience.callers(endpoint))
        status = endpoint.state if endpoint.state is EndpointState.ERASED or is_known else "no_valid_key"
        resource = api.endpoint_resource(
            endpoint.endpoint_id,
            endpoint.name.text or ERASED,
            endpoint.url.text or ERASED,
            endpoint.event_types,
            hint=hint_of(endpoint.secret.text) if endpoint.secret.text else ERASED,
            created_at=_seconds(endpoint.created_at),
            updated_at=_seconds(endpoint.updated_at),
        )
        return resource | {"status": str(status)}


def _may_manage(caller: Caller, endpoint: Endpoint) -> bool:
    if caller.team is None and Permission.OPERATE in caller.permissions:
        return True
    if endpoint.team is not None:
        return caller.team == endpoint.team
    return caller.name == endpoint.owner


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def gateway_routes(session: Session, gatekeeper: Gatekeeper, posts: Posts, post: Post) -> list[Route]:
    """Return the routes of the Videos API; the first that matches answers. `post` sends sample webhooks."""
    projection = Projection(session.ledger)
    gets, content = Gets(session, projection), Content(session)
    webhooks, by_id = EndpointRoutes(session, post), "/webhook_endpoints/{endpoint_id}"

    def route(method: str, path: str, permission: Permission, endpoint: Operation) -> Route:
        answer = _guarded(session, gatekeeper, permission, endpoint)
        return Route(f"{PREFIX}{path}", answer, methods=[method])

    def paid(path: str, endpoint: Operation) -> Route:
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
        route("GET", by_id, Permission.READ, webhooks.retrieve),
        route("POST", by_id, Permission.READ, webhooks.update),
        route("DELETE", by_id, Permission.READ, webhooks.delete),
        route("POST", f"{by_id}/rotate_secret", Permission.READ, webhooks.rotate_secret),
        route("POST", f"{by_id}/test", Permission.READ, webhooks.test),
    ]


def _call(request: Request) -> Call:
    """Return a request in repeatable form, with the fields that were read from it."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    return Call(request.method, request.url.path[:LONGEST_PATH], request.state.fields, key)


def _guarded(
    session: Session,
    gatekeeper: Gatekeeper,
    permission: Permission,
    endpoint: Operation,
    *,
    reads_what_is_refused: bool = False,
) -> Callable[[Request], Awaitable[Response]]:
    """Identify the caller, check the permission and the rate, and answer; every error becomes an envelope.

    ``request.state.identified`` does the first two again, for endpoints that read a body first. With
    `reads_what_is_refused`, the endpoint itself raises ``request.state.refused``, the refusal for too many
    requests, after it has read the refused request.
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
