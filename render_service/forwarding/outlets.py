"""One attempt to deliver an event to a destination, and the meaning of its answer.

A *refused* event will never be accepted: it becomes a dead letter, and the next one follows. Any other
failure, including silence, is about the destination and not about the event: the event is resent *later*, and
the others wait with it.
"""

import asyncio
import ssl
from enum import Enum, auto
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from render_service.forwarding.cloud_events import CloudEvent
from render_service.forwarding.destinations import HttpDestination, KafkaDestination, NatsDestination
from render_service.notifications.addresses import Addresses, AddressRefused
from render_service.notifications.post import Letter, Post
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import read_named_secret
from render_service.session.session import Session
from sora_adapter.serving.signatures import sign_headers

if TYPE_CHECKING:
    from nats.aio.client import Client

REFUSALS = frozenset({400, 413, 415, 422})
"""Statuses that are about the event; 401, 404, 429 and the like are about the destination."""

ACKNOWLEDGED_S = 5.0
CONNECTED_S = 5


class Meaning(Enum):
    """The meaning of an answer for the event."""

    TAKEN = auto()
    REFUSED = auto()
    LATER = auto()


class Reply(NamedTuple):
    """The answer to an attempt; `because` is for the log."""

    meaning: Meaning
    http_status: int | None = None
    because: str | None = None


class Outlet(Protocol):
    """A channel to one destination."""

    async def check(self) -> None:
        """Raise `BadInput` if nothing may be sent there; it need not answer yet."""

    async def send(self, event: CloudEvent) -> Reply:
        """Make one attempt; never raises for errors of the destination."""

    async def close(self) -> None:
        """Close its connections."""


class HttpOutlet:
    """Posts events to a checked address, like webhooks."""

    def __init__(self, session: Session, destination: HttpDestination) -> None:
        self._session, self._destination = session, destination
        self._authorization = read_named_secret(
            f"destination {destination.name}", destination.authorization_env
        )
        self._signing = read_named_secret(f"destination {destination.name}", destination.signing_secret_env)
        self._post = Post(
            Addresses(
                permits_private=session.settings.private_endpoints is True,
                of=f"destination {destination.name}",
            )
        )

    async def check(self) -> None:
        """Raise `BadInput` if nothing may be sent there."""
        await self._post.addresses.check(self._destination.url)

    async def send(self, event: CloudEvent) -> Reply:
        """Post an event."""
        headers, body = event.binary() if self._destination.mode == "binary" else event.structured()
        headers["user-agent"] = "sora-ledger"
        if self._authorization:
            headers["authorization"] = self._authorization
        if self._signing:
            seconds = int(self._session.clock().timestamp())
            headers |= sign_headers(event.event_id, seconds, body, (self._signing,))
        answer = await self._post(Letter(self._destination.url, headers, body))
        if answer.is_accepted:
            return Reply(Meaning.TAKEN, answer.http_status)
        meaning = Meaning.REFUSED if answer.http_status in REFUSALS else Meaning.LATER
        because = answer.problem or f"HTTP {answer.http_status}"
        return Reply(meaning, answer.http_status, because)

    async def close(self) -> None:
        """Close the client."""
        await self._post.__aexit__()


class NatsOutlet:
    """Publishes events to JetStream and waits for each acknowledgement.

    The message id is the event id, so the stream drops a repeated event within its window.
    """

    def __init__(self, session: Session, destination: NatsDestination) -> None:
        self._session, self._destination = session, destination
        self._token = read_named_secret(f"destination {destination.name}", destination.token_env)
        self._addresses = Addresses(
            permits_private=session.settings.private_endpoints is True,
            secure="tls",
            plain="nats",
            of=f"destination {destination.name}",
        )
        self._nats = _load(destination)
        self._client: Client | None = None
        self._trouble = ""
        """The reason why the last attempt to connect failed: the client itself only times out."""
        self._connecting = asyncio.Lock()

    async def check(self) -> None:
        """Raise `BadInput` if nothing may be sent there."""
        for url in self._destination.servers:
            await self._addresses.check(url)

    async def send(self, event: CloudEvent) -> Reply:
        """Publish an event."""
        headers, body = event.binary() if self._destination.mode == "binary" else event.structured()
        headers["Nats-Msg-Id"] = event.event_id
        subject = f"{self._destination.subject}.{event.data['type']}"
        try:
            client = await self._ensure_connected()
            await client.jetstream().publish(subject, body, timeout=ACKNOWLEDGED_S, headers=headers)
        except self._nats.errors.MaxPayloadError as error:
            return Reply(Meaning.REFUSED, None, str(error))
        except self._nats.js.errors.NoStreamResponseError:
            return Reply(Meaning.LATER, None, f"no stream takes the subject {subject}")
        except AddressRefused as error:
            return Reply(Meaning.LATER, None, str(error))
        except (self._nats.errors.Error, OSError, TimeoutError, ValueError) as error:
            return Reply(Meaning.LATER, None, str(error) or self._trouble or type(error).__name__)
        self._trouble = ""
        return Reply(Meaning.TAKEN)

    async def _ensure_connected(self) -> "Client":
        async with self._connecting:
            if self._client is None or self._client.is_closed:
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> "Client":
        for url in self._destination.servers:
            await self._addresses.resolve(url)
        client: Client = self._nats.NATS()
        credentials = self._destination.credentials
        options: dict[str, Any] = {"user_credentials": str(credentials)} if credentials else {}
        if self._token:
            options["token"] = self._token
        try:
            async with asyncio.timeout(2 * CONNECTED_S):  # by itself it retries forever
                await client.connect(
                    list(self._destination.servers),
                    name="sora-ledger",
                    connect_timeout=CONNECTED_S,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=1,
                    error_cb=self._note,
                    **options,
                )
        except BaseException:
            await client.close()
            raise
        return client

    async def _note(self, error: Exception) -> None:
        self._trouble = str(error) or repr(error)
        self._session.log.info(
            "forward.connection", destination=self._destination.name, because=self._trouble
        )

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()


