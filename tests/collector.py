"""An OpenTelemetry collector: a real HTTP server that parses what comes with the standard's protobuf."""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PATIENCE_S = 30.0


@dataclass(frozen=True)
class Span:
    """One exported span, its ids as hex."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    begins: int
    ends: int
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    failed: bool
    resource: dict[str, Any]


@dataclass(frozen=True)
class Point:
    """One data point of a metric."""

    kind: str
    attributes: dict[str, Any]
    value: float
    """The value of a number, the count of a histogram."""


@dataclass
class Collector:
    """Remembers every byte; answers with `status` after calling `before`."""

    url: str = ""
    status: int = 200
    before: Callable[[], object] = lambda: None
    bodies: list[tuple[str, bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        with self._changed:
            self.bodies.append((path, body))
            self.headers.append(headers)
            self._changed.notify_all()

    def settings(self, **more: str) -> dict[str, str]:
        """Return the environment of a process that exports here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, **more}

    @property
    def spans(self) -> list[Span]:
        """Return every span that has arrived."""
        spans = []
        for path, body in self.bodies:
            if path != "/v1/traces":
                continue
            for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = values(of_process.resource.attributes)
                for scope in of_process.scope_spans:
                    spans += [_span(one, resource) for one in scope.spans]
        return spans

    @property
    def points(self) -> dict[str, list[Point]]:
        """Return the points of each metric, as they arrived last."""
        points: dict[str, list[Point]] = {}
        for path, body in self.bodies:
            if path != "/v1/metrics":
                continue
            for of_process in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in of_process.scope_metrics:
                    for metric in scope.metrics:
                        kind = str(metric.WhichOneof("data"))
                        found = getattr(metric, kind).data_points
                        points[metric.name] = [_point(kind, one) for one in found]
        return points

    def wait_for(self, is_there: Callable[["Collector"], object]) -> None:
        """Wait until `is_there` is true of what has arrived."""
        with self._changed:
            if not self._changed.wait_for(lambda: is_there(self), PATIENCE_S):
                names = sorted({span.name for span in self.spans}), sorted(self.points)
                raise AssertionError(f"this never arrived; what arrived is {names}")


def values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in attributes}


def _span(span: Any, resource: dict[str, Any]) -> Span:
    return Span(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=span.kind,
        begins=span.start_time_unix_nano,
        ends=span.end_time_unix_nano,
        attributes=values(span.attributes),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        failed=span.status.code == 2,
        resource=resource,
    )


def _point(kind: str, point: Any) -> Point:
    value = point.count if kind == "histogram" else getattr(point, str(point.WhichOneof("value")))
    return Point(kind, values(point.attributes), float(value))


@contextmanager
def collecting(**options: Any) -> Iterator[Collector]:
    """Run a collector."""
    collector = Collector(**options)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name http.server looks for
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            collector.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            collector.before()
            self.send_response(collector.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
