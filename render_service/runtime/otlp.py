"""Send spans and metrics to an OpenTelemetry collector, by OTLP over HTTP.

Imported only if the environment asks for it: the SDK takes a third of a second to load. Everything is sent by
separate threads, from a queue that drops what it cannot hold, so a dead or slow collector delays nothing; at
the end, the rest is sent within `FLUSH_S`. Problems are logged, at most once a minute.

Traces match the records: the span that begins a trace has the recorded trace id and span id. It ends as soon
as the process has started, and later work is a child of it, so that no span lasts as long as a worker.

There is one set of metrics, which ``/metrics`` shows and OTLP sends, under the same names: nothing is counted
twice, and an alert holds for both. They are translated here from the model of Prometheus; counters and
histograms are cumulative.
"""

import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, Token
from importlib.metadata import version
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace as api
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as OtlpMetric
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric

from render_service.runtime.spans import ExportedSpan, SpanStart, Value, Work
from render_service.runtime.telemetry import Log, Trace

FLUSH_S = 2.0
"""Maximum wait for a collector at the end of a process; a worker has promised to end within ten seconds."""

AFTER_TROUBLE_S = 0.3
"""The same, once the collector has accepted nothing."""

PROBE_S = 3.0
CHECK_S = 0.005
QUIET_S = 60.0
MOST_ROOTS = 1_000
MOST_LINKS = 100
LONGEST_REASON = 300
SCOPE = "sora-ledger"
TITLES: Mapping[Work, str] = {"receive": "webhook.receive", "notify": "webhook.deliver"}
_KINDS = {"internal": api.SpanKind.INTERNAL, "client": api.SpanKind.CLIENT, "server": api.SpanKind.SERVER}
_TRACE: ContextVar[Trace | None] = ContextVar("trace", default=None)