class KafkaOutlet:
    """Sends events to a topic and waits until all in-sync replicas have them.

    The key is the job, so its events are in one partition. A job's next event is sent once the previous one
    is acknowledged, so their order does not depend on the broker.
    """

    def __init__(self, session: Session, destination: KafkaDestination) -> None:
        self._destination = destination
        self._password = read_named_secret(f"destination {destination.name}", destination.password_env)
        self._addresses = Addresses(
            permits_private=session.settings.private_endpoints is True,
            secure="tls",
            plain="kafka",
            of=f"destination {destination.name}",
        )
        self._kafka = _kafka(destination)
        self._producer: Any = None
        self._connecting = asyncio.Lock()

    async def check(self) -> None:
        """Raise `BadInput` if nothing may be sent there."""
        for url in self._destination.servers:
            await self._addresses.check(url)

    async def send(self, event: CloudEvent) -> Reply:
        """Send an event."""
        body = (event.binary() if self._destination.mode == "binary" else event.structured())[1]
        headers = event.kafka_headers(self._destination.mode)
        key = event.attributes["partitionkey"].encode()
        try:
            producer = await self._ensure_connected()
            await producer.send_and_wait(self._destination.topic, body, key=key, headers=headers)
        except self._kafka.errors.MessageSizeTooLargeError as error:
            return Reply(Meaning.REFUSED, None, str(error))
        except (self._kafka.errors.KafkaError, AddressRefused, OSError, TimeoutError) as error:
            return Reply(Meaning.LATER, None, str(error) or type(error).__name__)
        return Reply(Meaning.TAKEN)

    async def _ensure_connected(self) -> Any:
        async with self._connecting:
            if self._producer is None:
                for url in self._destination.servers:
                    await self._addresses.resolve(url)
                producer = self._kafka.AIOKafkaProducer(**self._options())
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    def _options(self) -> dict[str, Any]:
        to = self._destination
        options: dict[str, Any] = {
            "bootstrap_servers": [url.partition("://")[2] for url in to.servers],
            "client_id": "sora-ledger",
            "acks": "all",
            "request_timeout_ms": round(ACKNOWLEDGED_S * 1000),
        }
        if to.has_tls:
            options["ssl_context"] = ssl.create_default_context()
        options["security_protocol"] = ("SASL_" if to.user else "") + ("SSL" if to.has_tls else "PLAINTEXT")
        if to.user:
            options["sasl_mechanism"] = to.mechanism
            options |= {"sasl_plain_username": to.user, "sasl_plain_password": self._password}
        return options

    async def close(self) -> None:
        """Close the connections."""
        if self._producer is not None:
            await self._producer.stop()


def _kafka(destination: KafkaDestination) -> Any:
    try:
        import_module("aiokafka.errors")
        return import_module("aiokafka")
    except ImportError:
        raise BadInput(
            f"destination {destination.name}: Kafka needs the extra kafka: pip install 'sora-ledger[kafka]'",
            param="destination",
            expected="the extra kafka",
            found="it is not installed",
        ) from None


def _load(destination: NatsDestination) -> Any:
    try:
        for name in ("nats.errors", "nats.js.errors"):
            import_module(name)
        return import_module("nats")
    except ImportError:
        raise BadInput(
            f"destination {destination.name}: NATS needs the extra nats: pip install 'sora-ledger[nats]'",
            param="destination",
            expected="the extra nats",
            found="it is not installed",
        ) from None


def outlet_to(session: Session, destination: HttpDestination | NatsDestination | KafkaDestination) -> Outlet:
    """Return the channel to a destination; `BadInput` if a secret or a package is missing."""
    if isinstance(destination, HttpDestination):
        return HttpOutlet(session, destination)
    if isinstance(destination, KafkaDestination):
        return KafkaOutlet(session, destination)
    return NatsOutlet(session, destination)
