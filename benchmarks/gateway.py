"""The gateway of ``serve`` against the LiteLLM proxy and a bare Starlette pass-through, with one upstream.

All are separate processes in front of the same sandbox, whose renders take an hour, so that nothing is
downloaded during the run. They take turns: for each number of clients, ``POST /videos`` as the official SDK
sends it (multipart, another prompt each time), then ``GET /videos/{id}`` over the videos made so far. The
gateway decides, records and submits each request durably (SQLite, synchronous FULL), and works its queue at
the same time. LiteLLM runs as its Docker image starts it (one process, no database). The pass-through
forwards bytes and does nothing else; a second one, "official SDK", reads each request and sends it with the
SDK, which is the limit of a gateway that calls it. The sandbox itself is measured too, and a server with a
constant answer shows the limit of the load generator. Memory is the processes' memory at the end. Then
``/content`` of a stored 100 MB clip is compared with Starlette's FileResponse.

LiteLLM is installed from PyPI into a temporary folder, unless `--litellm` names its program.

    .venv/bin/python benchmarks/gateway.py
    .venv/bin/python benchmarks/gateway.py --litellm PROGRAM --rounds 1 --seconds 1

Measured on two shared cores with nothing else running, at 1, 16 and 64 clients: POST reaches 0.35, 0.17 and
0.31 of the pass-through (aim: 0.4) and 1.7, 1.2 and 1.3 times LiteLLM (aim: 3), in 9 to 11 ms of a processor
against 2 and 11 to 14. GET reaches 5.8, 2.5 and 3.2 of the pass-through (aim: 0.7) and 13 to 18 times LiteLLM
(aim: 5). The gateway took 134 MB, LiteLLM 330. Rates follow the load of the machine, so compare within one
run.

The limit: on a day when everything took twice as long, the pass-through with the official SDK, which decides
and records nothing, reached 0.72, 0.54 and 0.55 of the bare one and 2.7, 2.8 and 2.0 times LiteLLM, so three
times LiteLLM is out of reach of anything that calls the SDK. The gateway reached 0.25, 0.48 and 0.66 of it.

Where the time of a POST goes, of 8.5 ms of a processor under such load, without the worker: 2.7 to send it
upstream (1.0 the official SDK, 0.4 our checks before and after it, 1.3 the HTTP client and its connection),
1.6 to read the client's request and answer it, 2.4 for the rest in the event loop (parsing the request,
drafts, folds, log lines), 1.25 in the threads that append (two appends, each shared by four or five
requests), 0.4 in those that decide. The worker beside it adds 0.4 for each of its renders and poll.

Taken out: releasing each polled render in a transaction of its own, with two look-ups in threads (1,500
running renders took 14.5 % of a processor, now 5.8 %; in front of them, in alternating runs, one client got
2 to 10 answers a second, and then 8 to 29); garbage collections (6.5 % of a request); setting up the log for
each request (1 %); structlog in five lines of the log, a thread for the expected duration, and an address
that was parsed twice (5 to 7 %, in alternating runs).
Tried and left out: a switch interval of threads of 0.5 ms (no faster, a tenth more processor time); uvloop
(no less processor time).
Measured and left out: a connection of httpcore without its pool, on asyncio's streams (a fifth of sending).
Left untried on purpose: the paid call without the SDK. See docs/decisions/0195-what-a-post-costs.md.
"""

import argparse
import asyncio
import io
import itertools
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import venv
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import goals

LITELLM = "1.106.2"
CLIENTS = (1, 16, 64)
ROUNDS = 3
SECONDS = 3.0
VIDEOS = 2_000
"""The gateway slows a client that polls a video more than twice a second, so there are many."""
AIMS = {
    ("LiteLLM", "POST"): 3.0,
    ("LiteLLM", "GET"): 5.0,
    ("pass-through", "POST"): 0.4,
    ("pass-through", "GET"): 0.7,
}
CONTENT_BYTES = 100 * 1024 * 1024
DOWNLOADS = 8
CONTENT_AIM = 0.8
START_S = 180.0
CONFIG = """\
model_list:
  - model_name: sora-2
    litellm_params: {{model: openai/sora-2, api_base: "{upstream}", api_key: sk-upstream}}
litellm_settings: {{telemetry: false}}
"""
PEERS = Path(__file__).with_name("gateway_peers.py")
FIELDS = {"model": "sora-2", "seconds": "4", "size": "720x1280"}
numbers = itertools.count()


