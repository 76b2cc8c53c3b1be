"""Spans and durations of a session's work, for OpenTelemetry and Prometheus.

A use case wraps its work in ``session.span(…)``. Without a listener, that costs one call and measures
nothing. `Telemetry` is the listener of a session and of all sessions derived from it. It passes spans to an
exporter (`render_service.runtime.otlp`) if the environment configures one, and durations to histograms
(`render_service.runtime.durations`) if this process has any.

A span has ids, names, numbers and states. It never has text that a person or a server wrote: no prompt, and
no message of an error.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

from render_service.runtime.telemetry import Trace

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Value = str | int | float | bool
Work = Literal[
    "request", "decide", "append", "submit", "call", "settle", "store", "download", "receive", "notify"
]
Kind = Literal["internal", "client", "server"]
Timer = Callable[[Work, float, Mapping[str, str]], None]
"""Called with finished work, its seconds and its labels."""

OURS = "sora_ledger."
_FAILED = {"outcome": "error"}


class Span:
    """Work in progress; this one belongs to nobody and notes nothing."""

    traceparent: str | None = None
    """The header that makes a server's span a child of this one; None if the span is not exported."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def label(self, **labels: str) -> None:
        """Add the labels that distinguish both the duration and the span."""

    def note(self, attributes: Mapping[str, Value | None]) -> None:
        """Add attributes to the span, except those that are None."""

    def rename(self, title: str) -> None:
        """Give the span a more specific title."""

    def fail(self, error_type: str) -> None:
        """Mark the work as failed, with a class of errors."""


NO_SPAN = Span()


class ExportedSpan(Protocol):
    """A span of an exporter."""

    traceparent: str | None

    def note(self, attributes: Mapping[str, Value | None]) -> None:
        """Add attributes, except those that are None."""

    def rename(self, title: str) -> None:
        """Change the title."""

    def end(self, failed_with: str | None) -> None:
        """End it, as failed if there is a class of errors."""


class Exporter(Protocol):
    """What sends spans, and the metrics of `render_service.server.metrics`, to a collector."""

    def begin(self, work: Work, trace: Trace, how: "SpanStart") -> ExportedSpan:
        """Begin a span; it is the current one until it ends."""

    def add(self, collect: "Callable[[], Iterable[Metric]]") -> None:
        """Also export the result of `collect` at each interval."""

    def stop(self) -> None:
        """Send the rest, for a limited time."""


class SpanStart:
    """The beginning of a span: its kind, and the spans of other traces it is linked to.

    With `begins_trace` it is the root span of the trace, `linked` to its cause.
    """

    __slots__ = ("begins_trace", "kind", "linked")

    def __init__(
        self, kind: Kind = "internal", linked: Sequence[Trace] = (), *, begins_trace: bool = False
    ) -> None:
        self.kind: Kind = kind
        self.linked = linked
        self.begins_trace = begins_trace


INTERNAL = SpanStart()


class _Watched(Span):
    """Work that is measured, and exported if there is an exporter."""

    def __init__(self, work: Work, timers: Sequence[Timer], begun: Callable[[], ExportedSpan] | None) -> None:
        self._work, self._timers, self._begun = work, timers, begun
        self._exported: ExportedSpan | None = None
        self._labels: dict[str, str] = {}
        self._failed_with: str | None = None

    def __enter__(self) -> Self:
        if self._begun is not None:
            self._exported = self._begun()
            self.traceparent = self._exported.traceparent
        self._started_s = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        took_s = time.perf_counter() - self._started_s
        if kind is not None:
            self._failed_with = self._failed_with or kind.__name__
            self._labels = _FAILED | self._labels
        for timer in self._timers:
            timer(self._work, took_s, self._labels)
        if self._exported is not None:
            self._exported.note({OURS + name: value for name, value in self._labels.items()})
            self._exported.end(self._failed_with)

    def label(self, **labels: str) -> None:
        self._labels.update(labels)

    def note(self, attributes: Mapping[str, Value | None]) -> None:
        if self._exported is not None:
            self._exported.note(attributes)

    def rename(self, title: str) -> None:
        if self._exported is not None:
            self._exported.rename(title)

    def fail(self, error_type: str) -> None:
        self._failed_with = error_type


class Telemetry:
    """The listener for the work of a session."""

    def __init__(self, exporter: Exporter | None = None) -> None:
        self.exporter = exporter
        self.timers: tuple[Timer, ...] = ()
        self.origins: dict[str, Trace] = {}
        """The trace and span in which a job was requested; see `Session.origin`."""

    def span(self, work: Work, trace: Trace, how: SpanStart = INTERNAL) -> Span:
        """Return the span of some work, to be used in a ``with``."""
        exporter = self.exporter
        if exporter is None:
            return _Watched(work, self.timers, None) if self.timers else NO_SPAN
        return _Watched(work, self.timers, lambda: exporter.begin(work, trace, how))

    def stop(self) -> None:
        """Send the rest, for a limited time."""
        exporter, self.exporter = self.exporter, None
        if exporter is not None:
            exporter.stop()


REQUEST: ContextVar[Trace | None] = ContextVar("request", default=None)
"""The trace of the request being answered, in a server."""
