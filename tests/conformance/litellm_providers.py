"""Renders go through the real LiteLLM proxy to stand-ins for the APIs of Veo and Runway.

`tests/conformance/run litellm` runs these after `litellm_proxy.py`. The stand-ins answer as the providers
document and share no code with the product; docs/servers.md (1.1) says what was seen.
"""

import io
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conformance.litellm_proxy import PROXY_KEY, ROOT, running_proxy
from tests.outside.server import encode

CLIP = encode("1280x720", 8)
MODELS = {
    "veo": ("sora-2", "gemini/veo-3.0-fast-generate-preview"),
    "runway": ("runway", "runwayml/gen4_turbo"),
}
"""What the profile of docs/servers.md asks for, and what the proxy renders for it."""
PROFILES = (ROOT / "docs" / "servers.md").read_text().partition("```toml\n[veo]")[2].partition("```")[0]


class Provider(BaseHTTPRequestHandler):
    """Veo's long-running operations and Runway's tasks, each done at once."""

    numbers = itertools.count(1)
    posts: list[tuple[str, Any]]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Print nothing."""

    def do_POST(self) -> None:
        """Start a render."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.posts.append((self.path, body))
        number = next(self.numbers)
        is_veo = self.path.endswith(":predictLongRunning")
        self._send({"name": f"models/veo/operations/{number}"} if is_veo else {"id": f"task-{number}"})

    def do_GET(self) -> None:
        """Answer a poll, or send the clip."""
        clip = f"http://{self.headers['host']}/clip.mp4"
        if self.path == "/clip.mp4":
            self._send(CLIP)
        elif "/operations/" in self.path:
            samples = {"generatedSamples": [{"video": {"uri": clip}}]}
            name = self.path.removeprefix("/v1beta/")
            self._send({"name": name, "done": True, "response": {"generateVideoResponse": samples}})
        else:
            created = "2026-11-30T10:00:00Z"
            task = {"id": self.path.rpartition("/")[2], "status": "SUCCEEDED", "createdAt": created}
            self._send({**task, "output": [clip]})

    def _send(self, answer: Any) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "video/mp4" if isinstance(answer, bytes) else "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture(scope="module")
def provider() -> Iterator[ThreadingHTTPServer]:
    """Run the stand-ins."""
    Provider.posts = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", MODELS)
def test_a_render_of_another_provider_is_polled_and_stored_and_nothing_it_lacks_is_sent(
    provider: ThreadingHTTPServer, tmp_path: Path, name: str
) -> None:
    origin = f"http://127.0.0.1:{provider.server_address[1]}"
    upstream = origin if name == "veo" else f"{origin}/v1"
    asked_model, model = MODELS[name]
    (tmp_path / "profiles.toml").write_text(f"[veo]{PROFILES}")
    (tmp_path / "frame.png").write_bytes(picture((1280, 720)))
    with running_proxy(tmp_path, upstream, "sk-provider", model, asked_model) as base_url:
        variables = {n: text for n, text in os.environ.items() if not n.startswith(("SORA_", "OPENAI_"))}
        environment = variables | {
            "OPENAI_API_KEY": PROXY_KEY,
            "OPENAI_BASE_URL": base_url,
            "PYTHONPATH": str(ROOT),
            "SORA_LEDGER_PROFILE": name,
            "SORA_LEDGER_PROFILES": "profiles.toml",
            "SORA_LEDGER_URL": "sqlite:///ledger.db",
        }

        def sora(*arguments: str) -> tuple[int, str, str]:
            program = [sys.executable, "-m", "cli", *arguments, "--json"]
            ran = subprocess.run(
                program,
                check=False,
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
            )
            return ran.returncode, ran.stdout, ran.stderr

        shape = ("a fox runs", "--size", "1280x720", "--seconds", "8", "--model", "sora-2")
        code, out, err = sora("create-and-poll", *shape, "--poll-interval", "0.2")
        assert code == 0, err
        final = json.loads(out)["final"]
        assert final["state"] == "stored"
        path, body = Provider.posts[-1]
        sent = len(Provider.posts)
        assert [sora("create", *shape, *lacks)[0] for lacks in (["--seed", "7"], ["--loop"])] == [3, 3]
        assert sora("remix", final["job_id"], "--prompt", "Make it night")[0] == 3
        assert sora("extend", final["job_id"], "--seconds", "4", "--prompt", "The fox sleeps")[0] == 3
        assert len(Provider.posts) == sent
        code, out, err = sora("audit")
        assert code == 0, out
        with_image = sora("create", *shape, "--input-reference", "frame.png")
        assert with_image[0] == {"veo": 0, "runway": 6}[name], with_image
    if name == "veo":
        assert body["parameters"] == {"aspectRatio": "16:9", "durationSeconds": 8, "resolution": "720p"}
    else:
        assert (path, body["ratio"], body["duration"]) == ("/v1/text_to_video", "1280:720", 8)


def picture(size: tuple[int, int]) -> bytes:
    """Return a PNG of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", size, "teal").save(stream, "PNG")
    return stream.getvalue()
