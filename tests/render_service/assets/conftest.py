"""A real server of the S3 protocol on loopback, and one in front of it that spoils what passes."""

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx2
import pytest
from moto.server import ThreadedMotoServer

Spoil = Callable[[str, str, bytes], "int | bytes | None"]
HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass
class Between:
    """Passes requests on; `spoil` may answer a request with a status (0 hangs up) or change its body."""

    url: str = ""
    spoil: Spoil = lambda _method, _path, body: body
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Run moto's server for the session."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host.replace('0.0.0.0', '127.0.0.1')}:{port}"  # where it listens, not where to ask
    server.stop()


@pytest.fixture
def between(s3_server: str) -> Iterator[Between]:
    """Run the server in front of it for one test."""
    proxy = Between()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            proxy.asked.append(f"{self.command} {urlsplit(self.path).path}")
            sent = self.rfile.read(int(self.headers.get("content-length") or 0))
            body = proxy.spoil(self.command, self.path, sent)
            if isinstance(body, int):
                self.refuse(body)
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            with httpx2.Client(timeout=60) as client:
                answer = client.request(self.command, s3_server + self.path, content=body, headers=headers)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in HOP - {"content-length"} | {"date", "server"}:
                    self.send_header(name, value)
            self.end_headers()
            with suppress(BrokenPipeError):  # who asked gave up, because of another part
                self.wfile.write(answer.content)

        def refuse(self, status: int) -> None:
            if status:
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()
            self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815  # the names it looks for

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        proxy.url = f"http://127.0.0.1:{server.server_port}"
        yield proxy
        server.shutdown()
        thread.join()


@dataclass
class Bucket:
    """A bucket of a test; `url` is what SORA_LEDGER_ASSETS would say."""

    name: str
    client: Any

    @property
    def url(self) -> str:
        return f"s3://{self.name}/clips"

    def keys(self) -> list[str]:
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def versions(self) -> int:
        return len(self.client.list_object_versions(Bucket=self.name).get("Versions", []))

    def unfinished(self) -> list[Any]:
        uploads: list[Any] = self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
        return uploads

    def make(self) -> None:
        self.client.create_bucket(Bucket=self.name)
        enabled = {"Status": "Enabled"}
        self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration=enabled)


@pytest.fixture
def missing_bucket(s3_server: str, between: Between, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Return a bucket that is not there yet; the environment leads to it through `between`."""
    values = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    for name, value in (values | {"AWS_ENDPOINT_URL": between.url}).items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1")
    return Bucket(f"films-{uuid.uuid4().hex[:12]}", client)


@pytest.fixture
def bucket(missing_bucket: Bucket) -> Bucket:
    """Return a bucket that keeps every version."""
    missing_bucket.make()
    return missing_bucket
