"""A log written from RFC 6962, c2sp.org/tlog-tiles and c2sp.org/signed-note, with code of its own."""

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ORIGIN = "example.org/log"
NAME = "studio"


def record(position: int, text: str = "") -> bytes:
    return json.dumps({"position": position, "text": text}, separators=(",", ":")).encode()


def leaf(content: bytes) -> bytes:
    return hashlib.sha256(b"\0" + content).digest()


def root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, as it is defined there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\1" + root(leaves[:half]) + root(leaves[half:])).digest()


class ForeignLog:
    """A log in a folder, signed with one key."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        self.folder = folder
        self._key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.records: list[bytes] = []

    @property
    def verifier(self) -> str:
        public = b"\x01" + self._key.public_key().public_bytes_raw()
        key_id = hashlib.sha256(NAME.encode() + b"\n" + public).digest()[:4]
        return f"{NAME}+{key_id.hex()}+{base64.b64encode(public).decode()}"

    def grow(self, count: int) -> None:
        """Append records, and publish."""
        first = len(self.records) + 1
        self.records += [record(position) for position in range(first, first + count)]
        self.publish()

    def publish(self, *, origin: str = ORIGIN, size: int | None = None) -> None:
        """Write all tiles, partial ones too, and the checkpoint last."""
        records = self.records[:size]
        leaves = [leaf(each) for each in records]
        for first in range(0, len(records), 256):
            part = slice(first, first + 256)
            name = f"{first // 256:03}" + (f".p/{len(records) - first}" if len(records) < first + 256 else "")
            entries = b"".join(len(each).to_bytes(2, "big") + each for each in records[part])
            for kind, content in (("0", b"".join(leaves[part])), ("entries", entries)):
                path = self.folder / "tile" / kind / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        text = f"{origin}\n{len(records)}\n{base64.b64encode(root(leaves)).decode()}\n"
        key_id = bytes.fromhex(self.verifier.split("+")[1])
        signature = base64.b64encode(key_id + self._key.sign(text.encode())).decode()
        (self.folder / "checkpoint").write_text(f"{text}\n— {NAME} {signature}\n", encoding="utf-8")
