"""A render goes through the real LiteLLM proxy, between our command line and the sandbox.

`tests/conformance/run litellm` installs the proxy and runs these; LITELLM names its program. The sandbox is
where a provider would be; there is no database, and retries are off. docs/conformance.md says what was seen.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings

ROOT = Path(__file__).parents[2]
CONFIG = """\
model_list:
  - model_name: {asked}
    litellm_params: {{model: {model}, api_base: "{upstream}", api_key: {key}}}
router_settings: {{num_retries: 0}}
litellm_settings: {{num_retries: 0, telemetry: false}}
"""
PROXY_KEY = "sk-proxy-0123456789"
START_S = 300.0


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Sora = Callable[..., Ended]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """Run the sandbox behind the proxy."""
    settings = SandboxSettings(tmp_path_factory.mktemp("upstream"), render_seconds=0, media="cached")
    with SandboxServer(settings) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(upstream: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the proxy; yield its base URL."""
    with running_proxy(tmp_path_factory.mktemp("proxy"), upstream.base_url, "sk-upstream") as base_url:
        yield base_url


@contextmanager
def running_proxy(
    folder: Path, upstream: str, key: str, model: str = "openai/sora-2", asked: str = "sora-2"
) -> Iterator[str]:
    """Run the proxy in front of a server; `model` is what it renders for `asked`. Yield its base URL."""
    config, said = folder / "config.yaml", folder / "said.txt"
    config.write_text(CONFIG.format(upstream=upstream, key=key, model=model, asked=asked))
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"LITELLM_MASTER_KEY": PROXY_KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""}
    command = [os.environ["LITELLM"], "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with said.open("w") as log:
        running = subprocess.Popen(
            command, cwd=folder, env=os.environ | variables, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health/liveliness", running, said)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        running.terminate()
        running.wait(30)


def _wait_for(url: str, running: subprocess.Popen[bytes], said: Path) -> None:
    """Return when the proxy answers; it takes some ten seconds to start and has no way to say it did."""
    until = time.monotonic() + START_S
    while running.poll() is None and time.monotonic() < until:
        try:
            httpx2.get(url, timeout=2).raise_for_status()
        except httpx2.HTTPError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"the proxy did not start:\n{said.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def sora(proxy: str, tmp_path_factory: pytest.TempPathFactory) -> Sora:
    """Run `sora-ledger` with the profile litellm, in a folder of its own."""
    folder = tmp_path_factory.mktemp("work")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("SORA_", "OPENAI_"))}
    environment = kept | {
        "OPENAI_API_KEY": PROXY_KEY,
        "OPENAI_BASE_URL": proxy,
        "PYTHONPATH": str(ROOT),
        "SORA_LEDGER_PROFILE": "litellm",
        "SORA_LEDGER_URL": "sqlite:///ledger.db",
    }

    def command(*arguments: str) -> Ended:
        program = [sys.executable, "-m", "cli", *arguments]
        ran = subprocess.run(
            program, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )
        return Ended(ran.returncode, ran.stdout, ran.stderr)

    return command


@pytest.fixture(scope="module")
def created(sora: Sora) -> dict[str, Any]:
    """Ask for a render."""
    ended = sora(
        "create", "--model", "sora-2", "--prompt", "a fox runs", "--size", "1280x720", "--seconds", "8"
    )
    assert ended.code == 0, ended.err
    return ended.document


@pytest.fixture(scope="module")
def settled(sora: Sora, created: dict[str, Any]) -> dict[str, Any]:
    """Wait for it."""
    ended = sora("poll", "--id", created["job_id"], "--poll-interval", "0.2", "--timeout", "60")
    assert ended.code == 0, ended.err
    return ended.document


@pytest.fixture
def made(upstream: SandboxServer, settled: dict[str, Any]) -> dict[str, Any]:
    """Return the one job the sandbox has."""
    [job] = httpx2.get(f"{upstream.origin}/_sandbox/jobs").json()["data"]
    return job


def test_the_render_is_stored(settled: dict[str, Any]) -> None:
    assert settled["state"] == "stored"


def test_what_is_stored_is_the_file_of_the_server_behind_the_proxy(
    upstream: SandboxServer, settled: dict[str, Any], made: dict[str, Any]
) -> None:
    url = f"{upstream.base_url}/videos/{made['id']}/content"
    content = httpx2.get(url, headers={"authorization": "Bearer any"}).content
    assert settled["assets"]["video"]["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_id_recorded_is_the_one_from_create(
    created: dict[str, Any], settled: dict[str, Any], made: dict[str, Any]
) -> None:
    assert settled["id"] == created["id"] != made["id"]


def test_the_server_behind_it_was_asked_once(upstream: SandboxServer, settled: dict[str, Any]) -> None:
    assert httpx2.get(f"{upstream.origin}/_sandbox/requests").json()["creates"] == 1


def test_the_cost_the_proxy_reports_is_recorded_beside_our_estimate(
    sora: Sora, settled: dict[str, Any]
) -> None:
    records = sora("log", "--job", settled["job_id"]).document["records"]
    [cost] = [record["payload"] for record in records if record["type"] == "cost.settled"]
    assert (cost["basis"], cost["settled_by"], cost["cost_usd_micros"]) == ("reported", "litellm", 800_000)


def test_a_thumbnail_is_refused_with_the_reason(sora: Sora, settled: dict[str, Any]) -> None:
    ended = sora("download", "--id", settled["job_id"], "--variant", "thumbnail", "--out", "thumb.webp")
    assert (ended.code, "LiteLLM ignores the variant" in ended.err) == (2, True)


def test_a_list_is_refused_with_the_reason(sora: Sora) -> None:
    ended = sora("list")
    assert (ended.code, "behind LiteLLM a list either fails" in ended.err) == (2, True)


def test_a_delete_is_refused_with_the_reason(sora: Sora, settled: dict[str, Any]) -> None:
    ended = sora("delete", "--id", settled["job_id"], "--reason", "done")
    assert (ended.code, "LiteLLM has no DELETE" in ended.err) == (2, True)


def test_the_ledger_is_intact(sora: Sora, settled: dict[str, Any]) -> None:
    assert sora("verify").code == 0
