"""Webhooks received per second by ``serve``, against a bare Starlette handler that only checks the signature.

Both sides are separate processes under uvicorn, with the same secret, and get the same deliveries over the
same connections, in turn: `EVENTS` events, a quarter of them twice, some about jobs of the ledger. Ours
records each event once, durably, before it answers (SQLite, synchronous FULL), links it to its job, and logs
every request; the peer calls the SDK's ``verify_signature`` and answers 200. Then the inbox is counted. The
time of one answer is measured separately: one connection, one delivery after the other. If other programs use
the machine, the ratio of the servers' processor times is steadier.

Where the event loop's time of one delivery goes, profiled, of 100: reading the request and writing the
answer with h11 45 and the signature 12 (the peer's too), the log line 5, Starlette's router and middlewares
4, reading the event and its inbox 4, gathering and settling groups 4; the rest is asyncio. The thread that
appends and looks for jobs takes a fifth as long as the loop.
Measured in one run of five rounds each, in turn: 0.46 of the peer's rate and 0.43 by processor time (800 us
for a delivery, the peer 347); before what is named below, 0.27 and 0.32 (1,072 us). On a busier machine the
ratios were 0.53 to 0.86 and 0.45 to 0.67, as waiting hides what is ours. On a machine that does nothing else
0.51 and 0.54 of the rate, 0.52 by processor time (525 us, the peer 272): 0.55 needs 30 us less.
Deliveries that wait together are appended together, in a thread (`render_service/webhooks/inbox.py`), which
looks for all of their jobs at once; a job each, with a look at the file each, was two fifths of that
thread's time. The head of an answer and its body are one write. Taken out: a second timeout (20 us), ids
from the module `uuid` (26), looking at each value of a log line for keys. Left untried: log lines in blocks,
which a crash would lose.
httptools instead of h11 would make `serve` faster and the ratio worse. uvicorn chooses it for the peer, too,
as soon as it is installed: the peer then takes 397 us of a processor for a delivery, 827 with h11 (medians of
four rounds in turn, both orders, a busy machine). If ours saved as many of what would be 1,900 at the ratio
above, the ratio by processor time would be 0.27 instead of 0.43 (estimated). It also needs the limits of
`render_service/server/server.py`, which extend h11's protocol, a second time.

    .venv/bin/python benchmarks/webhooks.py
"""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import goals

from ledger.events import RenderAdopted, WebhookReceived
from ledger.log.opening import open_ledger, open_or_create
from ledger.record import ActorSource, Authority, Provenance, draft
from ledger.store.filters import RecordFilter
from ledger.store.interface import NEW, Batch
from ledger.terms import Status

ROUNDS = 5
EVENTS = 3_000
DOUBLED = EVENTS // 4
JOBS = 300
CONNECTIONS = 32
ALONE = 200
PEER = "signature only"
PEER_PROGRAM = Path(__file__).with_name("webhooks_peer.py")
AIM = goals.GOALS["webhooks", PEER].ratio
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
WHO = Provenance("bench", ActorSource.FLAG, Authority.SYSTEM, "1" * 32, "2" * 16)


class Served(NamedTuple):
    """The result of one round: deliveries per second, and the server's processor time per delivery in µs."""

    a_second: float
    processor_us: float


def main() -> None:
    """Measure both sides alternately."""
    ours: list[Served] = []
    peers: list[Served] = []
    alone: list[float] = []
    for _ in range(ROUNDS):
        ours.append(_ours(alone))
        peers.append(_peer())
    print(
        f"{EVENTS} events, {DOUBLED} of them twice, {JOBS} about jobs of the ledger, "
        f"{CONNECTIONS} connections; {ROUNDS} runs each, alternating"
    )
    print(f"  serve          {_spread(ours)}")
    print(f"  signature only {_spread(peers)}")
    mine, theirs = _median(ours), _median(peers)
    ratio = mine.a_second / theirs.a_second
    goals.note("webhooks", PEER, ratio)
    worked = theirs.processor_us / mine.processor_us
    print(f"  ratio of medians {ratio:.2f} (aim: at least {AIM:g}), by processor time {worked:.2f}")
    low, middle, high = min(alone) * 1000, statistics.median(alone) * 1000, max(alone) * 1000
    print(f"  one delivery to serve by itself: median {middle:.1f} ms ({low:.1f} to {high:.1f})")


