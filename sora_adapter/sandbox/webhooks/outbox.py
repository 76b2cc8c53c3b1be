"""Determine the due events: one for each finished job and each endpoint that existed when it ended.

An event's id is derived from its job's id, so that it is the same for all endpoints and for a repeated
announcement. Deliveries are added before the job is marked, so a crash in between repeats the announcement
but not the deliveries.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from sora_adapter.sandbox.state.database import Database
from sora_adapter.sandbox.state.jobs import Job, JobStore
from sora_adapter.sandbox.webhooks.deliveries import Delivery, DeliveryStore
from sora_adapter.sandbox.webhooks.endpoints import Endpoint, EndpointStore
from sora_adapter.serving.signatures import sign_headers


@dataclass(frozen=True)
class Letter:
    """One attempt, ready to be posted."""

    url: str
    headers: dict[str, str]
    body: bytes


class Outbox:
    """The events of one data dir and their receivers; blocking code."""

    def __init__(self, database: Database, jobs: JobStore, clock: Callable[[], float]) -> None:
        self.endpoints, self.deliveries = EndpointStore(database), DeliveryStore(database)
        self._jobs, self._clock = jobs, clock

    def announce(self) -> None:
        """Add the events of jobs that have ended by now."""
        now = self._clock()
        over = self._jobs.list_unannounced(now)
        endpoints = self.endpoints.list_all() if over else []
        for job in over:
            kind = event_type_of(job, now)
            for endpoint in endpoints:
                if kind in endpoint.event_types and endpoint.created_at <= job.over_at:
                    body = event_body(event_id_of(job.id), kind, job.id, job.over_at)
                    self.deliveries.add(endpoint.id, event_id_of(job.id), body, now)
        self._jobs.mark_announced(over)

    def lease_due(self) -> list[tuple[Delivery, Letter]]:
        """Announce events, and lease the deliveries to send now."""
        self.announce()
        now = self._clock()
        taken = [
            (delivery, self.endpoints.get(delivery.endpoint_id)) for delivery in self.deliveries.lease(now)
        ]
        return [
            (delivery, letter_to(endpoint, delivery.id, delivery.body, now))
            for delivery, endpoint in taken
            if endpoint is not None
        ]

    def settle(self, delivery: Delivery, status: int | None) -> None:
        """Record the result of an attempt."""
        self.deliveries.settle(delivery, status, self._clock())


def event_type_of(job: Job, now: float) -> str:
    """Return the event type that announces a finished job."""
    return f"video.{job.find_moment(now).status}"


def event_id_of(job_id: str) -> str:
    """Return the id of the event of a job."""
    return "evt_" + hashlib.sha256(job_id.encode()).hexdigest()[:32]


def event_body(event_id: str, kind: str, subject_id: str, at: float) -> str:
    """Return an event in the format that is sent."""
    event = {
        "id": event_id,
        "object": "event",
        "created_at": int(at),
        "type": kind,
        "data": {"id": subject_id},
    }
    return json.dumps(event, separators=(",", ":"))


def letter_to(endpoint: Endpoint, delivery_id: str, body: str, now: float) -> Letter:
    """Return a signed letter with an event for an endpoint."""
    sent = body.encode()
    signature = sign_headers(delivery_id, int(now), sent, endpoint.valid_secrets(now))
    headers = {"content-type": "application/json", "user-agent": "OpenAI/1.0", **signature}
    return Letter(endpoint.url, headers, sent)
