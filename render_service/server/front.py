"""The front end of `serve --all`: one address for the processes of all ledgers.

``/t/NAME/v1`` is the Videos API of the ledger NAME, ``/t/NAME/console`` its console, and so on: all paths of
`serve`, below the ledger's name. ``/`` lists the ledgers that this browser has signed in to. ``/readyz``
lists the unusable ledgers. ``/metrics`` has the metrics of all of them, with the label `ledger`, for holders
of the token.

A request is forwarded to the process of its ledger, over a Unix socket that only this user may use, and its
answer is returned. Only its path is read here, and no request is sent twice. A ledger uses at most half of
the connections, so that others have room.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from html import escape
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from secrets import compare_digest
from typing import Any

import h11
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from render_service.runtime.telemetry import Log
from render_service.server.bodies import RestOfBody, has_two_lengths, refuse_two_lengths
from render_service.server.console.pages import PREFIX
from render_service.server.console.security import HEADERS, PRIVATE
from render_service.server.console.static import STATIC, Static
from render_service.server.gateway.refusals import Refusal

ANSWER_S = 6.0
"""How long `/readyz` and `/metrics` wait for one ledger."""

PART = 64 * 1024
CLIENT = b"x-sora-ledger-client"
"""Tells the process of a ledger the address of a client; dropped if a client sends it."""

COOKIE = "sora_ledger_chosen"
COOKIE_S = 30 * 86_400
_SESSION = b"sora_ledger_session_"
_OF_A_CONNECTION = {
    b"connection",
    b"expect",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"upgrade",
    CLIENT,
}
_METRICS = b"/metrics"


class FromFront:
    """In a ledger's process: reads the client's address from the front end's header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request as if the client were connected."""
        if scope["type"] == "http":
            address = next((value for name, value in scope["headers"] if name == CLIENT), b"")
            headers = [header for header in scope["headers"] if header[0] != CLIENT]
            scope = {**scope, "headers": headers, "client": (address.decode("latin-1"), 0)}
        await self._app(scope, receive, send)


class Unreachable(Exception):
    """The process of a ledger does not accept connections; nothing was sent to it."""


class AnswerLost(Exception):
    """The process of a ledger ended before it answered, and may have carried out the request."""


