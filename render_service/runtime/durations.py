"""Histograms of the durations of this process's work, and what is running: for Prometheus and OTLP."""

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import NamedTuple

from prometheus_client import Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from render_service.runtime.spans import Telemetry, Work

SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CALL_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
DOWNLOAD_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class _Shape(NamedTuple):
    """The measurement of one kind of work."""

    name: str
    documentation: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...]


SHAPES: Mapping[Work, _Shape] = {
    "decide": _Shape("decision", "Time to decide on a request.", ("outcome",), SHORT_S),
    "append": _Shape("append", "Time to record events durably, waiting included.", (), SHORT_S),
    "submit": _Shape(
        "submit", "Time from sending a submission to its answer.", ("profile", "outcome"), CALL_S
    ),
    "download": _Shape(
        "download", "Time to download and store one file.", ("profile", "outcome"), DOWNLOAD_S
    ),
}
"""Kinds of work with a histogram; the others have only spans."""


class Durations(Collector):
    """The histograms of one process, and its build."""

    def __init__(self) -> None:
        self._histograms = {
            work: Histogram(
                f"sora_ledger_{shape.name}_duration_seconds",
                shape.documentation,
                shape.labels,
                buckets=shape.buckets,
                registry=None,
            )
            for work, shape in SHAPES.items()
        }

    def time(self, work: Work, seconds: float, labels: Mapping[str, str]) -> None:
        """Count finished work."""
        histogram = self._histograms.get(work)
        if histogram is not None:
            names = SHAPES[work].labels
            of = histogram.labels(*(labels.get(name, "") for name in names)) if names else histogram
            of.observe(seconds)

    def describe(self) -> Iterator[Metric]:
        """Return no metrics in advance."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Return the histograms, and the build."""
        for histogram in self._histograms.values():
            yield from histogram.collect()
        build = GaugeMetricFamily(
            "sora_ledger_build_info", "Always 1; the labels name what runs.", labels=["version", "python"]
        )
        build.add_metric([version("sora-ledger"), platform.python_version()], 1)
        yield build


def measure(telemetry: Telemetry) -> Durations:
    """Measure the work of a session from now on; return the histograms."""
    known = (getattr(timer, "__self__", None) for timer in telemetry.timers)
    durations = next((exporter for exporter in known if isinstance(exporter, Durations)), None)
    if durations is None:
        durations = Durations()
        telemetry.timers = (*telemetry.timers, durations.time)
    return durations
