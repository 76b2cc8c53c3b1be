"""The configuration of nginx in docs/gateway.md, as it is written there, in front of a gateway."""

import hashlib
import os
import pwd
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from openai import OpenAI

from tests.outside.conftest import Gateway, Outside, until
from tests.outside.server import encode
from tests.outside.test_half_requests import is_open

Start = Callable[..., Outside]
Open = Callable[..., Gateway]
PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian package nginx)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the SDK's, on every `videos.*`
]
MANY = 40 << 20
CONFIGURATION = """
daemon off;
user {user};
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"""


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[Callable[[Gateway], str]]:
    """Start nginx in front of a gateway; returns the base URL for clients."""
    running: list[subprocess.Popen[bytes]] = []

    def start(gateway: Gateway) -> str:
        [location] = re.findall(r"```\n(location /v1/ .*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        folder = tmp_path / "nginx"
        folder.mkdir()
        user = pwd.getpwuid(os.getuid()).pw_name  # else the workers of root are nobody, who may not read here
        there = location.replace(":8780", f":{gateway.port}")
        (folder / "nginx.conf").write_text(
            CONFIGURATION.format(folder=folder, port=port, location=there, user=user)
        )
        command = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        running.append(subprocess.Popen(command))
        until(lambda: is_open(port))
        return f"http://127.0.0.1:{port}/v1"

    yield start
    for each in running:
        each.terminate()
        each.wait(30)


def test_uploads_downloads_and_slow_answers_pass_a_proxy_that_is_configured_as_documented(
    outside: Start, gateway: Open, proxied: Callable[[Gateway], str]
) -> None:
    server = outside(creates=["slow@2"])
    one = gateway(server, "--interval", "0.1", SORA_LEDGER_ASSETS="assets")
    base_url = proxied(one)
    film = encode("1280x720", 4) + (MANY + 8).to_bytes(4) + b"free" + os.urandom(MANY)
    with OpenAI(base_url=base_url, api_key=one.grant("app", "requester"), max_retries=0) as client:
        slow = client.videos.create(prompt="a kite", model="sora-2", seconds="4")
        edit = client.videos.edit(prompt="make it night", video=("film.mp4", film, "video/mp4"))
        assert [bill["operation"] for bill in server.bills()] == ["create", "edit"]
        [sent] = [each for each in server.requests("POST") if each["path"].endswith("/edits")]
        assert len(sent["body"]) // 2 > MANY
        until(lambda: [job["state"] for job in one.person("jobs").document["jobs"]] == ["stored"] * 2, 60)
        whole = client.videos.download_content(slow.id)
        content, tag = whole.read(), whole.response.headers["etag"]
        assert tag == f'"{hashlib.sha256(content).hexdigest()}"'
        assert client.videos.retrieve(edit.id).status == "completed"
        headers = {"authorization": f"Bearer {client.api_key}", "range": "bytes=100-199"}
    part = httpx2.get(f"{base_url}/videos/{slow.id}/content", headers=headers, timeout=30)
    assert (part.status_code, part.content) == (206, content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(content)}"
    again = httpx2.get(
        f"{base_url}/videos/{slow.id}/content", headers=headers | {"if-none-match": tag}, timeout=30
    )
    assert again.status_code == 304
