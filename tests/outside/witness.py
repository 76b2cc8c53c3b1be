"""A witness of transparency logs, written from C2SP tlog-witness and tlog-cosignature alone.

Run as a program (``python witness.py --folder DIR --name NAME --log ORIGIN --log-key VKEY``); it prints a
line with its port and its verifier key, and serves until killed. It imports nothing from the product. Its key
and the last checkpoint of each log are files in its folder, so it can be restarted, and moved to another key.

``POST /_behave`` changes what it does, a flat JSON object as in `DEFAULTS`. ``GET /_requests`` returns the
old size and the size of each request.
"""

import argparse
import base64
import hashlib
import json
import os
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

DEFAULTS: dict[str, Any] = {
    "status": None,  # answer every request with this status
    "wait_s": 0,  # seconds before each answer
    # "signature": wrong bytes; "text": signs another root; "key": another key; "time": an hour ago; "future":
    # in an hour; "garbage": no signature line; "endless": a very long answer
    "lie": None,
    "conflicts": [],  # sizes that the next requests are answered 409 with
}
DASH = "\N{EM DASH} "
EMPTY = hashlib.sha256(b"").digest()


class Refused(Exception):
    """A request that gets no cosignature: the status, and the body."""

    def __init__(self, status: int, body: str = "", kind: str = "text/plain") -> None:
        super().__init__(status)
        self.status, self.body, self.kind = status, body, kind


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """The key id of signed-note."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def vkey(name: str, kind: int, public: bytes) -> str:
    """The text of a verifier key."""
    return f"{name}+{key_id(name, kind, public).hex()}+{base64.b64encode(bytes([kind]) + public).decode()}"


def follows(old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]) -> bool:
    """RFC 9162, section 2.1.4.2: whether the tree of `new` leaves begins with that of `old`."""
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr = hashlib.sha256(b"\x01" + c + fr).digest()
            sr = hashlib.sha256(b"\x01" + c + sr).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = hashlib.sha256(b"\x01" + sr + c).digest()
        fn, sn = fn >> 1, sn >> 1
    return fr == old_root and sr == new_root and sn == 0


class Witness:
    """The state of the witness, and its one operation."""

    def __init__(self, folder: Path, name: str, logs: dict[str, str]) -> None:
        self.folder, self.name, self.logs = folder, name, logs
        self.behaviour = dict(DEFAULTS)
        self.requests: list[dict[str, int]] = []
        self.lock = threading.Lock()
        seed = folder / "seed"
        if not seed.exists():
            seed.write_bytes(os.urandom(32))
        self.key = Ed25519PrivateKey.from_private_bytes(seed.read_bytes())
        state = folder / "state.json"
        self.last = json.loads(state.read_text()) if state.exists() else {}

    def public(self) -> bytes:
        """The public key."""
        return self.key.public_key().public_bytes_raw()

    def add_checkpoint(self, body: bytes) -> str:
        """Return the signature lines for a request; `Refused` if it is not cosigned."""
        head, _, note = body.partition(b"\n\n")
        lines = head.decode().split("\n")
        if not lines[0].startswith("old ") or not note:
            raise Refused(400, "no old size")
        old, proof = int(lines[0][4:]), [base64.b64decode(line, validate=True) for line in lines[1:]]
        text, _, tail = note.rpartition(b"\n\n")
        text += b"\n"
        origin, size_line, root_line, *_ = text.decode().split("\n")
        size, root = int(size_line), base64.b64decode(root_line, validate=True)
        self.requests.append({"old": old, "size": size})
        if origin not in self.logs:
            raise Refused(404, "unknown log")
        if not self._signed_by_log(origin, text, tail.decode()):
            raise Refused(403, "unknown key")
        if old > size:
            raise Refused(400, "an old size that is larger")
        with self.lock:
            last_size, last_root = self.last.get(origin, [0, EMPTY.hex()])
            if self.behaviour["conflicts"]:
                raise Refused(409, f"{self.behaviour['conflicts'].pop(0)}\n", "text/x.tlog.size")
            if old != last_size:
                raise Refused(409, f"{last_size}\n", "text/x.tlog.size")
            if len(proof) > 63 or not follows(old, bytes.fromhex(last_root), size, root, proof):
                raise Refused(422, "inconsistent")
            self.last[origin] = [size, root.hex()]
            self._keep()
        return self._cosigned(text)

    def _keep(self) -> None:
        part = self.folder / "state.part"
        with part.open("w") as file:
            json.dump(self.last, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.folder / "state.json")

    def _signed_by_log(self, origin: str, text: bytes, tail: str) -> bool:
        name, _, rest = self.logs[origin].partition("+")
        identity, _, encoded = rest.partition("+")
        public = base64.b64decode(encoded)[1:]
        for line in tail.removesuffix("\n").split("\n"):
            signer, _, data = line.removeprefix(DASH).partition(" ")
            raw = base64.b64decode(data)
            if signer == name and raw[:4].hex() == identity:
                try:
                    Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], text)
                except InvalidSignature:
                    return False
                return True
        return False

    def _cosigned(self, text: bytes) -> str:
        lie, key, stamp = self.behaviour["lie"], self.key, int(time.time())
        if lie == "garbage":
            return "I have seen it\n"
        if lie == "key":
            key = Ed25519PrivateKey.generate()
        stamp += {"time": -3600, "future": 3600}.get(lie, 0)
        signed = f"cosignature/v1\ntime {stamp}\n".encode() + (b"another\n" if lie == "text" else text)
        signature = bytearray(key.sign(signed))
        if lie == "signature":
            signature[5] ^= 1
        public = key.public_key().public_bytes_raw()
        data = key_id(self.name, 4, public) + struct.pack(">Q", stamp) + bytes(signature)
        return f"{DASH}{self.name} {base64.b64encode(data).decode()}\n"


class Handler(BaseHTTPRequestHandler):
    """HTTP."""

    witness: Witness

    def do_POST(self) -> None:
        """Take a checkpoint, or a change of behaviour."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/_behave":
            self.witness.behaviour.update(json.loads(body))
            self._answer(200, "{}")
            return
        behaviour = self.witness.behaviour
        time.sleep(behaviour["wait_s"])
        if behaviour["status"]:
            self._answer(behaviour["status"], "as told")
            return
        if self.path != "/add-checkpoint":
            self._answer(404, "no such page")
            return
        try:
            answer = self.witness.add_checkpoint(body)
        except Refused as refused:
            self._answer(refused.status, refused.body, refused.kind)
        except (ValueError, IndexError):
            self._answer(400, "cannot be read")
        else:
            self._answer(200, answer * (100_000 if behaviour["lie"] == "endless" else 1))

    def do_GET(self) -> None:
        """Return what was asked."""
        self._answer(200, json.dumps(self.witness.requests))

    def _answer(self, status: int, body: str, kind: str = "text/plain; charset=utf-8") -> None:
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main(arguments: list[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", required=True)
    parser.add_argument("--log-key", required=True)
    options = parser.parse_args(arguments)
    options.folder.mkdir(exist_ok=True)
    Handler.witness = Witness(options.folder, options.name, {options.log: options.log_key})
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.daemon_threads = True
    sys.stdout.write(f"{server.server_port} {vkey(options.name, 4, Handler.witness.public())}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
