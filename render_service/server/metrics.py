"""Metrics for ``/metrics``: counters of this process, and values read from the ledger at each scrape.

The ledger returns counts from indexes (`ledger.store.interface.Tally`). Money is summed from the
``cost.settled`` events since the last scrape. No metric is recorded: the ledger is the record.
"""

import threading
from collections import Counter as Tallied
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ledger.events import CostSettled, RenderClosed
from ledger.job import State
from ledger.log.ledger import Ledger
from ledger.store.interface import RecordFilter
from render_service.settlement.overdue import overdue_jobs

MICROS = 1_000_000


class Metrics:
    """The metrics of one process on one ledger."""

    def __init__(self, ledger: Ledger, longest_render_s: float) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(LedgerMetrics(ledger, longest_render_s))
        self._webhooks = Counter(
            "sora_ledger_webhook_deliveries",
            "Deliveries answered by this process, by outcome.",
            ["profile", "outcome"],
            registry=self.registry,
        )

    def webhook(self, profile: str, outcome: str) -> None:
        """Count one delivery."""
        self._webhooks.labels(profile, outcome).inc()


class LedgerMetrics(Collector):
    """Reads the ledger at each scrape."""

    def __init__(self, ledger: Ledger, longest_render_s: float) -> None:
        self._ledger = ledger
        self._longest_render_s = longest_render_s
        self._lock = threading.Lock()
        self._read_to = 0
        self._spent: Tallied[str] = Tallied()
        self._closed: Tallied[str] = Tallied()

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
        yield _by("sora_ledger_events", "Events recorded, by type.", "type", tally.events)
        yield _by("sora_ledger_renders_closed", "Renders that ended, by outcome.", "outcome", closed)
        yield _by("sora_ledger_spend_usd", "Money booked, by basis: reported or estimated.", "basis", spent)
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
        overdue = overdue_jobs(self._ledger, now, self._longest_render_s)
        description = "Renders that have been running, or waiting to be stored, for too long."
        yield GaugeMetricFamily("sora_ledger_overdue_renders", description, len(overdue))
        yield GaugeMetricFamily("sora_ledger_queue_due", "Due jobs without a lease.", tally.due)
        yield GaugeMetricFamily("sora_ledger_queue_waiting", "Jobs due later.", tally.waiting)
        yield GaugeMetricFamily("sora_ledger_queue_leased", "Jobs with a lease.", tally.leased)
        lag_s = tally.overdue_ms / 1000
        yield GaugeMetricFamily(
            "sora_ledger_queue_lag_seconds", "How long the oldest due job has been due.", lag_s
        )

        waiting, dead = self._ledger.store.outbox.tally()
        description = "Webhooks to clients that were not accepted yet."
        yield GaugeMetricFamily("sora_ledger_notifications_waiting", description, waiting)
        description = "Webhooks to clients that were given up."
        yield GaugeMetricFamily("sora_ledger_notifications_dead", description, dead)

    def _add_up(self) -> None:
        """Add what was settled and closed since the last scrape."""
        size = self._ledger.head().size
        for type_ in (CostSettled.type, RenderClosed.type):
            for record in self._ledger.read(RecordFilter(type=type_), after=self._read_to):
                if record.position > size:
                    break
                if isinstance(record.event, CostSettled):
                    self._spent[record.event.basis] += record.event.cost_usd_micros
                elif isinstance(record.event, RenderClosed):
                    self._closed[record.event.outcome] += 1
        self._read_to = size


def _by(name: str, description: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, description, labels=[label])
    for value, number in sorted(values.items()):
        family.add_metric([value], number)
    return family
