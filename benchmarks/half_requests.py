"""Latency of good requests to ``serve`` while a thousand half requests are held open.

`ATTACKERS` clients send half a header each, and another a second after their connection is closed. Meanwhile
a good client sends `GOOD` requests, each over a new connection, one after the other. p50 and p99 are theirs,
before and during the attack; every one must be answered with 200.

    .venv/bin/python benchmarks/half_requests.py
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time

ATTACKERS = 1_000
GOOD = 500
AIM_MS = 100.0
HALF = b"POST /webhooks/sandbox HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
COMMAND = [sys.executable, "-m", "cli", "serve", "--port", "0", "--no-gateway", "--no-work", "--json"]


class Opened:
    """The number of half requests sent; `all` is set once each attacker has sent one."""

    def __init__(self) -> None:
        self.count = 0
        self.all = asyncio.Event()

    def add(self) -> None:
        """Count one more."""
        self.count += 1
        if self.count >= ATTACKERS:
            self.all.set()


def main() -> None:
    """Start a server, and measure it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"SORA_LEDGER_URL": f"{folder}/ledger.db"}
        with subprocess.Popen(
            COMMAND, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as server:
            assert server.stdout is not None
            text = ""
            while "}" not in text:
                text += server.stdout.readline()
            try:
                asyncio.run(_measure(int(json.loads(text)["serving"].rpartition(":")[2])))
            finally:
                server.kill()


async def _measure(port: int) -> None:
    print(f"one after the other, {GOOD} requests for /healthz, each over a new connection")
    print(f"  alone                      {_spread(await _good(port))}")
    opened = Opened()
    attack = [asyncio.create_task(_attack(port, opened)) for _ in range(ATTACKERS)]
    await opened.all.wait()
    during = await _good(port)
    print(f"  with {ATTACKERS} half requests    {_spread(during)}  (aim: p99 below {AIM_MS:g} ms)")
    print(f"  half requests sent meanwhile: {opened.count}")
    for each in attack:
        each.cancel()
    await asyncio.gather(*attack, return_exceptions=True)


async def _attack(port: int, opened: Opened) -> None:
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HALF)
            opened.add()
            await reader.read()
            writer.close()
        except OSError:
            pass
        await asyncio.sleep(1)


async def _good(port: int) -> list[float]:
    took = []
    for _ in range(GOOD):
        started = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        answer = await reader.read()
        took.append((time.perf_counter() - started) * 1000)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200 "), answer[:100]
    return sorted(took)


def _spread(took: list[float]) -> str:
    return f"p50 {took[len(took) // 2]:6.1f} ms   p99 {took[len(took) * 99 // 100]:6.1f} ms"


if __name__ == "__main__":
    main()
