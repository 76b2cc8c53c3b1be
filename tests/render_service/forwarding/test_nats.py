"""`forward` to JetStream on a real cluster of three servers."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from nats.js.api import StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import ServiceUnavailableError

from ledger.record import Record
from render_service.forwarding import outlets
from render_service.forwarding.destinations import Destinations
from render_service.notifications.dead_letters import outbox_document
from render_service.session.session import Session
from tests.render_service.forwarding.conftest import drained, forwarding, until

pytestmark = pytest.mark.anyio
PATIENCE_S = 60.0
STREAM = "RENDERS"


class Node:
    """One server of the cluster."""

    def __init__(self, name: str, folder: Path, port: int, cluster_port: int) -> None:
        self.name, self.folder = name, folder
        self.port, self.cluster_port = port, cluster_port
        self.url = f"nats://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, routes: list[str]) -> None:
        program = Path(sys.executable).with_name("nats-server")
        options = {"-p": self.port, "-n": self.name, "-sd": self.folder, "--cluster_name": "test"}
        options |= {"--cluster": f"nats://127.0.0.1:{self.cluster_port}", "--routes": ",".join(routes)}
        command = [
            program,
            "-js",
            "-a",
            "127.0.0.1",
            *(str(part) for pair in options.items() for part in pair),
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """Run three servers that form a cluster."""
    ports = free_ports(6)
    nodes = [
        Node(f"n{number}", tmp_path_factory.mktemp(f"n{number}"), ports[number], ports[number + 3])
        for number in range(3)
    ]
    routes = [f"nats://127.0.0.1:{node.cluster_port}" for node in nodes]
    try:
        for node in nodes:
            node.start(routes)
        yield nodes
    finally:
        for node in nodes:
            node.kill()


@pytest.fixture
async def stream(cluster: list[Node]) -> AsyncIterator[JetStreamContext]:
    """Make an empty stream that all three servers keep."""
    async with asyncio.timeout(PATIENCE_S):
        client = await nats.connect([node.url for node in cluster], max_reconnect_attempts=-1)
        jetstream = client.jetstream()
        config = StreamConfig(name=STREAM, subjects=["renders.>"], num_replicas=3)
        while True:
            try:
                await jetstream.add_stream(config)
                break
            except (nats.errors.Error, TimeoutError):  # the servers have not met yet
                await asyncio.sleep(0.1)
    yield jetstream
    await jetstream.delete_stream(STREAM)
    await client.close()


async def holds_at_least(number: int, stream: JetStreamContext, name: str) -> bool:
    return (await stream.stream_info(name)).state.messages >= number


async def contents(stream: JetStreamContext) -> list[Any]:
    """Return the messages of the stream, in its order."""
    async with asyncio.timeout(PATIENCE_S):
        size = (await stream.stream_info(STREAM)).state.messages
        reader = await stream.pull_subscribe("renders.>", stream=STREAM)
        messages: list[Any] = []
        while len(messages) < size:
            try:
                messages += await reader.fetch(min(100, size - len(messages)), timeout=10)
            except ServiceUnavailableError:  # the servers are electing a leader for this new reader
                await asyncio.sleep(0.1)
        await reader.unsubscribe()
    return messages


def to(cluster: list[Node], **more: Any) -> Destinations:
    servers = [node.url for node in cluster]
    there = {"name": "bus", "servers": servers, "subject": "renders"} | more
    return Destinations.model_validate({"version": 1, "nats": [there]})


def parsed(message: Any) -> Any:
    return from_http_event(HTTPMessage(dict(message.headers), message.data), JSONFormat())


@pytest.mark.parametrize("mode", ["structured", "binary"])
async def test_events_are_published_as_cloud_events_under_the_subject_of_their_type(
    permitting: Session,
    cluster: list[Node],
    stream: JetStreamContext,
    add: Callable[..., Awaitable[list[Record]]],
    mode: str,
) -> None:
    [record] = await add("fact_a")
    await drained(permitting, to(cluster, mode=mode))
    *_, message = await contents(stream)
    assert message.subject == "renders.external.recorded"
    assert message.headers["Nats-Msg-Id"] == record.event_id
    event = parsed(message)
    assert (event.get_id(), event.get_subject()) == (record.event_id, "fact_a")
    data = event.get_data()
    assert (data if isinstance(data, dict) else json.loads(data))["leaf"] == record.leaf.hex()


async def test_an_event_that_is_published_again_is_in_the_stream_once(
    permitting: Session,
    cluster: list[Node],
    stream: JetStreamContext,
    add: Callable[..., Awaitable[list[Record]]],
) -> None:
    await add("fact_a", "fact_b")
    await drained(permitting, to(cluster))
    await drained(permitting, to(cluster, name="again"))
    assert len(await contents(stream)) == permitting.ledger.head().size


async def test_a_server_that_is_killed_in_the_middle_costs_no_event_and_no_order(
    permitting: Session,
    cluster: list[Node],
    stream: JetStreamContext,
    add: Callable[..., Awaitable[list[Record]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outlets, "ACKNOWLEDGED_S", 1.0)
    await add(*(f"fact_{number % 7}" for number in range(400)))
    leader = (await stream.stream_info(STREAM)).cluster.leader  # it has one
    killed = next(node for node in cluster if node.name == leader)
    async with forwarding(permitting, to(cluster)):
        await until(lambda: holds_at_least(50, stream, STREAM))
        await asyncio.to_thread(killed.kill)
        size = (await add("fact_1"))[0].position
        await until(lambda: [each.position for each in permitting.ledger.store.outbox.readers()] == [size])
    events = [parsed(message) for message in await contents(stream)]
    assert len(events) == len({event.get_id() for event in events}) == size
    for number in range(7):
        sequence = [
            event.get_extension("sequence") for event in events if event.get_subject() == f"fact_{number}"
        ]
        assert sequence == sorted(sequence)
    assert outbox_document(permitting.ledger)["dead_letters"] == []
    killed.start([f"nats://127.0.0.1:{node.cluster_port}" for node in cluster])


async def test_events_wait_for_a_stream_that_takes_their_subject(
    permitting: Session,
    cluster: list[Node],
    stream: JetStreamContext,
    add: Callable[..., Awaitable[list[Record]]],
) -> None:
    await add("fact_a")
    destinations = to(cluster, subject="elsewhere")
    async with forwarding(permitting, destinations):
        await asyncio.sleep(0.3)
        await stream.add_stream(StreamConfig(name="LATER", subjects=["elsewhere.>"], num_replicas=1))
        await until(lambda: holds_at_least(permitting.ledger.head().size, stream, "LATER"))
    await stream.delete_stream("LATER")
