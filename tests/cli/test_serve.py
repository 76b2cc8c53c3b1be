"""`serve` refuses what cannot be served safely, and ends when it is told to with everything recorded."""

import base64
import gc
import hashlib
import hmac
import json
import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cli.garbage import COLLECT_AFTER, leave_out_what_is_loaded
from ledger.log.opening import open_ledger, open_snapshot
from ledger.store.filters import RecordFilter
from ledger.verify import verify
from render_service.server.server import listen
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings
from tests.cli.conftest import Sora
from tests.forks import Forks, Running

SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
SECRETS = "SORA_LEDGER_WEBHOOK_SECRETS"
KILLED_AFTER = 40
NO_TILES = (
    "/tile/0/000",  # not full yet
    "/tile/0/000.p/0",
    "/tile/0/000.p/256",
    "/tile/0/x000/000",
    "/tile/0/001",
    "/tile/00/000",
    "/tile/64/000",
    "/tile/data/000",
    "/tile/0/../checkpoint",
    "/tile/1/000.p/1",
    "/other",
)


Served = Callable[..., AbstractContextManager[tuple[Running, dict[str, Any]]]]


@pytest.fixture
def served(folder: Path, forks: Forks) -> Served:
    """Run `serve` on a free port; yields the process and what it said on stdout."""

    @contextmanager
    def serve(*options: str, **environment: str) -> Iterator[tuple[Running, dict[str, Any]]]:
        command = ["serve", "--port", "0", "--profile", "sandbox", "--json", *options]
        process = forks.popen(command, folder, os.environ | environment)
        try:
            assert process.stdout
            lines: list[str] = []
            while not lines or lines[-1] != "}\n":
                lines.append(process.stdout.readline())
                assert lines[-1], process.stderr and process.stderr.read()
            yield process, json.loads("".join(lines))
        finally:
            process.kill()
            process.communicate()

    return serve


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({SECRETS: ""}, "SORA_LEDGER_WEBHOOK_SECRETS is empty"),
        ({SECRETS: "whsec_"}, "anyone could sign"),
        ({f"{SECRETS}_NOBODY": SECRET}, "unknown profile"),
    ],
)
def test_with_secrets_that_check_nothing_nothing_is_served_or_begun(
    sora: Sora, folder: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], message: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ended = sora("serve", "--profile", "sandbox")
    assert (ended.code, message in ended.error) == (2, True)
    assert list(folder.iterdir()) == []