@dataclass
class Peer:
    """A server under load, and its measurements."""

    name: str
    port: int
    key: str
    process: subprocess.Popen[Any]
    videos: list[str] = field(default_factory=list)
    rates: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    seconds: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))

    cpu: dict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))

    def rate(self, method: str, clients: int) -> float:
        """Return the median of requests per second."""
        return statistics.median(self.rates[method, clients])

    def cpu_ms(self, method: str, clients: int) -> float:
        """Return the processor time per request, including the server's background work."""
        return self.cpu[method, clients] * 1000 / len(self.seconds[method, clients])


def main() -> None:
    """Measure all peers in turn."""
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("--litellm", metavar="PROGRAM", help="the program `litellm` of an installation")
    reader.add_argument("--rounds", type=int, default=ROUNDS)
    reader.add_argument("--seconds", type=float, default=SECONDS, help="seconds of each measurement")
    reader.add_argument("--only", choices=["requests", "content"])
    arguments = reader.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.only != "content":
            measure_requests(folder, arguments.litellm, arguments.rounds, arguments.seconds)
        if arguments.only != "requests":
            measure_content(folder)


# --- requests ---


def measure_requests(folder: Path, litellm: str | None, rounds: int, seconds: float) -> None:
    """Compare POST and GET, and print the table."""
    with ExitStack() as stack:
        direct = stack.enter_context(sandbox(folder / "sandbox"))
        upstream = f"http://127.0.0.1:{direct.port}/v1"
        through = stack.enter_context(bare("pass-through", upstream))
        official = stack.enter_context(bare("official SDK", upstream))
        ours = stack.enter_context(gateway(folder, upstream))
        peers = [ours, through, official, direct]
        if program := litellm or install_litellm(folder):
            peers.insert(3, stack.enter_context(litellm_proxy(folder, program, upstream)))
        generator = generator_rate(seconds)
        for peer in (ours, through, official):
            asyncio.run(seed(peer, VIDEOS))
        for _ in range(rounds):
            for clients, peer in itertools.product(CLIENTS, peers):
                for method in ("POST", "GET"):
                    asyncio.run(measure(peer, method, clients, seconds))
        print(
            f"requests per second (p50/p99 in ms), processor time of one; {rounds} rounds of {seconds:g} s "
            f"each, alternating; the load generator alone reaches {generator:,.0f}"
        )
        report(peers)
        for peer in peers[:-1]:
            print(f"  memory of {peer.name}: {resident_mb(peer.process.pid):.0f} MB")


def report(peers: list[Peer]) -> None:
    """Print a table, and the ratios of medians."""
    ours = peers[0]
    for method, clients in itertools.product(("POST", "GET"), CLIENTS):
        print(f"  {method}, {clients} client{'s' if clients > 1 else ''}")
        for peer in peers:
            low, high = percentiles(peer.seconds[method, clients])
            ratio = ours.rate(method, clients) / peer.rate(method, clients)
            aim = AIMS.get((peer.name, method))
            goals.note(f"{method}, {clients} clients", peer.name, ratio)
            counted = (
                ""
                if peer is ours
                else f"  ours is {ratio:.2f} times" + (f" (aim: at least {aim:g})" if aim else "")
            )
            cpu = f"{peer.cpu_ms(method, clients):.1f} ms"
            print(
                f"    {peer.name:<15}{peer.rate(method, clients):7,.0f}/s  ({low:.1f}/{high:.1f}), "
                f"processor {cpu}{counted}"
            )


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    ordered = sorted(seconds)
    return ordered[len(ordered) // 2] * 1000, ordered[int(len(ordered) * 0.99)] * 1000


async def measure(peer: Peer, method: str, clients: int, seconds: float) -> None:
    """Load one peer for some seconds with a closed loop of `clients` connections."""
    until = time.perf_counter() + seconds
    if method == "POST":
        requests = iter(lambda: post(peer.key), None)
    else:
        videos = itertools.cycle(list(peer.videos))
        requests = (get(peer.key, video) for video in videos)
    took: list[float] = []
    used, began = cpu_seconds(peer.process.pid), time.perf_counter()
    answers = await load(peer.port, requests, clients, took, until)
    peer.rates[method, clients].append(len(took) / (time.perf_counter() - began))
    peer.cpu[method, clients] += cpu_seconds(peer.process.pid) - used
    peer.seconds[method, clients] += took
    if method == "POST":
        peer.videos += [json.loads(answer)["id"] for answer in answers]


async def seed(peer: Peer, videos: int) -> None:
    """Create videos."""
    some = (post(peer.key) for _ in range(videos))
    peer.videos += [json.loads(answer)["id"] for answer in await load(peer.port, some, 16, [], float("inf"))]


async def load(
    port: int, requests: Iterator[bytes], clients: int, took: list[float], until: float
) -> list[bytes]:
    """Send requests over `clients` connections, each one after its last was answered; return the bodies."""
    answers: list[bytes] = []

    async def client() -> None:
        reading, writing = await asyncio.open_connection("127.0.0.1", port)
        for request in requests:
            started = time.perf_counter()
            writing.write(request)
            head, body = await answer(reading)
            took.append(time.perf_counter() - started)
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"{request[:300]!r} was answered with {head!r} {body[:500]!r}")
            answers.append(body)
            if time.perf_counter() > until:
                break
        writing.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


