"""Sign in and out: with an access key, at an identity provider, or with a link from `sora-ledger console`.

The key is sent once, in the body of a form. The link carries its ticket after ``#``, which browsers do not
send; the page posts it, and removes it from the address.
"""

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ledger.record import ActorSource
from render_service.access.callers import Caller
from render_service.access.code_flow import CodeFlow
from render_service.access.local import prove, read_ticket
from render_service.access.register import key_id_of
from render_service.runtime.errors import NotAuthenticated, ServiceError, TooManyRequests
from render_service.server.console.answers import (
    PATIENCE_S,
    SIGN_IN,
    Site,
    check_token,
    read_form,
    sentence,
    status_of,
)
from render_service.server.console.pages import PREFIX
from render_service.server.console.security import check_from_here, own_origin

MOST_ATTEMPTS = 10
MINUTE_S = 60.0
MOST_ADDRESSES = 10_000
LONGEST_NEXT = 2_000
SIGN_OUT = f"{PREFIX}/sign-out"
TICKET = f"{PREFIX}/sign-in/ticket"
PROVIDER = f"{PREFIX}/sign-in/provider"
RETURN = f"{PREFIX}/sign-in/provider/return"
PROOF = f"{PREFIX}/sign-in/proof"
LONGEST_CHALLENGE = 100


@dataclass
class Attempts:
    """Failed sign-ins by address; keys cannot be guessed, but this bounds the cost of trying."""

    elapsing: Callable[[], float] = time.monotonic
    recent: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def check(self, address: str) -> None:
        """Raise `TooManyRequests` if an address failed too often in the last minute."""
        failed, now = self.recent.get(address, deque()), self.elapsing()
        while failed and failed[0] <= now - MINUTE_S:
            failed.popleft()
        if len(failed) >= MOST_ATTEMPTS:
            wait_s = failed[0] + MINUTE_S - now
            raise TooManyRequests(
                f"too many attempts to sign in: try again in {math.ceil(wait_s)} s", retry_after_s=wait_s
            )

    def fail(self, address: str) -> None:
        """Note a failed attempt."""
        self.recent.setdefault(address, deque(maxlen=MOST_ATTEMPTS)).append(self.elapsing())
        self.recent.move_to_end(address)
        while len(self.recent) > MOST_ADDRESSES:
            self.recent.popitem(last=False)


