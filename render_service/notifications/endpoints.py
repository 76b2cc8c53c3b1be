"""The endpoints of clients: the fold of the stream ``endpoints``, and its recorded changes.

A secret is private text, shown only once, on creation. It is erased when another replaces it or its endpoint
is deleted. `sora-ledger erase` can erase it earlier; nothing is then delivered until it is rotated. Each
change is appended at the stream version it was decided on, so that two changes never conflict.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from ledger.errors import WrongExpectedVersion
from ledger.events import (
    EndpointCreated,
    EndpointDeleted,
    EndpointSecretRotated,
    EndpointUpdated,
    Event,
    PrivateErased,
)
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.record import Record, new_event_id, timestamp
from ledger.store.filters import RecordFilter
from render_service.runtime.errors import BadInput, ServiceError
from render_service.session.session import Session
from sora_adapter.serving.signatures import new_secret

STREAM = "endpoints"
KEEP_OLD = timedelta(hours=24)
MOST_OF_ONE_OWNER = 20


class NoSuchEndpoint(ServiceError):
    """The endpoint does not exist, was deleted, or belongs to others."""

    def __init__(self, endpoint_id: str) -> None:
        super().__init__(
            f"Webhook endpoint with id '{endpoint_id[:200]}' not found.",
            param="webhook_endpoint_id",
            expected="the id of one of your endpoints",
            found=endpoint_id[:200],
        )


class EndpointState(StrEnum):
    """The recorded status of an endpoint: whether it receives webhooks."""

    ACTIVE = "active"
    ERASED = "erased"


@dataclass(frozen=True)
class Endpoint:
    """A receiver of webhooks; with a `team` it belongs to the team. `owner` registered or last changed it."""

    endpoint_id: str
    owner: str
    team: str | None
    name: Private
    url: Private
    event_types: tuple[str, ...]
    secret: Private
    old_secret: Private | None
    old_secret_until: str | None
    position: int
    created_at: str
    updated_at: str

    @property
    def state(self) -> EndpointState:
        """Return whether it has an address and a secret; without both, nothing can be delivered."""
        is_there = self.url.text is not None and self.secret.text is not None
        return EndpointState.ACTIVE if is_there else EndpointState.ERASED

    @property
    def texts(self) -> Iterator[Private]:
        """The private texts that it needs."""
        yield from (self.name, self.url, self.secret)
        if self.old_secret is not None:
            yield self.old_secret

    def list_signing_secrets(self, now: datetime) -> tuple[str, ...]:
        """Return the secrets a delivery is signed with at `now`, the newest first."""
        is_kept = self.old_secret is not None and timestamp(now) < (self.old_secret_until or "")
        secrets = (self.secret, self.old_secret if is_kept else None)
        return tuple(secret.text for secret in secrets if secret is not None and secret.text is not None)

    def erase(self, commitments: frozenset[str]) -> "Endpoint":
        """Return the endpoint after the erasure of texts."""

        def left(private: Private) -> Private:
            is_erased = private.commitment in commitments
            return Private(commitment=private.commitment) if is_erased else private

        old = self.old_secret and left(self.old_secret)
        return replace(
            self, name=left(self.name), url=left(self.url), secret=left(self.secret), old_secret=old
        )


class Endpoints:
    """The endpoints of a ledger, as last read; `renew` reads the changes since. Thread-safe."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._renewing = threading.Lock()
        self.by_id: dict[str, Endpoint] = {}
        self.deleted: set[str] = set()
        self.position = 0
        self.version = 0

    def renew(self) -> "Endpoints":
        """Read the changes since the last time."""
        with self._renewing:
            for record in self._ledger.read(RecordFilter(stream=STREAM), after=self.position):
                self._add(record)
        return self

    def _add(self, record: Record) -> None:
        event = record.event
        match event:
            case EndpointCreated():
                self.by_id[event.endpoint_id] = _fold_created(record, event)
            case EndpointUpdated(endpoint_id=endpoint_id) if endpoint_id in self.by_id:
                self.by_id[endpoint_id] = _fold_updated(self.by_id[endpoint_id], record, event)
            case EndpointSecretRotated(endpoint_id=endpoint_id) if endpoint_id in self.by_id:
                self.by_id[endpoint_id] = _fold_rotated(self.by_id[endpoint_id], record, event)
            case EndpointDeleted(endpoint_id=endpoint_id):
                self.by_id.pop(endpoint_id, None)
                self.deleted.add(endpoint_id)
            case PrivateErased():
                erased = frozenset(event.commitments)
                self.by_id = {name: endpoint.erase(erased) for name, endpoint in self.by_id.items()}
            case _:
                pass
        self.position, self.version = record.position, record.version

    def get(self, endpoint_id: str) -> Endpoint:
        """Return an endpoint, or raise `NoSuchEndpoint`."""
        endpoint = self.by_id.get(endpoint_id)
        if endpoint is None:
            raise NoSuchEndpoint(endpoint_id)
        return endpoint

    # --- changes ---

    async def create(
        self, session: Session, name: str, url: str, event_types: Sequence[str]
    ) -> tuple[Endpoint, str]:
        """Record a new endpoint of the session's actor and team; return it with its secret."""
        endpoint_id, secret = f"whe_{new_event_id().replace('-', '')}", new_secret()
        owner, team = session.settings.actor, session.settings.team

        def events() -> list[Event]:
            own = [
                endpoint
                for endpoint in self.by_id.values()
                if (endpoint.team or endpoint.owner) == (team or owner)
            ]
            if len(own) >= MOST_OF_ONE_OWNER:
                raise BadInput(
                    f"{team or owner} has {len(own)} webhook endpoints, which is the limit: delete one",
                    param="endpoint",
                    expected="fewer endpoints",
                    found=len(own),
                )
            return [
                EndpointCreated(
                    endpoint_id=endpoint_id,
                    name=Private.seal("name", name),
                    url=Private.seal("url", url),
                    event_types=tuple(event_types),
                    team=team,
                    signing_secret=Private.seal("signing_secret", secret),
                )
            ]

        await self._record(session, events)
        return self.get(endpoint_id), secret

    async def update(
        self,
        session: Session,
        endpoint_id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        event_types: Sequence[str] | None = None,
    ) -> Endpoint:
        """Record the differences; None leaves a value unchanged."""

        def events() -> list[Event]:
            endpoint = self.get(endpoint_id)
            changes = {"name": (endpoint.name, name), "url": (endpoint.url, url)}
            texts = {
                field: Private.seal(field, new)
                for field, (old, new) in changes.items()
                if new is not None and new != old.text
            }
            types = None if event_types is None else tuple(event_types)
            types = None if types == endpoint.event_types else types
            if not texts and types is None:
                return []
            return [EndpointUpdated(endpoint_id=endpoint_id, event_types=types, **texts)]

        await self._record(session, events)
        return self.get(endpoint_id)

    async def rotate(self, session: Session, endpoint_id: str, *, keep_old: bool) -> tuple[Endpoint, str]:
        """Record a new secret and return it; with `keep_old` both sign for a day."""
        secret = new_secret()

        def events() -> list[Event]:
            endpoint = self.get(endpoint_id)
            until = timestamp(session.clock() + KEEP_OLD) if keep_old else None
            void = [endpoint.old_secret, None if keep_old else endpoint.secret]
            new = Private.seal("signing_secret", secret)
            rotated = EndpointSecretRotated(
                endpoint_id=endpoint_id, signing_secret=new, old_secret_until=until
            )
            return [rotated, *_erasure("secret_rotated", void)]

        await self._record(session, events)
        return self.get(endpoint_id), secret

    async def delete(self, session: Session, endpoint_id: str) -> None:
        """Record the deletion, and erase the secrets with it."""

        def events() -> list[Event]:
            endpoint = self.get(endpoint_id)
            secrets = [endpoint.secret, endpoint.old_secret]
            return [EndpointDeleted(endpoint_id=endpoint_id), *_erasure("endpoint_deleted", secrets)]

        await self._record(session, events)

    async def erase_old_secrets(self, session: Session) -> None:
        """Erase secrets that were replaced and no longer sign."""

        def events() -> list[Event]:
            now = timestamp(session.clock())
            endpoints = self.by_id.values()
            old = [endpoint.old_secret for endpoint in endpoints if (endpoint.old_secret_until or now) < now]
            return _erasure("secret_rotated", old)

        if events():
            await self._record(session, events)

    async def _record(self, session: Session, events: Callable[[], list[Event]]) -> None:
        """Append the result of `events` for the current state; call it again if the state changed."""
        while True:
            await asyncio.to_thread(self.renew)
            drafts = [session.draft(event) for event in events()]
            if not drafts:
                return
            try:
                await session.append(STREAM, self.version, drafts)
            except WrongExpectedVersion:
                continue
            await asyncio.to_thread(self.renew)
            return


