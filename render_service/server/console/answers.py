"""Answer pages and actions: permissions, formats (HTML, JSON or CSV), and every error as a page."""

import asyncio
import csv
import hmac
import io
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message

from decision.errors import DecisionError
from ledger.errors import AmbiguousJob, BudgetExceeded, JobNotFound, LedgerError, SoraLedgerError
from ledger.log.replica import Replica
from render_service.runtime.errors import (
    BadInput,
    BudgetGone,
    NotAuthenticated,
    NotPermitted,
    NotReady,
    ProviderUnavailable,
    ServiceError,
    StorageFailed,
    TooManyRequests,
    WrongPerson,
)
from render_service.runtime.printable import escape_formula
from render_service.server.console.pages import (
    MOST_FORM_BYTES,
    PREFIX,
    Action,
    Done,
    Endpoint,
    NotHere,
    Page,
    Visit,
)
from render_service.server.console.rendering import Templates
from render_service.server.console.security import check_from_here
from render_service.server.console.sessions import Login, Sessions
from render_service.session.session import Session
from sora_adapter.errors import AdapterError, loggable

SIGN_IN = f"{PREFIX}/sign-in"
PATIENCE_S = 10.0
"""How long a page may wait for the ledger."""

READ_FROM = "x-sora-ledger-read-from"
"""The header of a page as JSON that says whether it was read from a replica, and its lag."""

HIDDEN = frozenset(
    {"action", "as_shown", "credential", "csrf", "delivery_id", "key", "key_id", "next", "share_id", "state"}
    | {"ticket", "until"}
)
"""Form fields that nobody types."""

_FORM = "console_form"
HTML, JSON, CSV = "html", "json", "csv"
_STATUS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], HTTPStatus], ...] = (
    (NotAuthenticated, HTTPStatus.UNAUTHORIZED),
    (NotPermitted, HTTPStatus.FORBIDDEN),
    ((JobNotFound, AmbiguousJob), HTTPStatus.NOT_FOUND),
    (TooManyRequests, HTTPStatus.TOO_MANY_REQUESTS),
    ((NotReady, BudgetExceeded, BudgetGone), HTTPStatus.CONFLICT),
    (StorageFailed, HTTPStatus.INTERNAL_SERVER_ERROR),
    ((DecisionError, BadInput), HTTPStatus.BAD_REQUEST),
    (AdapterError, HTTPStatus.BAD_GATEWAY),
    ((ProviderUnavailable, LedgerError, TimeoutError), HTTPStatus.SERVICE_UNAVAILABLE),
    (ServiceError, HTTPStatus.CONFLICT),
)
"""The answer to each error; the first matching entry applies."""


class FormExpired(ServiceError):
    """A form whose session has ended, or that is from another session."""