async def answer(reading: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one answer, of known length or in chunks."""
    head = await reading.readuntil(b"\r\n\r\n")
    lowered = head.lower()
    if length := re.search(rb"content-length: *(\d+)", lowered):
        return head, await reading.readexactly(int(length[1]))
    body = b""
    while size := int(await reading.readline(), 16):
        body += (await reading.readexactly(size + 2))[:-2]
    await reading.readline()
    return head, body


def post(key: str) -> bytes:
    """Return a create as the official SDK sends it, with a unique prompt."""
    boundary = "4f7c2a9d0b6e4c1f8a3d5e7b9c0d1e2f"
    fields = {"prompt": f"Shot {next(numbers)}: a fox runs through tall grass", **FIELDS}
    body = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in fields.items()
    )
    return message(
        "POST", "/v1/videos", key, f"multipart/form-data; boundary={boundary}", f"{body}--{boundary}--\r\n"
    )


def get(key: str, video: str) -> bytes:
    """Return a retrieval."""
    return message("GET", f"/v1/videos/{video}", key)


def message(method: str, path: str, key: str, content_type: str = "", body: str = "") -> bytes:
    """Return a whole request with the headers that the official SDK sends."""
    headers = {
        "host": "127.0.0.1",
        "accept": "application/json",
        "accept-encoding": "identity",
        "authorization": f"Bearer {key}",
        "user-agent": "AsyncOpenAI/Python 3.52.0",
        "x-stainless-lang": "python",
        "x-stainless-async": "async:asyncio",
        "x-stainless-retry-count": "0",
        "x-stainless-read-timeout": "600",
    }
    if content_type:
        headers |= {"content-type": content_type, "content-length": str(len(body.encode()))}
    head = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}".encode()


def generator_rate(seconds: float) -> float:
    """Return requests per second of the load generator against a server that answers with a constant."""
    with bare("constant", "") as peer:
        asyncio.run(measure(peer, "POST", 16, seconds))
    return peer.rate("POST", 16)


# --- content ---


def measure_content(folder: Path) -> None:
    """Compare the download of a stored clip of 100 MB with Starlette's FileResponse."""
    clip = folder / "clip.mp4"
    clip.write_bytes(padded_clip(CONTENT_BYTES))
    (folder / "content").mkdir()
    with ExitStack() as stack:
        files = stack.enter_context(bare("FileResponse", str(clip)))
        ours = stack.enter_context(gateway(folder / "content", f"http://127.0.0.1:{files.port}/v1"))
        [video] = asyncio.run(load(ours.port, iter([post(ours.key)]), 1, [], 0))
        path = f"/v1/videos/{json.loads(video)['id']}/content"
        wait_until_stored(ours, path)
        rates: dict[str, dict[int, list[float]]] = {peer.name: {1: [], 4: []} for peer in (ours, files)}
        for _, clients, peer in itertools.product(range(ROUNDS), (1, 4), (ours, files)):
            there = path if peer is ours else "/file"
            rates[peer.name][clients].append(download_rate(peer, there, clients))
    print(f"/content of {CONTENT_BYTES // 1024**2} MB; {ROUNDS} rounds of {DOWNLOADS} downloads, alternating")
    for clients in (1, 4):
        mine, theirs = (statistics.median(rates[peer.name][clients]) for peer in (ours, files))
        print(
            f"  {clients} at a time: {mine:,.0f} MB/s, FileResponse {theirs:,.0f} MB/s, "
            f"ratio {mine / theirs:.2f} (aim: at least {CONTENT_AIM:g})"
        )


def padded_clip(size: int) -> bytes:
    """Return a real MP4 of the wanted size: a box that players skip comes last."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=1, options={"preset": "ultrafast"})
        stream.width, stream.height = (int(side) for side in FIELDS["size"].split("x"))
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
        for number in range(int(FIELDS["seconds"])):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    clip = memory.getvalue()
    padding = size - len(clip)
    return clip + padding.to_bytes(4, "big") + b"free" + bytes(padding - 8)


def wait_until_stored(peer: Peer, path: str) -> None:
    """Wait until the worker of the gateway has stored the clip."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            download(peer, path, bytearray(1 << 20))
        except ConnectionRefusedError:
            time.sleep(0.5)
        else:
            return
    raise SystemExit("the gateway did not store the clip")


def download_rate(peer: Peer, path: str, clients: int) -> float:
    """Return MB per second of `DOWNLOADS` downloads, `clients` at a time."""
    waiting = iter(range(DOWNLOADS))

    def work() -> None:
        space = bytearray(1 << 20)
        for _ in waiting:
            download(peer, path, space)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return DOWNLOADS * CONTENT_BYTES / 1024**2 / (time.perf_counter() - began)


def download(peer: Peer, path: str, space: bytearray) -> None:
    """Read an answer to its end and forget it."""
    with socket.create_connection(("127.0.0.1", peer.port)) as connection:
        connection.sendall(message("GET", path, peer.key))
        begun = b""
        while b"\r\n\r\n" not in begun:
            begun += connection.recv(65536)
        head, _, rest = begun.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionRefusedError(head)
        left = CONTENT_BYTES - len(rest)
        while left > 0:
            got = connection.recv_into(space)
            if not got:
                raise SystemExit(f"{path} broke off")
            left -= got


# --- the servers ---


@contextmanager
def gateway(folder: Path, upstream: str) -> Iterator[Peer]:
    """Run ``serve`` with a new ledger and one key."""
    environment = {
        name: text for name, text in os.environ.items() if not name.startswith(("SORA_", "OPENAI_"))
    } | {
        "SORA_LEDGER_URL": f"sqlite:///{folder}/ledger.db",
        "SORA_LEDGER_ASSETS": f"{folder}/assets",
        "SORA_LEDGER_PROFILE": "openai",
        "SORA_LEDGER_ACTOR": "bench",
        "OPENAI_BASE_URL": upstream,
        "OPENAI_API_KEY": "any",
    }
    program = [str(Path(sys.executable).parent / "sora-ledger")]
    granting = [*program, "access", "grant", "bench", "--role", "operator", "--json"]
    granted = subprocess.run(granting, env=environment, capture_output=True, text=True, check=True)
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [*program, "serve", "--port", "0", "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        with ending(process):
            assert process.stdout
            text = ""
            while not text.rstrip().endswith("}"):
                text += process.stdout.readline() or sys.exit((folder / "serve.log").read_text())
            port = int(json.loads(text)["serving"].rpartition(":")[2])
            yield Peer("gateway", port, json.loads(granted.stdout)["key"], process)


@contextmanager
def litellm_proxy(folder: Path, program: str, upstream: str) -> Iterator[Peer]:
    """Run the LiteLLM proxy as its Docker image does, without a database."""
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(upstream=upstream))
    key, port = "sk-bench-0123456789", free_port()
    variables = {"LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""}
    with (folder / "litellm.log").open("w") as log:
        process = subprocess.Popen(
            [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder, env=os.environ | variables, stdout=log, stderr=log,
        )  # fmt: skip
        with ending(process):
            until = time.monotonic() + START_S
            while time.monotonic() < until:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.2)
            yield Peer("LiteLLM", port, key, process)


def install_litellm(folder: Path) -> str | None:
    """Install the proxy into a folder; None if it cannot be fetched."""
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / "bin"
    wanted = f"litellm[proxy]=={LITELLM}"
    pip = [str(programs / "python"), "-m", "pip", "--quiet", "install", wanted]
    if subprocess.run(pip, capture_output=True, check=False).returncode:
        print(f"{wanted} could not be fetched: measured without it", file=sys.stderr)
        return None
    return str(programs / "litellm")


@contextmanager
def bare(name: str, upstream: str) -> Iterator[Peer]:
    """Run one of the servers of `gateway_peers.py`."""
    command = [sys.executable, str(PEERS), name, upstream]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with ending(process):
        yield Peer(name, first_port(process), "any", process)


@contextmanager
def sandbox(folder: Path) -> Iterator[Peer]:
    """Run a sandbox whose renders take an hour."""
    command = [sys.executable, "-m", "cli", "sandbox", "--port", "0", "--data", str(folder)]
    process = subprocess.Popen(
        [*command, "--render-seconds", "3600", "--media", "cached"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with ending(process):
        assert process.stdout
        base_url = process.stdout.readline().strip().partition("=")[2]
        yield Peer("sandbox itself", int(base_url.rpartition(":")[2].removesuffix("/v1")), "any", process)


@contextmanager
def ending(process: subprocess.Popen[Any]) -> Iterator[None]:
    """End a process with the block."""
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def first_port(process: subprocess.Popen[str]) -> int:
    """Return the port that a server prints first."""
    assert process.stdout
    return int(process.stdout.readline())


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, with its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(int(child)) for child in children)


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = re.search(r"VmRSS:\s+(\d+)", status)
    return (int(kilobytes[1]) / 1024 if kilobytes else 0) + sum(resident_mb(int(child)) for child in children)


if __name__ == "__main__":
    main()
