"""One structlog line for each request: method, path, status, how long it took. Never headers or bodies."""

import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from render_service.telemetry import Log

LONGEST_PATH = 200


class AccessLog:
    """Logs ``http.answered``, and what the answering function adds to ``request.state.logged``."""

    def __init__(self, app: ASGIApp, log: Log) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and log how."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0
        logged: dict[str, Any] = {}
        scope.setdefault("state", {})["logged"] = logged

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._log.info(
                "http.answered",
                method=scope["method"],
                path=scope["path"][:LONGEST_PATH],
                status=status,
                ms=round((time.monotonic() - started) * 1000, 1),
                **logged,
            )