@dataclass(frozen=True)
class Site:
    """Shared by all answers."""

    session: Session
    sessions: Sessions
    templates: Templates
    pages: Sequence[Page]
    replica: Replica | None = None
    """The source of pages; actions, streams and files use the primary."""

    def routes(self, actions: Sequence[Action], endpoints: Sequence[Endpoint]) -> list[BaseRoute]:
        """Return the routes of the pages, the actions and the rest, below the console's path."""
        pages = {page.path: page for page in self.pages}
        return [
            *(Route(endpoint.path, self._endpoint(endpoint), methods=["GET"]) for endpoint in endpoints),
            *(
                Route(page.path + suffix, self._page(page, kind), methods=["GET"])
                for page in self.pages
                for suffix, kind in _kinds(page)
            ),
            *(
                Route(action.path, self._action(action, pages[action.page]), methods=["POST"])
                for action in actions
            ),
        ]

    # --- pages ---

    def _page(self, page: Page, kind: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(_: Request, visit: Visit) -> Response:
            visit.caller.check(page.permission)
            async with asyncio.timeout(PATIENCE_S):
                return await asyncio.to_thread(self._shown, page, kind, visit)

        return self._guarded(answer, kind)

    def _shown(self, page: Page, kind: str, visit: Visit, status: int = 200) -> Response:
        """Read and render a page, in a thread."""
        visit = self._from_replica(visit)
        view = page.read(visit)
        if kind == JSON:
            headers = {READ_FROM: json.dumps(visit.read_from.document())} if visit.read_from else None
            return JSONResponse(view.model_dump(mode="json"), status, headers=headers)
        if kind == CSV:
            assert page.rows is not None  # otherwise there is no such route
            return _csv(page.rows(view))
        return HTMLResponse(
            self.render(page.template, visit, page=page, view=view, counts=self._counts(visit)),
            status,
            page.headers,
        )

    def _from_replica(self, visit: Visit) -> Visit:
        """Return `visit` reading from the replica, if there is one that has every record of the person."""
        if self.replica is None:
            return visit
        ledger, read_from = self.replica.choose_for(visit.caller.name)
        return replace(visit, session=replace(visit.session, ledger=ledger), read_from=read_from)

    def _counts(self, visit: Visit) -> dict[str, int]:
        """Return the number of items that wait for the person, for each page of the menu that counts them."""
        counting = ((page, page.count) for page in self.pages if page.menu and visit.may(page.permission))
        return {page.path: count(visit) for page, count in counting if count is not None}

    def render(
        self,
        template: str,
        visit: Visit | None,
        *,
        page: Page | None = None,
        view: BaseModel | None = None,
        **context: Any,
    ) -> str:
        """Return a page of the console with its layout."""
        menu = [page for page in self.pages if page.menu and visit and visit.may(page.permission)]
        return self.templates.render(
            template,
            visit=visit,
            page=page,
            view=view,
            menu=menu,
            now=self.session.clock() if visit is None else visit.now,
            message=None if visit is None else self.sessions.message_left(visit.request, visit.now),
            problem=None if visit is None else visit.problem,
            **{"counts": {}, **context},
        )

    # --- actions ---

    def _action(self, action: Action, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request, visit: Visit) -> Response:
            typed = await read_form(request, action.most_bytes)
            try:
                check_token(typed, visit.csrf)
                visit.caller.check(action.permission)
                done = await action.do(visit, typed)
                self.sessions.gatekeeper.expire()
            except (SoraLedgerError, TimeoutError) as error:
                visit.caller.check(page.permission)
                refused = replace(visit, typed=typed, problem=sentence(error))
                self._log(error)
                return await asyncio.to_thread(self._shown, page, HTML, refused, status_of(error))
            if isinstance(done, Done):
                return self._done(done, visit)
            text = await asyncio.to_thread(self.render, page.template, visit, page=page, view=done)
            return HTMLResponse(text)

        return self._guarded(answer, HTML)

    def _done(self, done: Done, visit: Visit) -> Response:
        location = PREFIX + done.location
        if done.shown_once is not None:
            text = self.render("shown_once.html", visit, done=done, location=location)
            return HTMLResponse(text)
        response = RedirectResponse(location, HTTPStatus.SEE_OTHER)
        self.sessions.say(visit.request, response, done.message, visit.now)
        return response

    # --- the rest ---

    async def home(self, request: Request) -> Response:
        """Redirect to the first page of the menu that the person may open."""

        async def answer(_: Request, visit: Visit) -> Response:
            pages = [page for page in self.pages if page.menu and visit.may(page.permission)]
            if not pages:
                raise NotPermitted(
                    f"{visit.caller.name} has no role that permits a page of this console: an administrator "
                    "grants one"
                )
            return RedirectResponse(PREFIX + pages[0].path, HTTPStatus.SEE_OTHER)

        return await self._guarded(answer, HTML)(request)

    async def not_here(self, request: Request, problem: Exception) -> Response:
        """Answer for a non-existent address, for signed-in people."""

        async def answer(_: Request, __: Visit) -> Response:
            raise problem

        kind = JSON if request.url.path.endswith((".json", ".csv")) else HTML
        return await self._guarded(answer, kind)(request)

    def _endpoint(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def answer(_: Request, visit: Visit) -> Response:
            visit.caller.check(endpoint.permission)
            return await endpoint.answer(visit)

        return self._guarded(answer, JSON)

    def _guarded(
        self, answer: Callable[[Request, Visit], Awaitable[Response]], kind: str
    ) -> Callable[[Request], Awaitable[Response]]:
        """Identify the person, answer, and turn every error into a page."""

        async def guarded(request: Request) -> Response:
            visit: Visit | None = None
            login: Login | None = None
            try:
                if request.method == "POST":
                    check_from_here(request)
                async with asyncio.timeout(PATIENCE_S):
                    visit, login = await self._visit(request)
                request.state.logged["actor"] = visit.caller.name
                response = await answer(request, visit)
            except NotAuthenticated as error:
                return await self._signed_out(request, kind, error)
            except ClientDisconnect:
                raise
            except Exception as error:  # noqa: BLE001  # a person gets a page, whatever happened
                return self.refused(error, kind, visit)
            self._after(request, response, kind, login, visit.now)
            return response

        return guarded

    async def _visit(self, request: Request) -> tuple[Visit, Login | None]:
        now = self.session.clock()
        header = request.headers.get("authorization")
        if header is not None and request.method in {"GET", "HEAD"}:  # programs that read the JSON of a page
            caller = await self.sessions.gatekeeper.identify(header)
            return Visit(request, caller, caller.session(self.session), now), None
        login = self.sessions.read(request, now)
        if login is None:
            raise NotAuthenticated("you are not signed in, or your session has ended")
        caller = await self.sessions.caller(login)
        visit = Visit(
            request,
            caller,
            caller.session(self.session),
            now,
            csrf=self.sessions.csrf(login),
            still_signed_in=partial(self._is_signed_in, login),
        )
        return visit, login

    async def _is_signed_in(self, login: Login) -> bool:
        if login.ends <= self.session.clock():
            return False
        try:
            await self.sessions.caller(login)
        except NotAuthenticated:
            return False
        return True

    def _after(self, request: Request, response: Response, kind: str, login: Login | None, now: Any) -> None:
        """Renew the session of someone who opens pages; automatic reloads do not count."""
        if kind != HTML or login is None:
            return
        if "hx-request" not in request.headers:
            self.sessions.renew(request, response, login, now)
        if response.status_code == HTTPStatus.OK and self.sessions.message_left(request, now) is not None:
            self.sessions.forget(request, response)

    async def _signed_out(self, request: Request, kind: str, error: Exception) -> Response:
        """Redirect to the sign-in page, and back; the contents of a form are shown to be copied."""
        if kind != HTML:
            return JSONResponse({"error": str(error)}, HTTPStatus.UNAUTHORIZED)
        if request.method == "POST":
            typed = await _whatever_was_typed(request)
            shown = {
                name: text
                for name, text in typed.items()
                if name not in HIDDEN and isinstance(text, str) and text.strip()
            }
            text = self.render("signed_out.html", None, typed=shown, because=str(error))
            return HTMLResponse(text, HTTPStatus.UNAUTHORIZED)
        where = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        location = f"{SIGN_IN}?{urlencode({'next': where})}"
        if "hx-request" in request.headers:
            return Response(None, HTTPStatus.UNAUTHORIZED, headers={"hx-redirect": location})
        return RedirectResponse(location, HTTPStatus.SEE_OTHER)

    def refused(self, error: Exception, kind: str = HTML, visit: Visit | None = None) -> Response:
        """Return the answer for `error`: a page that explains it, or JSON."""
        self._log(error)
        status = status_of(error)
        again = {"retry-after": str(round(error.retry_after_s))} if isinstance(error, TooManyRequests) else {}
        if kind != HTML:
            return JSONResponse({"error": sentence(error)}, status, headers=again)
        words = sentence(error)
        return HTMLResponse(self.render("problem.html", visit, status=status, words=words), status, again)

    def _log(self, error: Exception) -> None:
        if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.session.log.warning("console.failed", status=int(status_of(error)), **loggable(error))


def _kinds(page: Page) -> list[tuple[str, str]]:
    """Return the suffixes of a page's path; longer ones first, as a part of a path takes everything."""
    return [(".json", JSON), *([(".csv", CSV)] if page.rows else []), ("", HTML)]


def status_of(error: Exception) -> HTTPStatus:
    """Return the status with which an error is answered."""
    if isinstance(error, NotHere):
        return HTTPStatus.NOT_FOUND
    for kinds, status in _STATUS:
        if isinstance(error, kinds):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def sentence(error: Exception) -> str:
    """Return the text of a page about an error; an unexpected one reveals nothing."""
    if isinstance(error, (StorageFailed, AdapterError)) or not isinstance(error, SoraLedgerError):
        if isinstance(error, TimeoutError):
            return "The ledger does not answer now. Nothing was recorded; try again in a moment."
        return "The console failed on this request; the log of this server says why."
    if isinstance(error, LedgerError) and status_of(error) == HTTPStatus.SERVICE_UNAVAILABLE:
        return "The ledger cannot be used now. Nothing was recorded; try again in a moment."
    words = error.on_page if isinstance(error, WrongPerson) else str(error)
    return words[:1].upper() + words[1:]


async def read_form(request: Request, most_bytes: int = MOST_FORM_BYTES) -> FormData:
    """Return the fields of a form, read once; `BadInput` if it is too large or not a form."""
    if hasattr(request.state, _FORM):
        form: FormData = getattr(request.state, _FORM)
        return form
    left = most_bytes

    async def receive() -> Message:
        nonlocal left
        message = await request.receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise BadInput(f"the form is too large: at most {most_bytes:,} bytes")
        return message

    try:
        form = await Request(request.scope, receive).form()
    except (HTTPException, MultiPartException) as error:
        raise BadInput(f"the form cannot be read: {getattr(error, 'detail', error)}") from None
    setattr(request.state, _FORM, form)
    return form


async def _whatever_was_typed(request: Request) -> Mapping[str, object]:
    try:
        return await read_form(request)
    except BadInput:
        return {}


def check_token(form: Mapping[str, object], token: str) -> None:
    """Raise `FormExpired` unless a form carries the token of the session."""
    form_token = form.get("csrf")
    if (
        not isinstance(form_token, str)
        or not form_token.isascii()
        or not hmac.compare_digest(form_token, token)
    ):
        raise FormExpired("this form is from an earlier session: check it, and send it again")


def _csv(rows: Sequence[Any]) -> Response:
    """Return a table as CSV that a spreadsheet opens without computing anything in it."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return Response(out.getvalue(), media_type="text/csv; charset=utf-8")


def _cell(value: object) -> object:
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    if isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False)
    return escape_formula(value)
