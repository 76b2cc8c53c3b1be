"""The gateway with the real LiteLLM proxy: as the server behind it, and as the client in front of it.

`tests/conformance/run litellm` installs the proxy and runs these after `litellm_proxy.py`. The client is the
official SDK; the sandbox is where a provider would be.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import OpenAI, RateLimitError
from openai.types import Video

from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings
from tests.conformance.litellm_proxy import PROXY_KEY, running_proxy

pytestmark = pytest.mark.filterwarnings("ignore:.*Sora API:DeprecationWarning")
ROOT = Path(__file__).parents[2]
WAIT_S = 60.0


@dataclass(frozen=True)
class Served:
    """A gateway that runs, and commands on its ledger."""

    base_url: str
    key: str
    command: Callable[..., Any]


@contextmanager
def gateway(folder: Path, upstream: str, profile: str, key: str) -> Iterator[Served]:
    """Run ``serve`` in front of `upstream`."""
    folder.mkdir()
    variables = {name: text for name, text in os.environ.items() if not name.startswith(("SORA_", "OPENAI_"))}
    environment = variables | {
        "OPENAI_API_KEY": key,
        "OPENAI_BASE_URL": upstream,
        "PYTHONPATH": str(ROOT),
        "SORA_LEDGER_PROFILE": profile,
        "SORA_LEDGER_URL": "sqlite:///ledger.db",
    }

    def command(*arguments: str) -> Any:
        program = [sys.executable, "-m", "cli", *arguments, "--json"]
        ran = subprocess.run(program, check=True, cwd=folder, env=environment, capture_output=True, text=True)
        return json.loads(ran.stdout)

    granted = command("access", "grant", "app", "--role", "requester")
    serving = [sys.executable, "-m", "cli", "serve", "--port", "0", "--json"]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            serving, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        text = ""
        while "}" not in text:
            line = process.stdout.readline()
            assert line, (folder / "serve.log").read_text()
            text += line
        yield Served(f"{json.loads(text)['serving']}/v1", granted["key"], command)
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[SandboxServer]:
    """Run the sandbox at the far end."""
    settings = SandboxSettings(tmp_path / "upstream", render_seconds=0, media="cached")
    with SandboxServer(settings) as running:
        yield running


def render(client: OpenAI) -> tuple[Video, bytes]:
    """Create a video, poll it to its end, and download it."""
    video = client.videos.create(prompt="a fox runs", model="sora-2", seconds="4", size="1280x720")
    created, until = video.id, time.monotonic() + WAIT_S
    while video.status not in {"completed", "failed"} and time.monotonic() < until:
        time.sleep(0.6)
        video = client.videos.retrieve(created)  # LiteLLM may answer with the id of the server behind it
    assert video.status == "completed", video
    return video, client.videos.download_content(created).read()


def created(upstream: SandboxServer) -> int:
    """Return how many videos the sandbox was asked for."""
    return int(httpx2.get(f"{upstream.origin}/_sandbox/requests").json()["creates"])


def test_an_application_reaches_the_gateway_through_litellm(upstream: SandboxServer, tmp_path: Path) -> None:
    with ExitStack() as stack:
        ours = stack.enter_context(gateway(tmp_path / "gateway", upstream.base_url, "openai", "any"))
        proxy = stack.enter_context(running_proxy(tmp_path, ours.base_url, ours.key))
        _, content = render(OpenAI(api_key=PROXY_KEY, base_url=proxy))
        [job] = ours.command("jobs")["jobs"]
        shown = ours.command("show", job["job_id"])
    assert content[4:8] == b"ftyp"
    assert created(upstream) == 1
    assert (job["state"], job["actor"]) == ("stored", "app"), shown


def test_a_refusal_of_the_gateway_passes_through_litellm(upstream: SandboxServer, tmp_path: Path) -> None:
    with ExitStack() as stack:
        ours = stack.enter_context(gateway(tmp_path / "gateway", upstream.base_url, "openai", "any"))
        ours.command("budget", "set", "all", "--limit", "0.01", "--reason", "nothing is left")
        proxy = stack.enter_context(running_proxy(tmp_path, ours.base_url, ours.key))
        with pytest.raises(RateLimitError, match="budget"):
            render(OpenAI(api_key=PROXY_KEY, base_url=proxy, max_retries=0))
    assert created(upstream) == 0


def test_an_application_reaches_litellm_through_the_gateway(upstream: SandboxServer, tmp_path: Path) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(running_proxy(tmp_path, upstream.base_url, "sk-upstream"))
        ours = stack.enter_context(gateway(tmp_path / "gateway", proxy, "litellm", PROXY_KEY))
        video, content = render(OpenAI(api_key=ours.key, base_url=ours.base_url))
        [job] = ours.command("jobs")["jobs"]
        records = ours.command("log", "--job", job["job_id"])["records"]
        verified = ours.command("verify")
    [cost] = [record["payload"] for record in records if record["type"] == "cost.settled"]
    assert video.id == job["job_id"].replace("job_", "video_")
    assert content[4:8] == b"ftyp"
    assert created(upstream) == 1
    assert (cost["basis"], cost["settled_by"], cost["cost_usd_micros"]) == ("reported", "litellm", 400_000)
    assert verified["clean"]