class OtlpExporter:
    """Exports the spans and metrics of one process.

    `host` is the tracer provider of a program that uses this one as a library: its spans go there.
    """

    def __init__(
        self,
        log: Log,
        *,
        traces: bool,
        metrics_every_s: float | None,
        host: api.TracerProvider | None = None,
    ) -> None:
        self._log = log
        self._troubles = _troubles()
        self._troubles.report_to(log)
        self._host = host
        self._tracer: api.Tracer | None = host.get_tracer(SCOPE, version("sora-ledger")) if host else None
        self._flushing: list[Callable[[], object]] = []
        self._roots: OrderedDict[str, contexts.Context] = OrderedDict()
        self._began_ns, self._began_s = time.time_ns(), time.monotonic()
        if traces and host is None:
            self._tracer = self._begin_tracing(_resource())
            self._root(log.trace)  # now: the first work may come in days
        self._metrics: _MetricSender | None = None
        if metrics_every_s is not None:
            self._metrics = _MetricSender(_resource(), metrics_every_s)
            self._flushing.append(self._metrics.stop)

    def _begin_tracing(self, resource: Any) -> api.Tracer:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        class Ids(RandomIdGenerator):
            """Uses the record's ids for the span that begins a trace."""

            def generate_trace_id(self) -> int:
                providers = _TRACE.get()
                return int(providers.trace_id, 16) if providers else super().generate_trace_id()

            def generate_span_id(self) -> int:
                providers = _TRACE.get()
                return int(providers.span_id, 16) if providers else super().generate_span_id()

        provider = TracerProvider(resource=resource, id_generator=Ids(), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._flushing.append(provider.shutdown)
        return provider.get_tracer(SCOPE, version("sora-ledger"))

    def add(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Also export these metrics."""
        if self._metrics is not None:
            self._metrics.sources.append(collect)

    def begin(self, work: Work, trace: Trace, how: SpanStart) -> ExportedSpan:
        """Begin a span, in the trace of the record that the work makes."""
        if self._tracer is None:
            return _NOWHERE
        current = api.get_current_span().get_span_context()
        is_same = current.is_valid and (work == "call" or current.trace_id == int(trace.trace_id, 16))
        linked = [_make_link(other) for other in how.linked[:MOST_LINKS]]
        if current.is_valid and not is_same:
            linked.append(api.Link(current))
        title, kind = TITLES.get(work, work), _KINDS[how.kind]
        if how.begins_trace:
            return _OpenSpan(self._begin_trace(title, trace, kind, linked))
        parent = None if is_same else self._root(trace)
        return _OpenSpan(self._tracer.start_span(title, context=parent, kind=kind, links=linked))

    def _begin_trace(
        self, title: str, trace: Trace, kind: api.SpanKind, links: list[api.Link], began_ns: int | None = None
    ) -> api.Span:
        """Begin the span that has the ids of `trace`."""
        assert self._tracer is not None  # asked before
        parent = contexts.Context()
        if self._host is not None:
            parent = _make_child_context(trace)
        elif trace.parent_span_id:
            parent = _make_child_context(Trace(trace.trace_id, trace.parent_span_id))
        token = _TRACE.set(trace)
        try:
            return self._tracer.start_span(title, parent, kind, links=links, start_time=began_ns)
        finally:
            _TRACE.reset(token)

    def _root(self, trace: Trace) -> contexts.Context:
        """Return the context of the span that begins `trace`, creating it on first use."""
        if self._host is not None:  # it chooses the ids of spans; the record's ids are above them
            return _make_child_context(trace)
        known = self._roots.get(trace.span_id)
        if known is None:
            command = self._log.command if trace == self._log.trace else ""
            title = f"{SCOPE} {command}".rstrip()
            span = self._begin_trace(title, trace, api.SpanKind.INTERNAL, [], self._began_ns)
            span.end()
            above = api.NonRecordingSpan(span.get_span_context())
            known = self._roots[trace.span_id] = api.set_span_in_context(above, contexts.Context())
            if len(self._roots) > MOST_ROOTS:
                self._roots.popitem(last=False)
        return known

    def stop(self) -> None:
        """Send the rest, for `FLUSH_S` at most, or briefly if the collector has problems."""
        threads = [threading.Thread(target=flush, daemon=True) for flush in self._flushing]
        until = time.monotonic() + FLUSH_S
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            in_trouble = self._troubles.is_recent(self._began_s)
            if time.monotonic() >= until:
                if not in_trouble:
                    self._log.warning("telemetry.cut_off", after_s=FLUSH_S)
                break
            if in_trouble:
                until = min(until, self._troubles.last_s + AFTER_TROUBLE_S)
            time.sleep(CHECK_S)


class _OpenSpan:
    """A span that is exported when it ends; until then it is the current one of its task."""

    def __init__(self, span: api.Span) -> None:
        self._span = span
        self._token: Token[contexts.Context] = contexts.attach(api.set_span_in_context(span))
        about = span.get_span_context()
        ids = f"{about.trace_id:032x}-{about.span_id:016x}"
        self.traceparent: str | None = f"00-{ids}-{about.trace_flags:02x}"

    def note(self, attributes: Mapping[str, Value | None]) -> None:
        """Add attributes."""
        for name, value in attributes.items():
            if value is not None:
                self._span.set_attribute(name, value)

    def rename(self, title: str) -> None:
        """Change the title."""
        self._span.update_name(title)

    def end(self, failed_with: str | None) -> None:
        """End the span; an error shows as its class only, since its message may quote private text."""
        if failed_with:
            self._span.set_attribute("error.type", failed_with)
            self._span.set_status(api.StatusCode.ERROR)
        self._span.end()
        contexts.detach(self._token)


class _Nowhere:
    """A span when only metrics are exported."""

    traceparent: str | None = None

    def note(self, attributes: Mapping[str, Value | None]) -> None:
        """Drop attributes."""

    def rename(self, title: str) -> None:
        """Drop a title."""

    def end(self, failed_with: str | None) -> None:
        """End nothing."""


_NOWHERE = _Nowhere()


def _context_of(trace: Trace) -> api.SpanContext:
    flags = api.TraceFlags(api.TraceFlags.SAMPLED)
    return api.SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), is_remote=True, trace_flags=flags)


def _make_child_context(trace: Trace) -> contexts.Context:
    return api.set_span_in_context(api.NonRecordingSpan(_context_of(trace)), contexts.Context())


def _make_link(trace: Trace) -> api.Link:
    return api.Link(_context_of(trace))


def _resource() -> Any:
    """Describe this process without the detectors of the SDK: one of them would send the command line."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    own = {
        "service.name": SCOPE,
        "service.version": version("sora-ledger"),
        "service.instance.id": str(uuid.uuid4()),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": version("opentelemetry-sdk"),
    }
    return Resource(own).merge(OTELResourceDetector().detect())


class _MetricSender:
    """Sends the metrics of its sources at an interval and at the end."""

    def __init__(self, resource: Any, interval_s: float) -> None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        from render_service.runtime.otlp import Translation

        self.sources: list[Callable[[], Iterable[Metric]]] = []
        self._exporter = OTLPMetricExporter()
        self._translation = Translation(resource, SCOPE, version("sora-ledger"))
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="metrics")
        self._thread.start()

    def stop(self) -> None:
        """Send once more, and end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._send()
        self._send()

    def _send(self) -> None:
        families: list[Metric] = []
        for collect in list(self.sources):
            try:
                families += collect()
            except Exception as error:  # noqa: BLE001  # such as a ledger that is away; the others are sent
                _troubles().note(f"metrics could not be read: {type(error).__name__}")
        if families:
            self._exporter.export(self._translation.translate(families))


class _Troubles(logging.Handler):
    """Turns the SDK's complaints into lines of our log, one a minute."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._log: Log | None = None
        self._logged_s = float("-inf")
        self.last_s = float("-inf")
        """The time of the last problem, by the monotonic clock."""

    def report_to(self, log: Log) -> None:
        """Write to `log` from now on."""
        self._log, self._logged_s = log, float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Take one complaint; it never raises."""
        self.note(record.getMessage())

    def note(self, because: str) -> None:
        """Log a problem, unless one was logged recently."""
        self.last_s = time.monotonic()
        if self._log is not None and self.last_s >= self._logged_s + QUIET_S:
            self._logged_s = self.last_s
            self._log.warning("telemetry.trouble", because=because[:LONGEST_REASON])

    def is_recent(self, since_s: float) -> bool:
        """Return whether there was a problem since then."""
        return self.last_s >= since_s


_TROUBLES = _Troubles()


def _troubles() -> _Troubles:
    """Return the handler for the SDK's complaints, which its logger would write to stderr."""
    logger = logging.getLogger("opentelemetry")
    if _TROUBLES not in logger.handlers:
        logger.addHandler(_TROUBLES)
        logger.propagate = False
    return _TROUBLES


