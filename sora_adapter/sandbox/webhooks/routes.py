"""The API of webhook endpoints, as SDK 3.52 calls it: one function for each operation."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sora_adapter.sandbox.webhooks.deliveries import Delivery
from sora_adapter.sandbox.webhooks.endpoints import Endpoint
from sora_adapter.sandbox.webhooks.fixtures import STAND_IN_ENDPOINT
from sora_adapter.sandbox.webhooks.outbox import Outbox, event_body, letter_to
from sora_adapter.sandbox.webhooks.sender import Post, is_postable
from sora_adapter.serving import endpoints as protocol
from sora_adapter.serving.bodies import read_fields
from sora_adapter.serving.errors import ApiError
from sora_adapter.serving.signatures import hint_of


def show_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint in the API's format, without its secret."""
    return protocol.endpoint_resource(
        endpoint.id,
        endpoint.name,
        endpoint.url,
        endpoint.event_types,
        hint=hint_of(endpoint.secret),
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
    )


def with_secret(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint with its new secret."""
    return {**show_endpoint(endpoint), "signing_secret": endpoint.secret}


def delivery_record(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery for a test; `next_at` is null once it was accepted or given up."""
    return {
        "id": delivery.id,
        "webhook_endpoint_id": delivery.endpoint_id,
        "event_id": delivery.event_id,
        "attempts": delivery.attempts,
        "last_status": delivery.last_status,
        "next_at": delivery.next_at,
    }


class WebhookRoutes:
    """The operations on the endpoints of an outbox; sample events are posted immediately."""

    def __init__(self, outbox: Outbox, post: Post, clock: Callable[[], float], *, permissive: bool) -> None:
        self._outbox, self._post, self._clock, self._permissive = outbox, post, clock, permissive
        self._endpoints = outbox.endpoints

    @property
    def table(self) -> list[tuple[str, str, Callable[[Request], Awaitable[Response]]]]:
        """Path, method and function of every operation."""
        by_id = "/webhook_endpoints/{endpoint_id}"
        return [
            ("/webhook_event_types", "GET", self.event_types),
            ("/webhook_endpoints", "POST", self.create),
            ("/webhook_endpoints", "GET", self.list_page),
            (by_id, "GET", self.retrieve),
            (by_id, "POST", self.update),
            (by_id, "DELETE", self.delete),
            (f"{by_id}/rotate_secret", "POST", self.rotate_secret),
            (f"{by_id}/test", "POST", self.test),
        ]

    async def event_types(self, _request: Request) -> Response:
        """List every type of event."""
        return JSONResponse(protocol.event_type_list())

    async def create(self, request: Request) -> Response:
        """Create an endpoint; only this answer shows its secret."""
        wanted = self._require_usable(protocol.parse_endpoint(await read_fields(request)))
        endpoint = await run_in_threadpool(lambda: self._endpoints.add(**wanted, now=self._clock()))
        return JSONResponse(with_secret(endpoint))

    async def list_page(self, request: Request) -> Response:
        """List endpoints, newest first."""
        wanted = protocol.parse_page(request.query_params)
        endpoints = await run_in_threadpool(self._endpoints.list_all)
        start = self._start(endpoints, wanted.after)
        page = [show_endpoint(endpoint) for endpoint in endpoints[start : start + wanted.limit]]
        return JSONResponse(protocol.endpoint_list(page, has_more=len(endpoints) > start + wanted.limit))

    async def retrieve(self, request: Request) -> Response:
        """Return an endpoint."""
        return JSONResponse(show_endpoint(await self._find(request)))

    async def update(self, request: Request) -> Response:
        """Change the given fields; the others are unchanged."""
        changes = self._require_usable(protocol.parse_changes(await read_fields(request)))
        endpoint = (await self._find(request)).change(changes, self._clock())
        await run_in_threadpool(self._endpoints.put, endpoint)
        return JSONResponse(show_endpoint(endpoint))

    async def rotate_secret(self, request: Request) -> Response:
        """Give an endpoint a new secret, and return it."""
        keep_old = protocol.parse_rotation(await read_fields(request))
        endpoint = (await self._find(request)).rotate(self._clock(), keep_old=keep_old)
        await run_in_threadpool(self._endpoints.put, endpoint)
        return JSONResponse(with_secret(endpoint))

    async def delete(self, request: Request) -> Response:
        """Delete an endpoint and its pending deliveries."""
        endpoint = await self._find(request)
        if not (self._permissive and endpoint.id == STAND_IN_ENDPOINT):
            await run_in_threadpool(self._endpoints.delete, endpoint.id)
            await run_in_threadpool(self._outbox.deliveries.forget, endpoint.id)
        return JSONResponse(protocol.deleted_endpoint(endpoint.id))

    async def test(self, request: Request) -> Response:
        """Send a sample event once, immediately, and return how the receiver answered."""
        event_type = protocol.parse_test(await read_fields(request))
        endpoint = await self._find(request)
        status = await self._post_sample(endpoint, event_type)
        if status is None:
            raise protocol.unreachable(endpoint.url)
        return JSONResponse(protocol.test_resource(endpoint.id, event_type, status))

    async def _post_sample(self, endpoint: Endpoint, event_type: str) -> int | None:
        if self._permissive and not is_postable(endpoint.url):
            return 200
        now, name = self._clock(), uuid.uuid4().hex
        subject = f"{event_type.partition('.')[0]}_sample"
        body = event_body(f"evt_{name}", event_type, subject, now)
        return await self._post(letter_to(endpoint, f"wh_{name}", body, now))

    def _require_usable(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of an endpoint if it accepts posts; unlike the real server, http is allowed."""
        url = fields.get("url")
        if url is not None and not self._permissive and not is_postable(url):
            message = f"Invalid 'url': expected an https (or http) URL with a host, but got '{url}'."
            raise ApiError.invalid(message, code="invalid_url", param="url")
        return fields

    async def _find(self, request: Request) -> Endpoint:
        endpoint_id = str(request.path_params["endpoint_id"])
        endpoint = await run_in_threadpool(self._endpoints.get, endpoint_id)
        if endpoint is None:
            raise protocol.no_such_endpoint(endpoint_id, "webhook_endpoint_id")
        return endpoint

    def _start(self, endpoints: list[Endpoint], after: str | None) -> int:
        """Return where the page after an endpoint starts."""
        if after is None:
            return 0
        for index, endpoint in enumerate(endpoints):
            if endpoint.id == after:
                return index + 1
        if self._permissive:
            return 0
        raise protocol.no_such_endpoint(after, "after")
