"""Connect to the server of a profile, which may be the sandbox inside this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from render_service.runtime.settings import SANDBOX, Settings
from render_service.runtime.spans import Span, SpanStart, Telemetry
from render_service.runtime.telemetry import Trace
from render_service.session.connections import check_key_goes_to
from sora_adapter.profiles import Profile

if TYPE_CHECKING:
    from sora_adapter.client import Calls, VideosClient


class _Call(AbstractContextManager["_Call"]):
    """The span of an exchange with a server."""

    def __init__(self, span: Span, base_url: str, method: str, route: str) -> None:
        self._span, self._base_url, self._method, self._route = span, base_url, method, route

    def __enter__(self) -> Self:
        self._span.__enter__()
        server = urlsplit(self._base_url)
        self._span.rename(f"{self._method} {self._route}")
        self._span.note(
            {
                "http.request.method": self._method,
                "url.template": self._route,
                "server.address": server.hostname,
                "server.port": server.port,
            }
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._span.__exit__(kind, error, trace)

    @property
    def traceparent(self) -> str | None:
        """The header with this span's ids."""
        return self._span.traceparent

    def answered(self, http_status: int | None, lost: str | None) -> None:
        """Note the status of the answer, or how the answer was lost."""
        self._span.note({"http.response.status_code": http_status})
        if lost is not None:
            self._span.fail(lost)
        elif http_status is not None and http_status >= HTTPStatus.BAD_REQUEST:
            self._span.fail(str(int(http_status)))


@asynccontextmanager
async def connection(
    settings: Settings, trace: Trace, profile: Profile, telemetry: Telemetry | None = None
) -> AsyncIterator["VideosClient"]:
    """Connect to the server of `profile`; the embedded sandbox runs for as long as the connection."""
    async with AsyncExitStack() as stack:
        base_url, key = settings.base_url, settings.api_key
        check_key_goes_to(settings, profile)
        if profile.name == SANDBOX:
            base_url, key = await stack.enter_async_context(run_embedded_sandbox(settings)), None
        from sora_adapter.client import VideosClient  # importing openai takes half a second

        client = VideosClient(
            profile,
            base_url,
            key,
            traceparent=lambda: trace.traceparent,
            calls=_calls(telemetry, trace, base_url or profile.base_url or ""),
        )
        yield await stack.enter_async_context(client)


def _calls(telemetry: Telemetry | None, trace: Trace, base_url: str) -> "Calls | None":
    """Return a wrapper that makes a span of each exchange, if spans are exported."""
    if telemetry is None or telemetry.exporter is None:
        return None
    client = SpanStart("client")
    return lambda method, route: _Call(telemetry.span("call", trace, client), base_url, method, route)


@asynccontextmanager
async def run_embedded_sandbox(settings: Settings) -> AsyncIterator[str]:
    """Run the sandbox inside this process, its state stored next to the ledger; yield its base URL."""
    from sora_adapter.sandbox.server import SandboxServer  # noqa: PLC0415  # a web server, imported only if it runs
    from sora_adapter.sandbox.settings import SandboxSettings  # noqa: PLC0415

    sandbox = SandboxSettings(data_dir=settings.sandbox_folder, render_seconds=settings.sandbox_seconds)
    server = SandboxServer(sandbox)
    await asyncio.to_thread(server.__enter__)
    try:
        yield server.base_url
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)