class Front:
    """Forwards requests to the processes of the ledgers, by the first part of the path."""

    def __init__(self, sockets: Mapping[str, Path], log: Log, *, most: int, token: str | None) -> None:
        self._sockets, self._log, self._most, self._token = sockets, log, most, token
        self._busy: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request and its answer."""
        name = scope["path_params"]["name"]
        below = f"/t/{name}".encode()
        raw: bytes = scope["raw_path"]
        if name not in self._sockets or not raw.startswith(below + b"/"):
            await self._refuse(404, "no_such_ledger", "There is no such ledger here: check the address.")(
                scope, receive, send
            )
            return
        rest = raw[len(below) :]
        if rest == _METRICS and not self.has_token(Request(scope)):
            await _needs_token()(scope, receive, send)
            return
        if self._busy[name] >= self._most:
            await self._refuse(
                503, "server_busy", f"The ledger {name} has too many requests now.", retry_after_s=1
            )(scope, receive, send)
            return
        self._busy[name] += 1
        try:
            await self._pass(name, raw if _is_console(rest) else rest, scope, receive, send)
        finally:
            self._busy[name] -= 1

    async def _pass(self, name: str, target: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        relay = Relay(scope, receive, _Choosing(name, scope, send, self._sockets))
        try:
            await relay.run(self._sockets[name], target)
        except Unreachable as error:
            self._log.warning("ledger.unreachable", ledger=name, because=str(error))
            message = (
                f"The ledger {name} cannot be used now, so nothing was done: try again in a few seconds."
            )
            await self._refuse(503, "ledger_unavailable", message, retry_after_s=5)(scope, receive, send)
        except AnswerLost as error:
            self._log.warning("ledger.answer_lost", ledger=name, because=str(error))
            message = (
                f"The process of the ledger {name} ended before it answered. The request may have been "
                "carried out: look for it before you send it again."
            )
            await self._refuse(502, "answer_lost", message)(scope, receive, send)

    def _refuse(self, status: int, code: str, message: str, *, retry_after_s: int | None = None) -> Response:
        kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        again = retry_after_s is not None
        refusal = Refusal(
            status,
            code,
            message,
            type=kind,
            retry_after_s=retry_after_s,
            should_retry=again,
            expected="an answer of the server of this ledger",
            found=f"HTTP {status}",
        )
        return JSONResponse(refusal.envelope, status, headers=refusal.headers)

    def has_token(self, request: Request) -> bool:
        """Return whether a request has the operator's token."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        return self._token is not None and compare_digest(token, self._token.encode())

    async def ready(self) -> dict[str, Any]:
        """Return the usable and unusable ledgers."""
        names = sorted(self._sockets)
        answers = await asyncio.gather(*(self._ask(name, b"/readyz") for name in names))
        ledgers = {
            name: {"ready": status == HTTPStatus.OK, "because": _because(status, body)}
            for name, (status, body) in zip(names, answers, strict=True)
        }
        unusable = [name for name, ledger in ledgers.items() if not ledger["ready"]]
        return {"ready": len(unusable) < len(names), "unusable": unusable, "ledgers": ledgers}

    async def metrics(self) -> str:
        """Return the metrics of every ledger, and the status of its process."""
        names = sorted(self._sockets)
        answers = await asyncio.gather(*(self._ask(name, b"/metrics") for name in names))
        up = [
            "# HELP sora_ledger_up Whether the process of a ledger returned its metrics.",
            "# TYPE sora_ledger_up gauge",
            *(
                f'sora_ledger_up{{ledger="{name}"}} {int(status == HTTPStatus.OK)}'
                for name, (status, _) in zip(names, answers, strict=True)
            ),
        ]
        parts = zip(names, answers, strict=True)
        texts = {name: body.decode() for name, (status, body) in parts if status == HTTPStatus.OK}
        return "\n".join([*up, *labelled(texts), ""])

    async def _ask(self, name: str, target: bytes) -> tuple[int, bytes]:
        """Return status and body of a GET at one ledger; 0 if it does not answer."""
        answer = _WholeAnswer()
        scope = {"method": "GET", "headers": [(b"host", b"localhost")], "client": ("", 0)}
        try:
            async with asyncio.timeout(ANSWER_S):
                await Relay(scope, _never, answer).run(self._sockets[name], target)
        except (Unreachable, AnswerLost, OSError, TimeoutError):
            return 0, b""
        return answer.status, bytes(answer.body)


def _because(status: int, body: bytes) -> str | None:
    if status == HTTPStatus.OK:
        return None
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["because"])
    return "its process does not answer; the log of this server says why"


def _is_console(rest: bytes) -> bool:
    return rest == b"/console" or rest.startswith(b"/console/")