def _erasure(reason: str, texts: Sequence[Private | None]) -> list[Event]:
    there = tuple(text.commitment for text in texts if text is not None and text.body is not None)
    return [PrivateErased(commitments=there, reason_code=reason)] if there else []


def _fold_created(record: Record, event: EndpointCreated) -> Endpoint:
    return Endpoint(
        endpoint_id=event.endpoint_id,
        owner=record.actor,
        team=event.team,
        name=event.name,
        url=event.url,
        event_types=event.event_types,
        secret=event.signing_secret,
        old_secret=None,
        old_secret_until=None,
        position=record.position,
        created_at=record.recorded_at,
        updated_at=record.recorded_at,
    )


def _fold_updated(endpoint: Endpoint, record: Record, event: EndpointUpdated) -> Endpoint:
    return replace(
        endpoint,
        name=event.name or endpoint.name,
        url=event.url or endpoint.url,
        event_types=event.event_types or endpoint.event_types,
        owner=record.actor,
        updated_at=record.recorded_at,
    )


def _fold_rotated(endpoint: Endpoint, record: Record, event: EndpointSecretRotated) -> Endpoint:
    return replace(
        endpoint,
        secret=event.signing_secret,
        old_secret=endpoint.secret if event.old_secret_until else None,
        old_secret_until=event.old_secret_until,
        owner=record.actor,
        updated_at=record.recorded_at,
    )
