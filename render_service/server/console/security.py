"""The restrictions on browsers in every answer of the console, and the requests it accepts at all.

A request must name a known host: this machine on loopback, or the address in SORA_LEDGER_CONSOLE_URL. Another
name means that someone's DNS points here (rebinding), or that the proxy does not pass the header Host.

A form must come from the console itself: browsers report its origin in ``Origin`` or ``Sec-Fetch-Site``. The
forms of a signed-in person carry a token as well.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from render_service.runtime.errors import NotPermitted
from render_service.runtime.settings import CONSOLE_URL

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
WITH_WASM = POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
"""The policy of the one page that runs a WebAssembly module: it may compile one, and still eval no script."""
HEADERS = {
    "content-security-policy": POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
SECURE = {"strict-transport-security": "max-age=31536000"}
PRIVATE = {"cache-control": "no-store"}
_ORIGIN = "console_origin"


class Guard:
    """Refuses other hosts, and adds the headers to every answer; `public` is the origin behind a proxy."""

    def __init__(self, app: ASGIApp, public: str | None) -> None:
        self._app = app
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or refuse its host."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin = origin_of(Headers(scope=scope), self._public)
        scope.setdefault("state", {})[_ORIGIN] = origin

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                more = SECURE if origin is not None and is_secure(origin) else {}
                for name, value in {**PRIVATE, **HEADERS, **more}.items():
                    headers.setdefault(name, value)
            await send(message)

        if origin is None:
            await _unknown_host(self._public)(scope, receive, with_headers)
        else:
            await self._app(scope, receive, with_headers)


def origin_of(headers: Headers, public: str | None) -> str | None:
    """Return the origin that a request was sent to; None for an unknown host."""
    hosts = headers.getlist("host")
    host = hosts[0].lower() if len(hosts) == 1 else ""
    if public is not None and host in {urlsplit(public).netloc, f"{urlsplit(public).netloc}:443"}:
        return public
    try:
        parts = urlsplit(f"http://{host}")
        name, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if not is_loopback(name) or parts.netloc != host or parts.username is not None:
        return None
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}" + (f":{port}" if port not in {None, 80} else "")


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_secure(origin: str) -> bool:
    """Return whether an origin is behind TLS."""
    return origin.startswith("https://")


def own_origin(request: Request) -> str:
    """Return the origin that the request was sent to, which the guard has checked."""
    return str(getattr(request.state, _ORIGIN))


def check_from_here(request: Request) -> None:
    """Raise `NotPermitted` if a browser reports that a form was sent from another site."""
    sent_from = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    if sent_from not in {None, own_origin(request)} or (
        sent_from is None and site not in {"same-origin", "none"}
    ):
        raise NotPermitted(
            f"the form was sent from {sent_from or 'another site'}, not from this console at "
            f"{own_origin(request)}: open the page here, and send it again"
        )


def _unknown_host(public: str | None) -> PlainTextResponse:
    known = f"{public} or this machine (localhost)" if public else "localhost and 127.0.0.1"
    return PlainTextResponse(
        f"The console is not served under this name: it answers for {known}. Its operator names a public "
        f"address in {CONSOLE_URL}, and has the proxy pass the header Host unchanged.\n",
        421,
    )
