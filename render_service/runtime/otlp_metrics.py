"""Translate the metrics of this process from the model of Prometheus to that of OTLP.

There is one set of metrics, which ``/metrics`` shows and OTLP sends, under the same names: nothing is counted
twice, and an alert holds for both. Counters and histograms are cumulative.
"""

import time
from collections.abc import Iterable
from typing import Any

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

_UNITS = {"seconds": "s", "usd": "{USD}"}
_INFINITE = "+Inf"
_UNKNOWN: Any = None
"""Neither the smallest nor the largest value is known: they are left out."""


class Translation:
    """Translates the metrics of one process."""

    def __init__(self, resource: Resource, name: str, version: str) -> None:
        self._resource, self._scope = resource, InstrumentationScope(name, version)
        self._began_ns = time.time_ns()

    def of(self, families: Iterable[Metric]) -> MetricsData:
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
