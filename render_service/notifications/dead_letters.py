"""Dead letters: webhooks and alerts that were given up, and refused events; and resending them."""

import json
from collections.abc import Collection
from typing import Any

from ledger.events import NotificationFailed, NotificationResent
from ledger.log.ledger import Ledger
from ledger.record import Draft, Entry
from ledger.store.filters import RecordFilter
from ledger.store.interface import ANY, Batch
from ledger.store.outbox import ALERT, FORWARD, Delivery
from render_service.notifications.announcements import announcement_of
from render_service.notifications.endpoints import Endpoint, Endpoints
from render_service.runtime.errors import BadInput
from render_service.session.session import Session

ALL = "all"


def outbox_document(ledger: Ledger) -> dict[str, Any]:
    """Return the number of pending webhooks to clients, and the dead letters, oldest first."""
    waiting, dead = ledger.store.outbox.tally()
    if not dead:
        return {"waiting": waiting, "dead_letters": []}
    endpoints = Endpoints(ledger).renew().by_id
    letters = ledger.store.outbox.dead_letters()
    documents = [_document(ledger, letter, endpoints.get(letter.endpoint_id)) for letter in letters]
    return {"waiting": waiting, "dead_letters": documents}


def forwarding_document(ledger: Ledger) -> list[dict[str, Any]]:
    """Return the progress of each destination of `forward`, and whether a process forwards to it now."""
    size = ledger.head().size
    return [
        {
            "destination": reader.name.removeprefix(FORWARD),
            "position": reader.position,
            "behind": size - reader.position,
            "is_running": reader.is_taken,
        }
        for reader in ledger.store.outbox.readers()
        if reader.name.startswith(FORWARD)
    ]


def forget_destination(ledger: Ledger, name: str) -> int:
    """Delete the position of a destination of `forward`, and its dead letters; return the position."""
    readers = {
        reader.name: reader for reader in ledger.store.outbox.readers() if reader.name.startswith(FORWARD)
    }
    reader = readers.get(FORWARD + name)
    if reader is None:
        names = ", ".join(name.removeprefix(FORWARD) for name in readers) or "none"
        raise BadInput(
            f"destination {name}: nothing was ever forwarded to it; there are: {names}",
            param="destination",
            expected=names,
            found=name,
        )
    if not ledger.store.outbox.forget_reader(reader.name):
        raise BadInput(
            f"destination {name}: a process forwards to it: take it out of its file, restart it, try again",
            param="destination",
            expected="a destination that no process forwards to",
            found=name,
        )
    return reader.position


def _document(ledger: Ledger, letter: Delivery, endpoint: Endpoint | None) -> dict[str, Any]:
    record = next(ledger.read(after=letter.position - 1, limit=1), None)
    if letter.endpoint_id.startswith(FORWARD):
        return _other_letter(letter, record.type if record else None, record.stream if record else None)
    if letter.endpoint_id.startswith(ALERT):
        notice = json.loads(ledger.store.outbox.body(letter.delivery_id) or "{}")
        return _other_letter(letter, notice.get("occasion"), notice.get("job_id"))
    announcement = announcement_of(ledger, record) if record else None
    failed = _failure(ledger, letter)
    return {
        "delivery_id": letter.delivery_id,
        "endpoint_id": letter.endpoint_id,
        "url": endpoint.url.text if endpoint else None,
        "webhook_type": announcement.event_type if announcement else None,
        "job_id": record.stream if record else None,
        "attempts": letter.attempts,
        "cause": failed.event.cause if failed else None,
        "http_status": letter.http_status,
        "given_up_at": failed.record.recorded_at if failed else None,
    }


def _other_letter(letter: Delivery, type_: str | None, job_id: str | None) -> dict[str, Any]:
    """Return the dead letter of a destination of `forward`, or of an alert."""
    return {
        "delivery_id": letter.delivery_id,
        "endpoint_id": letter.endpoint_id,
        "url": None,
        "webhook_type": type_,
        "job_id": job_id,
        "attempts": letter.attempts,
        "cause": "refused" if letter.endpoint_id.startswith(FORWARD) else "not_accepted",
        "http_status": letter.http_status,
        "given_up_at": None,
    }


def _failure(ledger: Ledger, letter: Delivery) -> Entry[NotificationFailed] | None:
    """Return the last record of giving a delivery up."""
    entries = ledger.entries(NotificationFailed, RecordFilter(stream=letter.endpoint_id))
    return max(
        (entry for entry in entries if entry.event.delivery_id == letter.delivery_id),
        key=lambda letter: letter.record.position,
        default=None,
    )


def send_again(session: Session, delivery_ids: Collection[str]) -> list[str]:
    """Record that dead letters, or all of them for ``all``, are resent; make them due; return their ids.

    `BadInput` if one of them is not a dead letter; then nothing changes. After a crash between the two steps
    the letters are still dead, and the request is on record.
    """
    ledger = session.ledger
    dead = {letter.delivery_id: letter.endpoint_id for letter in ledger.store.outbox.dead_letters()}
    wanted = set(dead) if ALL in delivery_ids else set(delivery_ids)
    if unknown := sorted(wanted - dead.keys()):
        raise BadInput(
            f"{', '.join(unknown)}: not a dead letter; nothing was sent again: "
            "`sora-ledger queue` lists them",
            param="dead_letter",
            expected="a dead letter",
            found=", ".join(unknown),
        )
    if not wanted:
        return []
    by_endpoint: dict[str, list[Draft]] = {}
    for delivery_id in sorted(wanted):
        event = NotificationResent(endpoint_id=dead[delivery_id], delivery_id=delivery_id)
        by_endpoint.setdefault(dead[delivery_id], []).append(session.draft(event))
    ledger.append([Batch(endpoint_id, ANY, drafts) for endpoint_id, drafts in by_endpoint.items()])
    return ledger.store.outbox.send_again(sorted(wanted))
