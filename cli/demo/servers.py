"""The servers of the demo: a sandbox that delays an answer, a process killed during it, and the gateway."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.tree.checkpoint import COSIGNATURE, Signature, Verifier
from ledger.tree.merkle import EMPTY_ROOT, ProofInvalid
from ledger.tree.proof import ConsistencyProof
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings

HELD_BACK_S = 90
LONGEST_WAIT_S = 90.0
RENDER_SECONDS = 1.0
FAULT = f"create=kept-but-slow@{HELD_BACK_S}:1"
SLOW = "create=kept-but-slow@2:1"


def new_folder(out: Path) -> Path:
    """Return a data folder that no earlier demo used, so that old videos are not mistaken for new ones."""
    return next(folder for number in count(2) if not (folder := out / f"sandbox-{number}").exists())


@contextmanager
def run_forgetful_server(folder: Path, fault: str = FAULT) -> "Iterator[SandboxServer]":
    """Run a server that delays the answer to the next create; make it the server in use."""
    settings = SandboxSettings(folder, render_seconds=RENDER_SECONDS, faults=(fault,))
    with SandboxServer(settings) as server:
        ours = {
            "SORA_LEDGER_PROFILE": "custom",
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_API_KEY": "any-key",
        }
        with environment(ours):
            yield server


@contextmanager
def environment(ours: dict[str, str]) -> Iterator[None]:
    """Set environment variables in this context."""
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def kill_during_call(server: "SandboxServer", arguments: list[str]) -> None:
    """Run a command as a process, and kill it once the server has created the video but not answered."""
    already = count_created(server)
    process = subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-m", "cli", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + LONGEST_WAIT_S
    while count_created(server) == already and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    if count_created(server) != already + 1:
        raise click.ClickException(
            "demo: the server was not asked for the video; look at the folder's ledger"
        )


def count_created(server: "SandboxServer") -> int:
    """Return how many videos a server was made to create, by its own count."""
    with suppress(OSError), urllib.request.urlopen(f"{server.origin}/_sandbox/jobs") as answer:  # noqa: S310  # http on this machine
        return len(json.load(answer)["data"])
    return 0


@contextmanager
def gateway(options: list[str]) -> Iterator[str]:
    """Run the gateway as a process; yield its base URL."""
    command = [sys.executable, "-m", "cli", *options, "--json"]
    with subprocess.Popen(  # noqa: S603  # our own program
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            document = ""
            while process.stdout is not None and not document.rstrip().endswith("}"):
                line = process.stdout.readline()
                if not line:
                    raise click.ClickException("demo: the gateway did not start")
                document += line
            yield str(json.loads(document)["gateway"])
        finally:
            process.terminate()


def grant_key(arguments: list[str]) -> str:
    """Grant an access key by a command in its own process, so that the key is in no transcript; return it."""
    command = [sys.executable, "-m", "cli", *arguments, "--json"]
    granted = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  # our own program
    return str(json.loads(granted.stdout)["key"])


@contextmanager
def witness(log: Verifier) -> Iterator[str]:
    """Run a witness of one log (C2SP tlog-witness), in memory; yield its line for a policy.

    It is a stand-in: a witness is only worth something if another organisation runs it.
    """
    secret = Ed25519PrivateKey.generate()
    key = Verifier("demo.example/witness", secret.public_key().public_bytes_raw(), COSIGNATURE)
    size, root = 0, EMPTY_ROOT

    def cosign(body: bytes) -> tuple[HTTPStatus, str]:
        nonlocal size, root
        proof = ConsistencyProof.parse(body)
        proof.head.find_signers([log])
        if proof.old_size != size:
            return HTTPStatus.CONFLICT, f"{size}\n"
        try:
            proof.verify(root)
        except ProofInvalid:
            return HTTPStatus.UNPROCESSABLE_ENTITY, ""
        at, now = proof.head.checkpoint, int(time.time())
        size, root = at.size, at.root
        signed = f"cosignature/v1\ntime {now}\n{at.to_text()}".encode()
        signature = now.to_bytes(8, "big") + secret.sign(signed)
        return HTTPStatus.OK, Signature(key.name, key.key_id, signature).line()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, text = cosign(self.rfile.read(int(self.headers["Content-Length"])))
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"witness demo {key} http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
