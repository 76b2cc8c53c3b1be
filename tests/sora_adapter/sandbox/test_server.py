"""How a sandbox starts and stops."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings

SERVING = b"serving until Ctrl-C; paste the two lines into another shell\n"
KEY = {"authorization": "Bearer k"}
LONG = {"prompt": "a kite", "model": "sora-2-pro", "size": "1920x1080", "seconds": "20"}
PATIENCE_S = 60

Run = Callable[[], tuple[subprocess.Popen[bytes], str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run a sandbox in a process of its own, on one data dir; return it when it listens."""
    running: list[subprocess.Popen[bytes]] = []

    def begin() -> tuple[subprocess.Popen[bytes], str]:
        options = ["--port", "0", "--data", str(tmp_path / "data"), "--render-seconds", "0"]
        command = [sys.executable, "-m", "cli", "sandbox", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        running.append(process)
        assert process.stdout
        first, _ = process.stdout.readline(), process.stdout.readline()
        return process, first.decode().strip().partition("=")[2]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def test_a_request_whose_end_never_came_was_not_asked(tmp_path: Path) -> None:
    head = b"POST /v1/videos HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-length: 99\r\n\r\n"
    with SandboxServer(SandboxSettings(tmp_path, render_seconds=0)) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as broken_off:
            broken_off.sendall(head + b'{"prompt": "a')
        httpx2.get(f"{server.origin}/_sandbox/jobs")  # comes after it
        while server._server.server_state.tasks:
            time.sleep(0)
        assert httpx2.get(f"{server.origin}/_sandbox/requests").json()["creates"] == 0


def test_a_port_in_use_is_an_os_error_before_anything_starts(tmp_path: Path) -> None:
    with SandboxServer(SandboxSettings(tmp_path)) as server, pytest.raises(OSError, match="in use"):
        SandboxServer(SandboxSettings(tmp_path), port=server.port)


def test_a_stopped_sandbox_no_longer_answers(tmp_path: Path) -> None:
    with SandboxServer(SandboxSettings(tmp_path)) as server:
        base_url = server.base_url
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{base_url}/videos")


def test_a_sandbox_can_be_restarted_on_its_port_at_once(tmp_path: Path) -> None:
    with SandboxServer(SandboxSettings(tmp_path)) as first:
        httpx2.get(f"{first.base_url}/videos")
    with SandboxServer(SandboxSettings(tmp_path), port=first.port) as second:
        assert httpx2.get(f"{second.base_url}/videos").status_code == 401


def test_starting_and_stopping_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with SandboxServer(SandboxSettings(tmp_path)) as server:
        httpx2.get(f"{server.base_url}/videos", headers=KEY)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_quietly_even_while_it_renders(run: Run, number: signal.Signals) -> None:
    process, base_url = run()
    job = httpx2.post(f"{base_url}/videos", json=LONG, headers=KEY).json()
    assert job["status"] == "queued"
    process.send_signal(number)
    output = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, output) == (0, (b"", SERVING))


def test_a_signal_stops_it_quietly_even_while_a_client_waits_for_a_clip(run: Run) -> None:
    process, base_url = run()
    job = httpx2.post(f"{base_url}/videos", json=LONG, headers=KEY).json()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            httpx2.get, f"{base_url}/videos/{job['id']}/content", headers=KEY, timeout=PATIENCE_S
        )
        while not httpx2.get(base_url.replace("/v1", "/_sandbox/requests")).json()["contents"]:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=PATIENCE_S)
        waiting.exception(PATIENCE_S)
    assert (process.returncode, output) == (0, (b"", SERVING))


def test_a_job_survives_a_kill_in_mid_render(run: Run) -> None:
    process, base_url = run()
    job = httpx2.post(f"{base_url}/videos", json={"prompt": "a kite"}, headers=KEY).json()
    process.kill()
    process.wait()
    _, base_url = run()
    clip = httpx2.get(f"{base_url}/videos/{job['id']}/content", headers=KEY, timeout=PATIENCE_S)
    assert clip.content[4:8] == b"ftyp"