@dataclass
class SignIn:
    """The routes that sign in and out."""

    site: Site
    public: str | None = None
    flow: CodeFlow | None = None
    """Sign-in at the identity provider, if one is configured."""
    attempts: Attempts = field(default_factory=Attempts)

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        below = len(PREFIX)
        return [
            Route(SIGN_IN[below:], self.show, methods=["GET"]),
            Route(SIGN_IN[below:], self.sign_in, methods=["POST"]),
            Route(TICKET[below:], self.use_ticket, methods=["POST"]),
            Route(PROVIDER[below:], self.to_provider, methods=["GET"]),
            Route(RETURN[below:], self.from_provider, methods=["GET"]),
            Route(PROOF[below:], self.prove, methods=["GET"]),
            Route(SIGN_OUT[below:], self.sign_out, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """Show the form."""
        return self._form(request.query_params.get("next"))

    async def sign_in(self, request: Request) -> Response:
        """Sign in with the access key in the form."""
        after: str | None = None
        try:
            check_from_here(request)
            form = await read_form(request)
            after = str(form.get("next", ""))
            address = self._address(request)
            self.attempts.check(address)
            try:
                caller = await self._holder(str(form.get("key", "")).strip())
            except NotAuthenticated:
                self.attempts.fail(address)
                raise
        except (ServiceError, TimeoutError) as error:
            return self._form(after, error)
        except Exception as error:  # noqa: BLE001  # a page, whatever happened
            return self.site.refused(error)
        request.state.logged["actor"] = caller.name
        return await self._begin(request, caller, after)

    async def _begin(
        self,
        request: Request,
        caller: Caller,
        after: str | None,
        *,
        groups: tuple[str, ...] = (),
        session_id: str | None = None,
    ) -> Response:
        response = RedirectResponse(safe_next(after), HTTPStatus.SEE_OTHER)
        try:
            await self.site.sessions.begin(request, response, caller, groups=groups, session_id=session_id)
        except Exception as error:  # noqa: BLE001  # a page, whatever happened
            return self._form(after, error) if isinstance(error, ServiceError) else self.site.refused(error)
        return response

    async def _holder(self, key: str) -> Caller:
        if key_id_of(key) is None:
            raise NotAuthenticated(
                "this is not an access key: access keys begin with slk_ and have 56 characters"
            )
        async with asyncio.timeout(PATIENCE_S):
            return await self.site.sessions.gatekeeper.identify(f"Bearer {key}")

    async def use_ticket(self, request: Request) -> Response:
        """Sign in with a ticket of this machine, once."""
        sessions = self.site.sessions
        try:
            check_from_here(request)
            form = await read_form(request)
            ticket = read_ticket(sessions.signer, str(form.get("ticket", "")), self.site.session.clock())
            if ticket is None:
                raise NotAuthenticated("this link is too old: `sora-ledger console` makes another")
            caller = await sessions.at_terminal(ticket["name"], ActorSource(ticket["source"]))
        except (ServiceError, TimeoutError) as error:
            return self._form(None, error)
        request.state.logged["actor"] = caller.name
        return await self._begin(request, caller, None, session_id=ticket["once"])

    async def to_provider(self, request: Request) -> Response:
        """Send a person to the identity provider."""
        after = safe_next(request.query_params.get("next"))
        try:
            if self.flow is None:
                raise NotAuthenticated("no identity provider is set up on this server: sign in with a key")
            address, pending = await self.flow.begin(own_origin(request) + RETURN, after)
        except (ServiceError, TimeoutError) as error:
            return self._form(after, error)
        response = RedirectResponse(address, HTTPStatus.SEE_OTHER)
        self.site.sessions.keep(request, response, pending)
        return response

    async def from_provider(self, request: Request) -> Response:
        """Sign in the person who returns from the identity provider."""
        sessions, now = self.site.sessions, self.site.session.clock()
        pending = sessions.pending(request, now)
        after = None if pending is None else pending.after
        try:
            if self.flow is None:
                raise NotAuthenticated("no identity provider is set up on this server: sign in with a key")
            redirect_uri = own_origin(request) + RETURN
            name, groups = await self.flow.finish(pending, request.query_params, redirect_uri, now)
            caller = await sessions.gatekeeper.member(name, groups)
        except (ServiceError, TimeoutError) as error:
            response = self._form(after, error)
        else:
            request.state.logged["actor"] = caller.name
            response = await self._begin(request, caller, after, groups=groups)
        sessions.drop_pending(request, response)
        return response

    async def prove(self, request: Request) -> Response:
        """Prove to `sora-ledger console` that this is the console of its ledger."""
        challenge = request.query_params.get("of", "")[:LONGEST_CHALLENGE]
        return PlainTextResponse(prove(self.site.sessions.signer, challenge))

    async def sign_out(self, request: Request) -> Response:
        """Sign out; the cookie is no longer accepted, including copies of it."""
        sessions = self.site.sessions
        response = RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER, headers={"clear-site-data": '"cache"'})
        try:
            check_from_here(request)
            login = sessions.read(request, self.site.session.clock())
            if login is not None:
                check_token(await read_form(request), sessions.csrf(login))
                await sessions.end(request, response, login)
        except Exception as error:  # noqa: BLE001  # a page, whatever happened
            return self.site.refused(error)
        return response

    def _form(self, after: str | None, error: Exception | None = None) -> Response:
        signed_in = self.site.sessions.gatekeeper.signed_in
        text = self.site.render(
            "sign_in.html",
            None,
            after=safe_next(after) if after else "",
            refused=None if error is None else sentence(error),
            provider=None if signed_in is None else signed_in.provider.label,
        )
        status = HTTPStatus.OK if error is None else status_of(error)
        headers = {}
        if isinstance(error, TooManyRequests):
            headers["retry-after"] = str(math.ceil(error.retry_after_s))
        return HTMLResponse(text, status, headers)

    def _address(self, request: Request) -> str:
        """Return the origin address of a request; behind the configured proxy, the one it reports."""
        direct = request.client.host if request.client else ""
        if self.public is None or own_origin(request) != self.public:
            return direct
        return request.headers.get("x-forwarded-for", direct).rpartition(",")[2].strip() or direct


def safe_next(text: str | None) -> str:
    """Return the page to open after signing in: always a page of this console."""
    if not text or len(text) > LONGEST_NEXT or not text.isprintable() or "\\" in text:
        return f"{PREFIX}/"
    parts = urlsplit(text)
    is_ours = not parts.scheme and not parts.netloc and parts.path.startswith(f"{PREFIX}/")
    is_plain = (
        "//" not in parts.path and "/../" not in f"{parts.path}/" and not parts.path.startswith(SIGN_IN)
    )
    return text if is_ours and is_plain else f"{PREFIX}/"