class _Heard(logging.Handler):
    """Collects the SDK's complaints."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.complaints: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take one complaint."""
        self.complaints.append(record.getMessage())


def collector_trouble(*, traces: bool, metrics: bool) -> str | None:
    """Send the collector an empty request of each kind; return the first failure."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
    from opentelemetry.sdk.trace.export import SpanExportResult

    heard, logger = _Heard(), logging.getLogger("opentelemetry")
    _troubles()
    logger.addHandler(heard)
    try:
        if traces and OTLPSpanExporter(timeout=PROBE_S).export([]) is not SpanExportResult.SUCCESS:
            return heard.complaints[0] if heard.complaints else "it takes no spans"
        exporter = OTLPMetricExporter(timeout=PROBE_S) if metrics else None
        if exporter and exporter.export(MetricsData([])) is not MetricExportResult.SUCCESS:
            return heard.complaints[0] if heard.complaints else "it takes no metrics"
    finally:
        logger.removeHandler(heard)
    return None


_UNITS = {"seconds": "s", "usd": "{USD}"}
_INFINITE = "+Inf"
_UNKNOWN: Any = None
"""Neither the smallest nor the largest value is known: they are left out."""


class Translation:
    """Translates the metrics of one process."""

    def __init__(self, resource: Resource, name: str, version: str) -> None:
        self._resource, self._scope = resource, InstrumentationScope(name, version)
        self._began_ns = time.time_ns()

    def translate(self, families: Iterable[Metric]) -> MetricsData:
        """Return the families as they are now; one without samples is left out."""
        now_ns = time.time_ns()
        metrics = [self._metric(family, now_ns) for family in families if family.samples]
        scoped = ScopeMetrics(self._scope, metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scoped], "")])

    def _metric(self, family: Metric, now_ns: int) -> OtlpMetric:
        unit = _UNITS.get(family.name.rpartition("_")[2], "1")
        return OtlpMetric(family.name, family.documentation, unit, self._data(family, now_ns))

    def _data(self, family: Metric, now_ns: int) -> Sum | Gauge | Histogram:
        cumulative = AggregationTemporality.CUMULATIVE
        if family.type == "histogram":
            return Histogram(self._histograms(family, now_ns), cumulative)
        points = [
            NumberDataPoint(dict(sample.labels), self._began_ns, now_ns, sample.value)
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]
        return Sum(points, cumulative, is_monotonic=True) if family.type == "counter" else Gauge(points)

    def _histograms(self, family: Metric, now_ns: int) -> list[HistogramDataPoint]:
        series: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "le"}
            values = series.setdefault(tuple(sorted(labels.items())), {"bounds": [], "counts": []})
            part = sample.name.removeprefix(family.name)
            if part == "_bucket":
                values["counts"].append(int(sample.value))
                if sample.labels["le"] != _INFINITE:
                    values["bounds"].append(float(sample.labels["le"]))
            else:
                values[part] = sample.value
        return [self._histogram(dict(labels), histogram, now_ns) for labels, histogram in series.items()]

    def _histogram(self, labels: dict[str, str], series: dict[str, Any], now_ns: int) -> HistogramDataPoint:
        up_to: list[int] = series["counts"]
        return HistogramDataPoint(
            attributes=labels,
            start_time_unix_nano=self._began_ns,
            time_unix_nano=now_ns,
            count=up_to[-1],
            sum=series["_sum"],
            bucket_counts=[count - below for count, below in zip(up_to, [0, *up_to[:-1]], strict=True)],
            explicit_bounds=series["bounds"],
            min=_UNKNOWN,
            max=_UNKNOWN,
        )