def labelled(texts: Mapping[str, str]) -> Iterable[str]:
    """Yield the lines of several expositions as one, each sample with the label of its ledger."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for ledger, text in texts.items():
        family = ""
        for line in text.splitlines():
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
                if family not in heads:
                    heads[family], samples[family] = [], []
            if line.startswith("#"):
                if line not in heads[family]:
                    heads[family].append(line)
            elif line:
                samples[family].append(_with_label(line, ledger))
    for family, lines in heads.items():
        yield from lines
        yield from samples[family]


def _with_label(sample: str, ledger: str) -> str:
    name, brace, rest = sample.partition("{")
    if brace and " " not in name:
        return f'{name}{{ledger="{ledger}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{ledger="{ledger}"}} {value}'


async def _never() -> Any:
    await asyncio.Event().wait()


class _WholeAnswer:
    """Receives a whole answer."""

    status = 0

    def __init__(self) -> None:
        self.body = bytearray()

    async def __call__(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")


class _Choosing:
    """Adds the cookie with a browser's ledgers to an answer that signs the browser in or out."""

    def __init__(self, name: str, scope: Scope, send: Send, known: Mapping[str, Path]) -> None:
        self._name, self._scope, self._send, self._known = name, scope, send, known

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            cookies = [value for name, value in message["headers"] if name == b"set-cookie"]
            if (
                mine := next((cookie for cookie in cookies if _SESSION in cookie.partition(b"=")[0]), None)
            ) is not None:
                message["headers"] = [*message["headers"], (b"set-cookie", self._cookie(mine))]
        await self._send(message)

    def _cookie(self, session: bytes) -> bytes:
        names = {*chosen(self._scope, self._known), self._name}
        if b"max-age=0" in session.lower():
            names.discard(self._name)
        secure = "; Secure" if b"; secure" in session.lower() else ""
        text = ".".join(sorted(names))
        return f"{COOKIE}={text}; Path=/; Max-Age={COOKIE_S}; HttpOnly; SameSite=Lax{secure}".encode()


def chosen(scope: Scope, known: Iterable[str]) -> list[str]:
    """Return the ledgers in a browser's cookie, which it has signed in to."""
    cookies: SimpleCookie = SimpleCookie()
    with suppress(CookieError):
        cookies.load(Request(scope).headers.get("cookie", ""))
    names = cookies[COOKIE].value.split(".") if COOKIE in cookies else []
    return sorted({*names} & {*known})


class Relay:
    """One request and its answer, between the front end and the process of a ledger."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._connection = h11.Connection(h11.CLIENT)
        self._has_begun = False

    async def run(self, socket: Path, target: bytes) -> None:
        """Send the request to the process at `socket`, and its answer to the client."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(socket))
        except OSError as error:
            raise Unreachable(error.strerror or str(error)) from error
        sending = asyncio.create_task(self._request(target, writer))
        answering = asyncio.create_task(self._answer(reader))
        try:
            await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() and sending.exception() is None:  # the client is gone
                return
            await answering
        except (OSError, h11.RemoteProtocolError) as error:
            if self._has_begun:  # the client sees that the answer is incomplete
                raise
            raise AnswerLost(str(error) or type(error).__name__) from error
        finally:
            for task in (sending, answering):
                task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)
            writer.close()

    async def _request(self, target: bytes, writer: asyncio.StreamWriter) -> None:
        """Send the request; return when the client is gone."""
        scope = self._scope
        headers = [header for header in scope["headers"] if header[0] not in _OF_A_CONNECTION]
        address = scope["client"][0] if scope.get("client") else ""
        headers += [(CLIENT, address.encode("latin-1")), (b"connection", b"close")]
        query = scope.get("query_string", b"")
        whole = target + (b"?" + query if query else b"")
        await self._write(writer, h11.Request(method=scope["method"], target=whole, headers=headers))
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            if self._connection.our_state is not h11.SEND_BODY:
                continue
            if body := message.get("body", b""):
                await self._write(writer, h11.Data(data=body))
            if not message.get("more_body", False):
                await self._write(writer, h11.EndOfMessage())

    async def _write(self, writer: asyncio.StreamWriter, event: Any) -> None:
        writer.write(self._connection.send(event) or b"")
        with suppress(OSError):  # the answer explains it, if there is one
            await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader) -> None:
        while True:
            event = self._connection.next_event()
            if event is h11.NEED_DATA:
                self._connection.receive_data(await reader.read(PART))
            elif isinstance(event, h11.Response):
                self._has_begun = True
                headers = [
                    (bytes(name), bytes(value))
                    for name, value in event.headers
                    if name not in {b"connection", b"keep-alive", b"transfer-encoding"}
                ]
                await self._send(
                    {"type": "http.response.start", "status": event.status_code, "headers": headers}
                )
            elif isinstance(event, h11.Data):
                await self._send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                await self._send({"type": "http.response.body"})
                return


