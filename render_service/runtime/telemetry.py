"""Traces and log lines. Every invocation is one W3C trace, whose id is in every log line and every event.

structlog is imported when the first line is logged. Lines are JSON if stderr is not a terminal, and readable
otherwise. Keys are never logged; as a safety net, `redact` is applied to all values.
"""

import json
import os
import re
import secrets
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}\Z")
_KEY = re.compile(r"(sk-|slk_)[A-Za-z0-9_\-]{3,}")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_SECRET_NAMES = ("key", "secret", "authorization", "token", "password")


class Trace(NamedTuple):
    """A W3C trace: 32 and 16 lower-case hex digits, and the parent span, if any."""

    trace_id: str
    span_id: str
    parent_span_id: str | None = None

    @property
    def traceparent(self) -> str:
        """The header that joins the server's spans to this trace."""
        return f"00-{self.trace_id}-{self.span_id}-01"


def begin_trace(environment: Mapping[str, str] = os.environ) -> Trace:
    """Continue the trace in ``TRACEPARENT``, or begin one; a malformed value is ignored."""
    match = _TRACEPARENT.match(environment.get("TRACEPARENT", ""))
    span_id = secrets.token_hex(8)
    if match and set(match[1]) != {"0"} and set(match[2]) != {"0"}:
        return Trace(match[1], span_id, match[2])
    return Trace(secrets.token_hex(16), span_id)


def redact(value: Any) -> Any:
    """Return `value` without anything that looks like an API key or a terminal control sequence."""
    if not isinstance(value, str):
        return value
    if value.isprintable() and "sk-" not in value and "slk_" not in value:  # nearly always, and much faster
        return value
    return _CONTROL.sub("\ufffd", _KEY.sub(r"\1[redacted]", value))


@dataclass
class Log:
    """Writes log events, named like the vocabulary (``submission.accepted``), with keys and no prose.

    A line that cannot be written, as on a full disk, is lost: an answer that was paid for must not be.
    """

    trace: Trace
    quiet: bool = False
    _bound: Any = field(default=None, repr=False)

    def of(self, trace: Trace) -> "Log":
        """Return the log of another trace; it writes to the same place."""
        return Log(trace, self.quiet, self._bound and self._bound.bind(**_ids(trace)))

    def started(self, command: str) -> None:
        """Log the beginning of the trace.

        In JSON it is written without structlog: a command that only reads logs nothing else.
        """
        keys = {"command": command, "parent_span_id": self.trace.parent_span_id}
        if sys.stderr.isatty():
            self.info("trace.started", **keys)
            return
        ids = _ids(self.trace)
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        line = ids | keys | {"event": "trace.started", "level": "info", "timestamp": now}
        with suppress(OSError):
            sys.stderr.write(json.dumps(line) + "\n")

    def info(self, event: str, **keys: Any) -> None:
        """Log what happened, unless `quiet`."""
        if not self.quiet:
            with suppress(OSError):
                self._logger().info(event, **keys)

    def warning(self, event: str, **keys: Any) -> None:
        """Log something that needs attention."""
        with suppress(OSError):
            self._logger().warning(event, **keys)

    def _logger(self) -> Any:
        if self._bound is None:
            self._bound = _configured().bind(**_ids(self.trace))
        return self._bound


def _ids(trace: Trace) -> dict[str, str]:
    return {"trace_id": trace.trace_id, "span_id": trace.span_id}


def _configured() -> Any:
    import structlog  # takes 0.1 s, so only if something is logged

    renderer = (
        structlog.dev.ConsoleRenderer(colors=True)
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redacting,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    return structlog.get_logger()


def _redacting(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {
        name: "[redacted]" if name.endswith(_SECRET_NAMES) and name != "request_key" else redact(value)
        for name, value in line.items()
    }
