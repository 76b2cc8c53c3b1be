"""Read the standard OTEL_ settings, and start exporting if they configure it.

Reading them loads nothing of OpenTelemetry: most processes export nothing. Telemetry never breaks what it
observes, so an unusable setting is logged, and nothing is exported.
"""

import math
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from render_service.runtime.spans import Telemetry
from render_service.runtime.telemetry import Log

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

SIGNALS = ("TRACES", "METRICS")
INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
INTERVAL_MS = 60_000.0
INSTALL = "pip install 'sora-ledger[otel]'"
_PROTOCOL = "http/protobuf"
_DEFAULT_ENDPOINT = "http://localhost:4318"


class ExportUnusable(Exception):
    """The settings for OpenTelemetry cannot be used; says why."""


class Signals(NamedTuple):
    """The exported signals."""

    traces: bool
    metrics: bool


def signals(environment: Mapping[str, str] = os.environ) -> Signals:
    """Return the exported signals, by default none; `ExportUnusable` for an unusable setting."""
    if _setting(environment, "OTEL_SDK_DISABLED").lower() == "true":
        return Signals(traces=False, metrics=False)
    return Signals(*(_is_exported(environment, signal) for signal in SIGNALS))


def _is_exported(environment: Mapping[str, str], signal: str) -> bool:
    """Return whether a signal has an exporter, or an endpoint, which is enough."""
    exporter = _setting(environment, f"OTEL_{signal}_EXPORTER")
    if exporter not in {"", "otlp", "none"}:
        raise ExportUnusable(f"OTEL_{signal}_EXPORTER is {exporter}: expected otlp or none")
    endpoint = _read_either(environment, signal, "ENDPOINT")
    if exporter == "none" or not (exporter or endpoint):
        return False
    protocol = _read_either(environment, signal, "PROTOCOL")
    if protocol not in {"", _PROTOCOL}:
        raise ExportUnusable(f"the OTLP protocol for {signal.lower()} is {protocol}: expected {_PROTOCOL}")
    if endpoint and not endpoint.lower().startswith(("http://", "https://")):
        raise ExportUnusable(
            f"the OTLP endpoint for {signal.lower()} is {endpoint}: expected an address such as "
            f"{_DEFAULT_ENDPOINT}"
        )
    return True


def endpoint_of(signal: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return where a signal, such as ``TRACES``, is sent."""
    own = _setting(environment, f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    base = _setting(environment, "OTEL_EXPORTER_OTLP_ENDPOINT") or _DEFAULT_ENDPOINT
    return own or f"{base.rstrip('/')}/v1/{signal.lower()}"


def interval_ms(environment: Mapping[str, str] = os.environ) -> float:
    """Return how often metrics are exported."""
    text = _setting(environment, INTERVAL)
    try:
        number = float(text or INTERVAL_MS)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ExportUnusable(f"{INTERVAL} is {text}: expected a number of milliseconds, such as 60000")
    return number


def _setting(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, "").strip()


def _read_either(environment: Mapping[str, str], signal: str, name: str) -> str:
    """Return a setting of one signal, or else of all."""
    own = _setting(environment, f"OTEL_EXPORTER_OTLP_{signal}_{name}")
    return own or _setting(environment, f"OTEL_EXPORTER_OTLP_{name}")


def begin_telemetry(log: Log, environment: Mapping[str, str] = os.environ) -> Telemetry:
    """Return the listener for a new session; it exports if the environment configures it."""
    host = _host()
    try:
        wanted = signals(environment)
        if host is None and not any(wanted):
            return Telemetry()
        return _export(log, wanted, interval_ms(environment), host)
    except ExportUnusable as unusable:
        log.warning("telemetry.off", because=str(unusable))
        return Telemetry()


def _host() -> "TracerProvider | None":
    """Return the tracer provider of the program that uses this library, if it has set one."""
    if "opentelemetry.trace" not in sys.modules:  # then none has been set
        return None
    from opentelemetry.trace import (  # loaded already
        NoOpTracerProvider,
        ProxyTracerProvider,
        get_tracer_provider,
    )

    provider = get_tracer_provider()
    return None if isinstance(provider, NoOpTracerProvider | ProxyTracerProvider) else provider


def _export(log: Log, wanted: Signals, every_ms: float, host: "TracerProvider | None") -> Telemetry:
    try:
        from render_service.runtime.durations import measure  # only if it is wanted
        from render_service.runtime.otlp import OtlpExporter

        every_s = every_ms / 1000 if wanted.metrics else None
        exporter = OtlpExporter(log, traces=wanted.traces, metrics_every_s=every_s, host=host)
    except ImportError as missing:
        raise ExportUnusable(
            f"OpenTelemetry is configured, and {missing.name} is not installed: {INSTALL}, or set "
            "OTEL_SDK_DISABLED=true"
        ) from missing
    except (ValueError, OSError) as error:
        raise ExportUnusable(f"an OTEL_ setting cannot be used: {error}") from error
    telemetry = Telemetry(exporter)
    if wanted.metrics:
        exporter.add(measure(telemetry).collect)
    return telemetry