def test_a_port_that_is_taken_is_reported(sora: Sora, folder: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        ended = sora("serve", "--no-webhooks", "--port", str(taken.getsockname()[1]))
    assert (ended.code, "try another --host or --port" in ended.error) == (2, True)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_as_if_it_had_been_asked(served: Served, number: signal.Signals) -> None:
    with served(SORA_LEDGER_WEBHOOK_SECRETS=SECRET) as (process, addresses):
        assert httpx2.get(f"{addresses['serving']}/healthz").status_code == 200
        process.send_signal(number)
        _, log = process.communicate(timeout=120)
    assert (process.returncode, "Traceback" in log) == (0, False)


def test_every_answer_leaves_a_line_in_the_log_that_holds_no_secret(served: Served) -> None:
    with served(SORA_LEDGER_WEBHOOK_SECRETS=SECRET) as (process, addresses):
        httpx2.post(addresses["webhooks"][0], content=b"{}", headers={"webhook-signature": "v1,hidden"})
        process.terminate()
        _, log = process.communicate(timeout=120)
    line = next(json.loads(each) for each in log.splitlines() if "http.answered" in each)
    assert {name: line[name] for name in ("method", "path", "status", "profile", "outcome")} == {
        "method": "POST",
        "path": "/webhooks/sandbox",
        "status": 400,
        "profile": "sandbox",
        "outcome": "unsigned",
    }
    assert (SECRET in log, "hidden" in log) == (False, False)


def test_what_a_server_announces_is_in_the_inbox(served: Served, tmp_path: Path) -> None:
    settings = SandboxSettings(data_dir=tmp_path / "sandbox", render_seconds=0, media="cached")
    with (
        SandboxServer(settings) as sandbox,
        httpx2.Client(base_url=sandbox.base_url, headers={"authorization": "Bearer any"}) as client,
    ):
        wanted = {"name": "ours", "url": "http://127.0.0.1:9", "event_types": ["video.completed"]}
        made = client.post("webhook_endpoints", json=wanted).json()
        with served(SORA_LEDGER_WEBHOOK_SECRETS=made["signing_secret"]) as (process, addresses):
            client.post(f"webhook_endpoints/{made['id']}", json={"url": addresses["webhooks"][0]})
            video = client.post("videos", json={"prompt": "a fox"}).json()
            wait_for(process, "http.answered")
            process.terminate()
            process.communicate(timeout=120)
    with open_ledger("sqlite:///ledger.db") as ledger:
        [record] = [each for each in ledger.read() if each.stream == "inbox_sandbox"]
    assert record.event.as_json()["video_id"] == video["id"]


def wait_for(process: Running, word: str) -> None:
    """Read the log up to a line that holds `word`."""
    assert process.stderr
    for line in process.stderr:
        if word in line:
            return
    raise AssertionError(f"it ended without saying {word}")


def test_what_was_answered_before_a_kill_is_recorded_and_nothing_is_recorded_twice(served: Served) -> None:
    bodies = {f"video_{number}": event(f"video_{number}") for number in range(100)}  # whose log a pipe holds
    taken: set[str] = set()
    one_kills = threading.Lock()

    def deliver(video: str) -> None:
        if delivered(addresses["webhooks"][0], bodies[video]):
            with one_kills:
                taken.add(video)
                if len(taken) == KILLED_AFTER:
                    process.kill()

    with served(SORA_LEDGER_WEBHOOK_SECRETS=SECRET) as (process, addresses), ThreadPoolExecutor(8) as hands:
        list(hands.map(deliver, bodies))
    before, answered = recorded(), {f"evt_{video}" for video in taken}
    assert (answered <= before.keys(), len(answered) < len(bodies)) == (True, True)
    with served(SORA_LEDGER_WEBHOOK_SECRETS=SECRET) as (process, addresses), ThreadPoolExecutor(8) as hands:
        assert all(hands.map(lambda body: delivered(addresses["webhooks"][0], body), bodies.values()))
        process.terminate()
        process.wait(timeout=120)
    assert recorded() == Counter(f"evt_{video}" for video in bodies)
    with open_snapshot("sqlite:///ledger.db") as snapshot:
        assert verify(snapshot).clean


def event(video_id: str) -> bytes:
    facts = {"id": f"evt_{video_id}", "type": "video.completed", "data": {"id": video_id}}
    return json.dumps(facts).encode()


def delivered(url: str, body: bytes) -> bool:
    """Sign and post; says whether it was taken."""
    name, at = f"wh_{uuid.uuid4().hex}", str(int(time.time()))
    mac = hmac.digest(bytes(32), f"{name}.{at}.".encode() + body, hashlib.sha256)
    signature = "v1," + base64.b64encode(mac).decode()
    headers = {"webhook-id": name, "webhook-timestamp": at, "webhook-signature": signature}
    try:
        with httpx2.Client(verify=False, timeout=60) as client:  # plain HTTP: no certificates to load
            return client.post(url, content=body, headers=headers).status_code == 200
    except httpx2.HTTPError:
        return False


def recorded() -> Counter[str]:
    with open_ledger("sqlite:///ledger.db") as ledger:
        inbox = ledger.read(RecordFilter(stream="inbox_sandbox"))
        return Counter(record.event.as_json()["webhook_event_id"] for record in inbox)


def test_what_was_loaded_at_the_start_is_left_out_of_every_collection_of_garbage() -> None:
    before = gc.get_threshold()
    try:
        leave_out_what_is_loaded()
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold()[0] == COLLECT_AFTER
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def test_the_log_is_served_as_tiles_that_caches_may_keep(
    served: Served, sora: Sora, denied: str, folder: Path
) -> None:
    sora("key", "new", "signing.key")
    with served("--tiles", SORA_LEDGER_KEY="signing.key") as (_, document):
        with httpx2.Client(base_url=document["log"]) as log:
            checkpoint = log.get("/checkpoint")
            size = int(checkpoint.text.splitlines()[1])
            hashes = log.get(f"/tile/0/000.p/{size}")
            entries = log.get(f"/tile/entries/000.p/{size}", headers={"accept-encoding": "gzip"})
            missing = [log.get(path).status_code for path in NO_TILES]
        followed = sora("monitor", document["log"], "--state", "state.json")
    assert checkpoint.headers["cache-control"] == "no-cache"
    assert (hashes.headers["cache-control"], len(hashes.content)) == (
        "public, max-age=31536000, immutable",
        32 * size,
    )
    assert (entries.headers["content-encoding"], entries.headers["vary"]) == ("gzip", "accept-encoding")
    first = entries.content[2 : 2 + int.from_bytes(entries.content[:2], "big")]
    assert hashlib.sha256(b"\0" + first).digest() == hashes.content[:32]
    assert missing == [404] * len(NO_TILES)
    assert followed.document["size"] == size


def test_an_unsigned_log_is_not_served(sora: Sora, denied: str) -> None:
    ended = sora("serve", "--tiles", "--port", "0")
    assert (ended.code, "add --key FILE" in ended.error) == (2, True)