def _ours(alone: list[float]) -> Served:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ledger.db"
        with open_or_create(url, WHO, datetime.now(UTC)) as ledger:
            for number in range(JOBS):
                adopted = RenderAdopted(profile="sandbox", video_id=f"video_{number}", status=Status.QUEUED)
                ledger.append([Batch(f"job_{number:032x}", NEW, [draft(adopted, WHO, datetime.now(UTC))])])
        port = _free_port()
        receiving = ["serve", "--no-gateway", "--no-work", "--port", str(port), "--json"]
        command = [str(Path(sys.executable).parent / "sora-ledger"), *receiving]
        environment = {
            "SORA_LEDGER_URL": url,
            "SORA_LEDGER_PROFILE": "sandbox",
            "SORA_LEDGER_WEBHOOK_SECRETS": SECRET,
        }
        served = _rate(command, environment, port, "/webhooks/sandbox", alone)
        with open_ledger(url) as ledger:
            recorded = sum(1 for _ in ledger.read(RecordFilter(type=WebhookReceived.type)))
        if recorded != EVENTS + ALONE:
            raise SystemExit(f"{recorded} events in the inbox, expected {EVENTS + ALONE}")
    return served


def _peer() -> Served:
    port = _free_port()
    return _rate([sys.executable, str(PEER_PROGRAM), str(port), SECRET], {}, port, "/", [])


def _rate(
    command: list[str], environment: dict[str, str], port: int, path: str, alone: list[float]
) -> Served:
    """Measure the server of `command`, and add the seconds of single deliveries to `alone`."""
    process = subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port)
        requests, before = _deliveries(path), _processor_s(process.pid)
        rate = asyncio.run(_deliver(port, requests, CONNECTIONS, []))
        worked = (_processor_s(process.pid) - before) / len(requests) * 1e6
        asyncio.run(_deliver(port, [_request(path, f"alone_{n}", f"a_{n}") for n in range(ALONE)], 1, alone))
    finally:
        process.terminate()
        process.wait()
    return Served(rate, worked)


def _processor_s(pid: int) -> float:
    """Return the seconds of processor time that a process has used, as Linux counts them."""
    times = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def _deliveries(path: str) -> list[bytes]:
    """Return whole requests, signed now; the second of a doubled event is another delivery."""
    chance = random.Random(1)
    events = [*range(EVENTS), *chance.sample(range(EVENTS), DOUBLED)]
    chance.shuffle(events)
    return [_request(path, f"video_{number}", f"wh_{place}") for place, number in enumerate(events)]


def _request(path: str, video_id: str, name: str) -> bytes:
    event = {
        "id": f"evt_{video_id}",
        "object": "event",
        "created_at": 1_790_000_000,
        "type": "video.completed",
    }
    body = json.dumps(event | {"data": {"id": video_id}}).encode()
    at = str(int(time.time()))
    mac = hmac.digest(base64.b64decode(SECRET[6:]), f"{name}.{at}.".encode() + body, hashlib.sha256)
    headers = {
        "host": "here",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "webhook-id": name,
        "webhook-timestamp": at,
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def _deliver(port: int, requests: list[bytes], connections: int, seconds: list[float]) -> float:
    waiting = iter(requests)

    async def hand() -> None:
        reading, writing = await asyncio.open_connection("127.0.0.1", port)
        for request in waiting:
            sent_at = time.perf_counter()
            writing.write(request)
            head = await reading.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"a delivery was answered with {head!r}")
            await reading.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
            seconds.append(time.perf_counter() - sent_at)
        writing.close()

    began = time.perf_counter()
    await asyncio.gather(*(hand() for _ in range(connections)))
    return len(requests) / (time.perf_counter() - began)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    for _ in itertools.repeat(None, 300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("the server did not start within 30 s")


def _median(rounds: list[Served]) -> Served:
    return Served(*map(statistics.median, zip(*rounds, strict=True)))


def _spread(rounds: list[Served]) -> str:
    rates = [served.a_second for served in rounds]
    middle = _median(rounds)
    spread = f"{middle.a_second:7,.0f} deliveries/s ({min(rates):,.0f} to {max(rates):,.0f})"
    return f"{spread}, {middle.processor_us:4.0f} us of the processor"


if __name__ == "__main__":
    main()
