"""A raw server that closes a kept connection just when it may be used again: nothing is sent twice."""

import json
import select
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedReader
from itertools import count
from typing import Any

import pytest
from msgspec import structs

from ledger.events import SubmissionAccepted, SubmissionIntended, SubmissionUnknown
from sora_adapter.client import VideosClient
from sora_adapter.profiles import Profile
from sora_adapter.requests import SubmitCall

pytestmark = pytest.mark.anyio

SUBMISSIONS = 240
MOST_ROUNDS = 8  # on a busy machine, one round may not show both kinds of lost answers
STEP_S = 0.000_05
STEPS = 60


class ImpatientServer:
    """Answers the first request of each connection, and then lets it be idle for a moment only.

    The moment grows from 0 to 3 ms, from connection to connection, and begins again. A request that comes in
    it is left unread on every second connection, and read and not answered on the others.
    """

    def __init__(self, answer: dict[str, Any]) -> None:
        self.read: list[str] = []
        self._answer = json.dumps(answer).encode()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"

    def serve(self) -> None:
        """Play with one connection after the other."""
        for number in count():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, suppress(ConnectionError), connection.makefile("rb") as stream:
                self._play(connection, stream, number)

    def stop(self) -> None:
        """Take no more connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _play(self, connection: socket.socket, stream: BufferedReader, number: int) -> None:
        self._take(stream)
        length = f"content-length: {len(self._answer)}"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
        connection.sendall(head.encode() + self._answer)
        readable, _, _ = select.select([connection], [], [], number % STEPS * STEP_S)
        if readable and number % 2:
            self._take(stream)

    def _take(self, stream: BufferedReader) -> None:
        headers = {}
        for line in iter(stream.readline, b""):
            name, _, value = line.decode().strip().partition(": ")
            headers[name.lower()] = value
            if line == b"\r\n":
                stream.read(int(headers["content-length"]))
                self.read.append(headers["x-client-request-id"])
                return


@pytest.fixture
def impatient(video: dict[str, Any]) -> Iterator[ImpatientServer]:
    server = ImpatientServer(video)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.stop()
    thread.join()


async def test_whenever_the_server_closes_a_submission_arrives_at_most_once_and_is_reported_as_it_was(
    impatient: ImpatientServer, openai_profile: Profile, intent: SubmissionIntended, call: SubmitCall
) -> None:
    outcomes: dict[str, object] = {}
    async with VideosClient(openai_profile, impatient.base_url, "any") as client:
        for number in range(SUBMISSIONS * MOST_ROUNDS):
            each = structs.replace(intent, attempt_id=f"att_{number}")
            outcomes[each.attempt_id] = await client.submit(each, call)
            unknown = {name for name, outcome in outcomes.items() if isinstance(outcome, SubmissionUnknown)}
            is_round = (number + 1) % SUBMISSIONS == 0
            if is_round and unknown & set(impatient.read) and unknown - set(impatient.read):
                break
    arrived = Counter(impatient.read)
    accepted = {name for name, outcome in outcomes.items() if isinstance(outcome, SubmissionAccepted)}
    assert accepted | unknown == outcomes.keys()
    assert accepted <= arrived.keys()
    assert max(arrived.values()) == 1
    assert unknown & arrived.keys()
    assert unknown - arrived.keys()
