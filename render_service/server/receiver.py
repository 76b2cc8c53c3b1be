"""``POST /webhooks/{profile}``: from the bytes on the wire to an event in the inbox, and nothing else.

What is not proved to come from the server is answered with a 4xx, counted and not recorded; a signed event of
a type that is none of ours is answered with 200 and counted, or it would come again for three days. Only a
ledger that cannot be written is a 503: the sender tries again.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ledger.errors import LedgerError
from ledger.events import WebhookReceived
from render_service.runtime.telemetry import Log
from render_service.server.metrics import Metrics
from render_service.webhooks.inbox import Inbox, Reception
from sora_adapter.errors import DeliveryRefused
from sora_adapter.webhooks import Delivery, Verifier

MOST_BYTES = 64 * 1024
LONGEST_S = 10.0
"""Bytes of a body, and seconds it may take to arrive; what the Videos API sends has some 200 bytes."""

RETRY_AFTER = {"Retry-After": "30"}

STATUS = {
    "unsigned": HTTPStatus.BAD_REQUEST,
    "stale": HTTPStatus.BAD_REQUEST,
    "unreadable": HTTPStatus.BAD_REQUEST,
    "forged": HTTPStatus.UNAUTHORIZED,
}


class _TooLarge(Exception):
    """The body has more than `MOST_BYTES`."""


class WebhookReceiver:
    """Answers deliveries of the profiles in `verifiers`."""

    def __init__(self, verifiers: Mapping[str, Verifier], inbox: Inbox, metrics: Metrics, log: Log) -> None:
        self._verifiers, self._inbox = verifiers, inbox
        self._metrics, self._log = metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one delivery."""
        request = Request(scope, receive)
        profile = str(request.path_params["profile"])
        if profile not in self._verifiers:
            profile, outcome = "other", "unknown_profile"
            response = _refusal(HTTPStatus.NOT_FOUND, "there is no secret for webhooks of this profile")
        else:
            outcome, response = await self._answer(profile, request)
        self._metrics.webhook(profile, outcome)
        request.state.logged.update(profile=profile, outcome=outcome)
        await response(scope, receive, send)

    async def _answer(self, profile: str, request: Request) -> tuple[str, Response]:
        try:
            async with asyncio.timeout(LONGEST_S):
                body = await _body(request)
            delivery = self._verifiers[profile].read(request.headers, body)
        except _TooLarge:
            message = f"a delivery has at most {MOST_BYTES} bytes"
            return "oversized", _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        except TimeoutError:
            return "slow", _refusal(HTTPStatus.REQUEST_TIMEOUT, f"the body took longer than {LONGEST_S:g} s")
        except ClientDisconnect:
            return "broken_off", _refusal(HTTPStatus.BAD_REQUEST, "the body is not whole")
        except DeliveryRefused as refused:
            return refused.why, _refusal(STATUS[refused.why], str(refused))
        if delivery is None:
            return "ignored", JSONResponse({"outcome": "ignored"})
        return await self._receive(profile, delivery)

    async def _receive(self, profile: str, delivery: Delivery) -> tuple[str, Response]:
        try:
            async with asyncio.timeout(LONGEST_S):  # one that is recorded later is a repeated one then
                reception = await self._inbox.receive(profile, WebhookReceived(**delivery.model_dump()))
        except (LedgerError, TimeoutError) as error:
            self._log.warning("webhook.not_recorded", profile=profile, because=str(error))
            message = "the ledger cannot be written now; deliver it again"
            return "not_recorded", _refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, RETRY_AFTER)
        if reception is Reception.CONFLICTING:
            self._log.warning("webhook.conflicting", profile=profile, **delivery.model_dump())
            return reception, _refusal(HTTPStatus.CONFLICT, "this event id came before with other content")
        return reception, JSONResponse({"outcome": reception})


async def _body(request: Request) -> bytes:
    """Return the body; stops reading where it is too large."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > MOST_BYTES:
        raise _TooLarge
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise _TooLarge
    return bytes(body)


def _refusal(status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers=headers)
