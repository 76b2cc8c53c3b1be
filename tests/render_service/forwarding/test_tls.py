"""`forward` by TLS: to a real NATS server and a real Kafka-compatible broker, with certificates made here.

Tansu, the broker, does not speak TLS itself (its options ``--cert`` and ``--key`` exclude each other). A
relay in between ends the TLS of its clients.
"""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import nats
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from ledger.record import Record
from render_service.forwarding.cloud_events import cloud_event
from render_service.forwarding.destinations import Destinations
from render_service.forwarding.outlets import Meaning, outlet_to
from render_service.session.session import Session
from tests.certificates import LOOPBACK, certificate
from tests.render_service.forwarding.conftest import drained
from tests.render_service.forwarding.test_kafka import Broker
from tests.render_service.forwarding.test_nats import free_ports

pytestmark = pytest.mark.anyio
PATIENCE_S = 60.0
OTHER = "bus.example.org"
TOKEN = "the token"

Start = Callable[[Path], str]
"""Starts a server with the certificate and key of a file; returns its URL."""


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return what makes a certificate for a name that clients of this process trust."""

    def trust(name: str) -> Path:
        file = certificate(tmp_path, name)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        return file

    return trust


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Yield a list; the processes in it are killed at the end."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def nats_server(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> Start:
    """Start a NATS server that takes nothing without TLS."""

    def start(file: Path) -> str:
        [port] = free_ports(1)
        program = Path(sys.executable).with_name("nats-server")
        options = ["-js", "-sd", str(tmp_path / "nats"), "-a", LOOPBACK, "-p", str(port), "--auth", TOKEN]
        options += ["--tls", "--tlscert", str(file), "--tlskey", str(file)]
        with (tmp_path / "nats.log").open("ab") as log:
            started.append(subprocess.Popen([program, *options], stdout=log, stderr=log))
        return f"tls://{LOOPBACK}:{port}"

    return start


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.kill()


def to_nats(url: str) -> Destinations:
    there = {"name": "bus", "servers": [url], "subject": "renders", "token_env": "NATS_TOKEN"}
    return Destinations.model_validate({"version": 1, "nats": [there]})


def to_kafka(address: str) -> Destinations:
    there = {"name": "lake", "servers": [f"tls://{address}"], "topic": "renders"}
    return Destinations.model_validate({"version": 1, "kafka": [there]})


async def connected(url: str, context: ssl.SSLContext) -> Any:
    """Return a client of a NATS server once it answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await nats.connect(url, token=TOKEN, tls=context, allow_reconnect=False)
            except (OSError, nats.errors.Error):
                await asyncio.sleep(0.1)


def accepting(file: Path) -> ssl.SSLContext:
    """Return how the test itself connects, whatever the name in the certificate."""
    context = ssl.create_default_context(cafile=str(file))
    context.check_hostname = False
    return context


async def test_events_are_published_by_tls_and_the_token_is_sent_to_no_other_name(
    permitting: Session,
    add: Callable[..., Awaitable[list[Record]]],
    nats_server: Start,
    trusted: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NATS_TOKEN", TOKEN)
    [record] = await add("fact_a")
    file = trusted(LOOPBACK)
    url = nats_server(file)
    client = await connected(url, accepting(file))
    await client.jetstream().add_stream(name="RENDERS", subjects=["renders.>"])
    [done] = await drained(permitting, to_nats(url))
    found = await client.jetstream().get_last_msg("RENDERS", "renders.external.recorded")
    assert found.headers["Nats-Msg-Id"] == record.event_id
    assert (done.sent, done.refused) == (permitting.ledger.head().size, 0)
    await client.close()
    file = trusted(OTHER)
    url = nats_server(file)
    await (await connected(url, accepting(file))).close()
    reply = await sent_once(permitting, to_nats(url), record)
    assert (reply.meaning, "certificate" in (reply.because or "")) == (Meaning.LATER, True), reply


async def sent_once(session: Session, destinations: Destinations, record: Any) -> Any:
    """Make one attempt to send a record."""
    outlet = outlet_to(session, destinations.all_destinations[0])
    try:
        return await outlet.send(cloud_event(record, "ledger", with_text=False))
    finally:
        await outlet.close()


@asynccontextmanager
async def secured(broker: Broker, file: Path) -> AsyncIterator[str]:
    """Run the broker behind a relay that speaks TLS; yield the relay's address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                target.write(data)
                await target.drain()
        target.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(LOOPBACK, broker.port)
        except OSError:  # it has not begun to listen
            writer.close()
            return
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    async with await asyncio.start_server(carry, LOOPBACK, 0, ssl=context) as relay:
        address = f"{LOOPBACK}:{relay.sockets[0].getsockname()[1]}"
        broker.start(address)
        yield address
        broker.kill()


def reaching(address: str, file: Path) -> dict[str, Any]:
    """Return how the test itself reaches the broker."""
    return {"bootstrap_servers": address, "security_protocol": "SSL", "ssl_context": accepting(file)}


async def test_events_are_sent_to_kafka_by_tls_and_to_no_other_name(
    permitting: Session,
    add: Callable[..., Awaitable[list[Record]]],
    broker: Broker,
    trusted: Callable[[str], Path],
) -> None:
    [record] = await add("fact_a")
    file = trusted(LOOPBACK)
    async with secured(broker, file) as address:
        await make_topic(reaching(address, file))
        [done] = await drained(permitting, to_kafka(address))
        assert (done.sent, done.refused) == (permitting.ledger.head().size, 0)
        reader = AIOKafkaConsumer("renders", auto_offset_reset="earliest", **reaching(address, file))
        await reader.start()
        keys: set[bytes | None] = set()
        async with asyncio.timeout(PATIENCE_S):
            while record.stream.encode() not in keys:
                parts = await reader.getmany(timeout_ms=500)
                keys |= {message.key for messages in parts.values() for message in messages}
        await reader.stop()
    file = trusted(OTHER)
    async with secured(broker, file) as address:
        await make_topic(reaching(address, file))
        reply = await sent_once(permitting, to_kafka(address), record)
    assert reply.meaning is Meaning.LATER, reply


async def make_topic(options: dict[str, Any]) -> None:
    """Make the topic once the broker answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            admin = AIOKafkaAdminClient(**options)
            try:
                await admin.start()
                await admin.create_topics([NewTopic("renders", 1, 1)])
            except KafkaError:
                await asyncio.sleep(0.1)
            else:
                return
            finally:
                await admin.close()
