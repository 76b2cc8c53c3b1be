"""The live log of the console: 200 records a second, shown to 50 browsers, with flat memory.

``serve`` runs as a separate process; another one appends `RATE` records a second. `BROWSERS` connections read
``/console/log/live`` as EventSource does, and one more reads nothing. The benchmark measures how long after
its append a record arrives at each browser, whether each gets every record once and in order, the memory of
``serve`` after a third of the time and at the end, and its processor time. Finally it checks the connection
that read nothing: it was cut off, and gets the missed records when it reconnects.

    .venv/bin/python benchmarks/console_live.py [--seconds 60]
"""

import argparse
import asyncio
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from workload import JOBS, WHO, adopted, draft, job, observed

from ledger.log.opening import open_or_create
from ledger.store.interface import ANY, NEW, Batch

RATE, BROWSERS, TICK_S = 200, 50, 0.05
AIM_P99_S, AIM_GROWTH_MB = 2.0, 16
ROW = re.compile(rb'<tr id="r([0-9]+)"')
ENVIRONMENT = {**os.environ, "SORA_LEDGER_URL": "sqlite:///ledger.db", "SORA_LEDGER_PROFILE": "sandbox"}


def main() -> None:
    """Measure, print, and end with 1 if an aim is missed."""
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("--seconds", type=int, default=60)
    reader.add_argument("--append", action="store_true", help=argparse.SUPPRESS)
    wanted = reader.parse_args()
    if wanted.append:
        _append(wanted.seconds)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.exit(asyncio.run(_measure(wanted.seconds)))


def _append(seconds: int) -> None:
    """Append at a steady rate, and print the time of each append with its last position."""
    number, began = JOBS, time.monotonic()
    with open_or_create("ledger.db", WHO, datetime.now(UTC)) as ledger:
        while (elapsed := time.monotonic() - began) < seconds:
            due = int(elapsed * RATE) + JOBS - number
            if due > 0:
                batches = [
                    Batch(job(one), ANY, [draft(observed(one))]) for one in range(number, number + due)
                ]
                records = ledger.append(batches)
                number += due
                print(json.dumps([records[0].position, records[-1].position, time.time()]), flush=True)
            time.sleep(TICK_S)


async def _measure(seconds: int) -> int:
    key, port = await asyncio.to_thread(_prepare), _free_port()
    command = [sys.executable, "-m", "cli", "serve", "--port", str(port), "--no-work"]
    null = subprocess.DEVNULL
    serve = await asyncio.create_subprocess_exec(*command, env=ENVIRONMENT, stdout=null, stderr=null)
    try:
        await _until_it_serves(port)
        return await _measured(serve.pid, port, key, seconds)
    finally:
        serve.terminate()
        await serve.wait()


async def _measured(pid: int, port: int, key: str, seconds: int) -> int:
    arrivals: list[list[tuple[int, float]]] = [[] for _ in range(BROWSERS)]
    streams = [await _listen(port, key) for _ in arrivals]
    tasks = [
        asyncio.create_task(_collect(stream, into))
        for (stream, _), into in zip(streams, arrivals, strict=True)
    ]
    idle, _ = await _listen(port, key, receive_bytes=4_096)
    writer = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--append", "--seconds", str(seconds), stdout=subprocess.PIPE
    )
    appended: dict[int, float] = {}
    early, busy = 0.0, _processor_s(pid)
    began = time.monotonic()
    assert writer.stdout is not None
    async for line in writer.stdout:
        first, last, at = json.loads(line)
        appended.update(dict.fromkeys(range(first, last + 1), at))
        if not early and time.monotonic() - began > seconds / 3:
            early = _memory_mb(pid)
    await writer.wait()
    await _until_all_came(arrivals, len(appended))
    late, busy = _memory_mb(pid), _processor_s(pid) - busy
    for task in tasks:
        task.cancel()
    return _report(arrivals, appended, (early, late), busy / seconds, await _come_back(idle, port, key))


def _report(
    arrivals: list[list[tuple[int, float]]],
    appended: dict[int, float],
    memory_mb: tuple[float, float],
    processor: float,
    back: tuple[int, int],
) -> int:
    complete = sum([position for position, _ in each] == sorted(appended) for each in arrivals)
    delays = sorted(at - appended[position] for each in arrivals for position, at in each)
    p99 = delays[int(len(delays) * 0.99)]
    print(f"{len(appended):,} records at {RATE} a second, {BROWSERS} browsers and one that reads nothing")
    print(f"  every record once and in order: {complete} of {BROWSERS} browsers")
    median = statistics.median(delays)
    print(f"  append to browser: median {median:.2f} s, p99 {p99:.2f} s (aim: {AIM_P99_S:g} s)")
    early, late = memory_mb
    print(f"  memory: {early:.0f} MB after a third, {late:.0f} at the end (aim: +{AIM_GROWTH_MB} MB)")
    print(f"  processor of serve: {processor:.0%} of a core")
    print(f"  the browser that read nothing: {back[0]} records before it was cut off, then {back[1]} at once")
    return int(complete < BROWSERS or p99 > AIM_P99_S or late - early > AIM_GROWTH_MB or back == (0, 0))


def _prepare() -> str:
    """Make a ledger with jobs, and return the key of an auditor."""
    with open_or_create("ledger.db", WHO, datetime.now(UTC)) as ledger:
        ledger.append([Batch(job(number), NEW, [draft(adopted(number))]) for number in range(JOBS)])
    grant = [sys.executable, "-m", "cli", "access", "grant", "aud", "--role", "auditor", "--format", "json"]
    granted = subprocess.run(grant, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    return str(json.loads(granted.stdout)["key"])


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def _until_it_serves(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.1)


async def _listen(
    port: int, key: str, *, receive_bytes: int | None = None, last: int | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open the stream of new records."""
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.connect(("127.0.0.1", port))
    limit = 2**16 if receive_bytes is None else receive_bytes
    stream, writer = await asyncio.open_connection(sock=connection, limit=max(limit, 4_096))
    headers = [f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {key}"]
    headers += [] if last is None else [f"Last-Event-ID: {last}"]
    writer.write("\r\n".join(["GET /console/log/live HTTP/1.1", *headers, "", ""]).encode())
    return stream, writer


async def _collect(stream: asyncio.StreamReader, into: list[tuple[int, float]]) -> None:
    """Note when each record came; an event has its records newest first."""
    rest = b""
    while part := await stream.read(2**16):
        at = time.time()
        *events, rest = (rest + part).split(b"\n\n")
        for event in events:
            into += [(int(position), at) for position in reversed(ROW.findall(event))]


async def _until_all_came(arrivals: list[list[tuple[int, float]]], count: int) -> None:
    for _ in range(300):
        if all(len(each) >= count for each in arrivals):
            return
        await asyncio.sleep(0.1)


async def _come_back(idle: asyncio.StreamReader, port: int, key: str) -> tuple[int, int]:
    """Read the idle browser's buffered data, and the records it gets when it reconnects."""
    before: list[tuple[int, float]] = []
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(60):
            await _collect(idle, before)
    after: list[tuple[int, float]] = []
    stream, _ = await _listen(port, key, last=before[-1][0] if before else 0)
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            await _collect(stream, after)
    return len(before), len(after)


def _memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmRSS:\s+([0-9]+)", status)[0]) / 1024


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
