"""Metrics for ``/metrics``: counters of this process, and values read from the ledger at each scrape.

The ledger returns counts from indexes (`ledger.store.interface.Tally`). Money is summed from the
``cost.settled`` events since the last scrape. No metric is recorded: the ledger is the record.
"""

import threading
from collections import Counter as Tallied
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ledger.events import EVENT_TYPES, CostSettled, RenderClosed
from ledger.log.ledger import Ledger
from ledger.store.filters import JobFilter, RecordFilter
from ledger.store.outbox import FORWARD
from ledger.terms import Outcome, State
from render_service.evidence.recorded_checks import find_last_checks
from render_service.rules.budgets import KnownLimits, list_remaining
from render_service.runtime.durations import measure
from render_service.session.session import Session
from render_service.settlement.overdue import find_overdue_jobs

MICROS = 1_000_000
RENDER_S = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0)
RENDERED = (Outcome.STORED, Outcome.FAILED, Outcome.LOST, Outcome.ABANDONED)
"""Outcomes of what was submitted: a denial takes no time."""

_NO_EVENTS = dict.fromkeys(EVENT_TYPES, 0)
"""Counters begin at 0: Prometheus sees no increase in a series that begins at 1."""


class Metrics:
    """The metrics of one process on one ledger."""

    def __init__(self, session: Session, profiles: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        ledger_metrics = LedgerMetrics(session.ledger, session.settings.longest_render_s)
        self.registry.register(ledger_metrics)
        self.registry.register(measure(session.telemetry))
        self._webhooks = Counter(
            "sora_ledger_webhook_deliveries",
            "Deliveries answered by this process, by outcome.",
            ["profile", "outcome"],
            registry=self.registry,
        )
        self._webhook_of = cache(self._webhooks.labels)
        for profile in profiles:  # no increase is seen without a zero, and the first forgery must be noticed
            self._webhook_of(profile, "forged")
        if session.telemetry.exporter is not None:  # which has the histograms already
            session.telemetry.exporter.add(ledger_metrics.collect)
            session.telemetry.exporter.add(self._webhooks.collect)

    def webhook(self, profile: str, outcome: str) -> None:
        """Count one delivery."""
        self._webhook_of(profile, outcome).inc()


class LedgerMetrics(Collector):
    """Reads the ledger at each scrape."""

    def __init__(self, ledger: Ledger, longest_render_s: float) -> None:
        self._ledger = ledger
        self._longest_render_s = longest_render_s
        self._lock = threading.Lock()
        self._read_to = 0
        self._spent: Tallied[str] = Tallied({"estimated": 0, "reported": 0})
        self._closed: Tallied[str] = Tallied({outcome.value: 0 for outcome in Outcome})
        self._durations = Histogram(
            "sora_ledger_render_duration_seconds",
            "Time from the request of a render to its end, by outcome.",
            ["outcome"],
            buckets=RENDER_S,
            registry=None,
        )
        self._limits = KnownLimits(ledger)

    def describe(self) -> Iterator[Metric]:
        """Return no metrics in advance: registering must not query the ledger."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Query the ledger."""
        tally = self._ledger.store.tally()
        with self._lock:
            self._add_up()
            spent = {basis: micros / MICROS for basis, micros in self._spent.items()}
            closed = dict(self._closed)
        yield _by("sora_ledger_events", "Events recorded, by type.", "type", _NO_EVENTS | dict(tally.events))
        yield _by("sora_ledger_renders_closed", "Renders that ended, by outcome.", "outcome", closed)
        yield _by("sora_ledger_spend_usd", "Money booked, by basis: reported or estimated.", "basis", spent)
        yield from self._durations.collect()
        jobs = GaugeMetricFamily("sora_ledger_jobs", "Jobs, by state.", labels=["state"])
        for state in State:
            jobs.add_metric([state.value], tally.jobs.get(state.value, 0))
        yield jobs
        gauges = {
            "open_intents": ("Submissions under way or cut off.", State.SUBMITTING),
            "unknown_outcomes": ("Submissions whose answer was lost: a video may exist.", State.UNKNOWN),
        }
        for name, (description, state) in gauges.items():
            yield GaugeMetricFamily(f"sora_ledger_{name}", description, tally.jobs.get(state.value, 0))
        now = self._ledger.store.now()
        overdue = find_overdue_jobs(self._ledger, now, self._longest_render_s)
        description = "Renders that have been running, or waiting to be stored, for too long."
        yield GaugeMetricFamily("sora_ledger_overdue_renders", description, len(overdue))
        yield GaugeMetricFamily("sora_ledger_queue_due", "Due jobs without a lease.", tally.due)
        yield GaugeMetricFamily("sora_ledger_queue_waiting", "Jobs due later.", tally.waiting)
        yield GaugeMetricFamily("sora_ledger_queue_leased", "Jobs with a lease.", tally.leased)
        lag_s = tally.overdue_ms / 1000
        yield GaugeMetricFamily(
            "sora_ledger_queue_lag_seconds", "How long the oldest due job has been due.", lag_s
        )

        yield from self._gauges(now)
        yield from self._forwarding(now)

        waiting, dead = self._ledger.store.outbox.tally()
        description = "Webhooks to clients that were not accepted yet."
        yield GaugeMetricFamily("sora_ledger_notifications_waiting", description, waiting)
        description = "Webhooks to clients that were given up."
        yield GaugeMetricFamily("sora_ledger_notifications_dead", description, dead)

    def _gauges(self, now: datetime) -> Iterator[Metric]:
        """Return what is left of each budget, how old the oldest render is, and when checks were recorded."""
        limit = GaugeMetricFamily(
            "sora_ledger_budget_limit_usd", "Limit of a budget in its current period.", labels=["budget"]
        )
        held = GaugeMetricFamily(
            "sora_ledger_budget_held_usd", "Money spent and reserved of a budget.", labels=["budget"]
        )
        for left in list_remaining(self._ledger, now, known=self._limits.get()):
            if left.limit_usd_micros is not None:
                limit.add_metric([left.budget], left.limit_usd_micros / MICROS)
            held.add_metric([left.budget], left.held_usd_micros / MICROS)
        yield limit
        yield held
        oldest = self._ledger.jobs(JobFilter(states=(State.RUNNING,), oldest_first=True), limit=1)
        age_s = (
            max(0.0, (now - datetime.fromisoformat(oldest[0].created_at)).total_seconds()) if oldest else 0
        )
        description = "Time since the oldest running render was requested."
        yield GaugeMetricFamily("sora_ledger_oldest_running_seconds", description, age_s)
        checks = find_last_checks(self._ledger)
        recorded = {
            "verified_timestamp_seconds": (
                "When a verification without findings was last recorded.",
                checks.verified,
            ),
            "published_timestamp_seconds": (
                "When the publication of a checkpoint was last recorded.",
                checks.published,
            ),
        }
        for name, (description, entry) in recorded.items():
            if entry is not None:  # without a record there is no time
                at = datetime.fromisoformat(entry.record.envelope.recorded_at).timestamp()
                yield GaugeMetricFamily(f"sora_ledger_{name}", description, at)

    def _forwarding(self, now: datetime) -> Iterator[Metric]:
        """Return how far each destination of `forward` is behind the head, in records and in time."""
        behind = GaugeMetricFamily(
            "sora_ledger_forward_behind",
            "Records after the position of a destination of forward.",
            labels=["destination"],
        )
        lag = GaugeMetricFamily(
            "sora_ledger_forward_lag_seconds",
            "How long the oldest record after the position of a destination has waited.",
            labels=["destination"],
        )
        size = self._ledger.head().size
        for reader in self._ledger.store.outbox.readers():
            if reader.name.startswith(FORWARD):
                first = next(self._ledger.read(after=reader.position, limit=1), None)
                recorded = datetime.fromisoformat(first.recorded_at) if first else now
                name = reader.name.removeprefix(FORWARD)
                behind.add_metric([name], max(size - reader.position, 0))
                lag.add_metric([name], max((now - recorded).total_seconds(), 0.0))
        yield behind
        yield lag

    def _add_up(self) -> None:
        """Add the costs settled and jobs closed since the last scrape."""
        size = self._ledger.head().size
        for type_ in (CostSettled.type, RenderClosed.type):
            for record in self._ledger.read(RecordFilter(type=type_), after=self._read_to):
                if record.position > size:
                    break
                if isinstance(record.event, CostSettled):
                    self._spent[record.event.basis] += record.event.cost_usd_micros
                elif isinstance(record.event, RenderClosed):
                    self._closed[record.event.outcome] += 1
                    if record.event.outcome in RENDERED:
                        took = self._durations.labels(record.event.outcome)
                        took.observe(record.event.duration_ms / 1000)
        self._read_to = size


def _by(name: str, description: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, description, labels=[label])
    for value, number in sorted(values.items()):
        family.add_metric([value], number)
    return family