FOR_OPERATORS = "metrics of all ledgers: send the header Authorization: Bearer with SORA_LEDGER_METRICS_TOKEN"


def _needs_token() -> Response:
    return JSONResponse({"error": FOR_OPERATORS}, 401, headers={"www-authenticate": "Bearer"})


NO_LEDGER = (
    "This server has several ledgers, each with a path of its own: set the base URL to …/t/NAME/v1, as the "
    "operator says."
)


def create_front(
    sockets: Mapping[str, Path],
    log: Log,
    stop: asyncio.Event,
    *,
    most: int,
    token: str | None,
    has_console: bool,
) -> Starlette:
    """Build the app of the front end."""
    front = Front(sockets, log, most=most, token=token)

    async def ready(_: Request) -> Response:
        state = await front.ready()
        is_ready = state["ready"] and not stop.is_set()
        return JSONResponse({**state, "ready": is_ready}, 200 if is_ready else 503)

    async def metrics(request: Request) -> Response:
        if not front.has_token(request):
            return _needs_token()
        return Response(await front.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def home(request: Request) -> Response:
        if name := request.query_params.get("ledger"):
            where = f"/t/{name}/console/" if name in sockets else "/?unknown=1"
            return RedirectResponse(where, 303)
        return HTMLResponse(
            _chooser(
                chosen(request.scope, sockets), static.url, is_unknown="unknown" in request.query_params
            ),
            headers={**HEADERS, **PRIVATE},
        )

    async def no_ledger(_: Request) -> Response:
        refusal = Refusal(
            404, "no_such_ledger", NO_LEDGER, param="url", expected="the address of a ledger", found="another"
        )
        return JSONResponse(refusal.envelope, 404, headers=refusal.headers)

    async def alive(_: Request) -> Response:
        return JSONResponse({"alive": True})

    static = Static(STATIC)
    pages = [
        Route("/", home),
        Route(PREFIX, home),
        Route(f"{PREFIX}/", home),
        Route(f"{PREFIX}/static/{{name}}", static.answer),
    ]
    app = Starlette(
        routes=[
            *(pages if has_console else ()),
            Route("/healthz", alive),
            Route("/readyz", ready),
            Route("/metrics", metrics),
            Route("/t/{name}/{rest:path}", front),
            Route("/v1/{rest:path}", no_ledger, methods=["GET", "POST", "DELETE"]),
            Route("/mcp", no_ledger, methods=["GET", "POST"]),
        ],
        middleware=[Middleware(RestOfBody), Middleware(_OneLength)],
    )
    app.router.redirect_slashes = False
    return app


class _OneLength:
    """Refuses a request that the process of a ledger could read as two."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = refuse_two_lengths if scope["type"] == "http" and has_two_lengths(scope) else self._app
        await app(scope, receive, send)


def _chooser(names: Sequence[str], asset: Callable[[str], str], *, is_unknown: bool) -> str:
    """Return the page that lists the ledgers a browser has signed in to, and opens another by its name."""
    items = "".join(f'<li><a href="/t/{escape(name)}/console/">{escape(name)}</a></li>' for name in names)
    listed = f"<ul>{items}</ul>" if names else "<p>This browser has not signed in to a ledger here yet.</p>"
    problem = '<p role="alert">There is no ledger of that name here.</p>' if is_unknown else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><title>Ledgers · sora-ledger</title>'
        f'<link rel="icon" href="{asset("icon.svg")}" type="image/svg+xml">'
        f'<link rel="stylesheet" href="{asset("console.css")}"></head>'
        f'<body><main class="signin"><h1>Ledgers</h1>{problem}{listed}'
        '<form action="/" method="get" class="card"><label>Open a ledger by its name '
        '<input name="ledger" required pattern="[a-z0-9][a-z0-9_\\-]*" autocomplete="off"></label> '
        '<button class="button primary">Open</button></form></main></body></html>'
    )
