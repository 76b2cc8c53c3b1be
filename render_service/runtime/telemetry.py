"""Traces and log lines. Every invocation is one W3C trace, whose id is in every log line and every event.

Lines are readable on a terminal, by structlog, and JSON anywhere else. JSON is written here: a server logs
five lines per paid request, and structlog took a twentieth of such a request's time. Keys are never logged;
as a safety net, `redact` is applied to all values.
"""

import json
import os
import re
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, NamedTuple, TextIO

from render_service.runtime.ledger_process import ledger_process

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
    sender = sender_of(environment.get("TRACEPARENT", ""))
    span_id = secrets.token_hex(8)
    if sender is not None:
        return Trace(sender.trace_id, span_id, sender.span_id)
    return Trace(secrets.token_hex(16), span_id)


def sender_of(traceparent: str) -> Trace | None:
    """Return the trace and span in a ``traceparent``; None if it is malformed."""
    match = _TRACEPARENT.match(traceparent)
    if match and set(match[1]) != {"0"} and set(match[2]) != {"0"}:
        return Trace(match[1], match[2])
    return None


def redact(value: Any) -> Any:
    """Return `value` without anything that looks like an API key or a terminal control sequence."""
    if not isinstance(value, str):
        return value
    if value.isprintable() and "sk-" not in value and "slk_" not in value:  # the usual case, and much faster
        return value
    return _CONTROL.sub("\ufffd", _KEY.sub(r"\1[redacted]", value))


@dataclass
class Log:
    """Writes log events, named like the vocabulary (``submission.accepted``), with keys and no prose.

    A line that cannot be written, for example on a full disk, is lost: a paid answer must not be.
    """

    trace: Trace
    quiet: bool = False
    command: str = ""
    """The command of the trace, for the span that begins it."""

    def of(self, trace: Trace) -> "Log":
        """Return the log of another trace; it writes to the same place."""
        return Log(trace, self.quiet, self.command)

    def log_start(self, command: str) -> None:
        """Log the beginning of the trace, even if `quiet`."""
        keys = {"command": command, "parent_span_id": self.trace.parent_span_id}
        self._write("info", "trace.started", keys)

    def info(self, event: str, **keys: Any) -> None:
        """Log what happened, unless `quiet`."""
        if not self.quiet:
            self._write("info", event, keys)

    def warning(self, event: str, **keys: Any) -> None:
        """Log something that needs attention."""
        self._write("warning", event, keys)

    def _write(self, level: str, event: str, keys: Mapping[str, Any]) -> None:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        line = {**_ids(self.trace), **keys, "event": event, "level": level, "timestamp": now}
        text = _format_for_terminal(_redact(line)) if _is_terminal(sys.stderr) else _as_one_line(line)
        with suppress(OSError):
            sys.stderr.write(text + "\n")


@lru_cache(maxsize=1)
def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty()


def _ids(trace: Trace) -> dict[str, str]:
    process = ledger_process()
    of = {} if process is None else {"ledger": process.name}
    return {"trace_id": trace.trace_id, "span_id": trace.span_id, **of}


_as_json = json.JSONEncoder(default=repr).encode


def _as_one_line(line: dict[str, Any]) -> str:
    """Return `line` as JSON; a value that must be redacted is visible in the text of the whole line."""
    if not _has_secret(tuple(line)):
        text = _as_json(line)
        if "\\" not in text and "sk-" not in text and "slk_" not in text:
            return text
    return _as_json(_redact(line))


def _format_for_terminal(line: dict[str, Any]) -> str:
    return str(_renderer()(None, "", line))


@cache
def _renderer() -> Any:
    import structlog  # takes 0.1 s, so only if something is logged

    return structlog.dev.ConsoleRenderer(colors=True)


@lru_cache(maxsize=1_024)
def _has_secret(names: tuple[str, ...]) -> bool:
    return any(map(_is_secret, names))


def _is_secret(name: str) -> bool:
    return name.endswith(_SECRET_NAMES) and name != "request_key"


def _redact(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: "[redacted]" if _is_secret(name) else redact(value) for name, value in line.items()}
