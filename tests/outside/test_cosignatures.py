"""Signatures that witnesses add to a published checkpoint stay where it is published again."""

import base64
import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.outside.conftest import Person


def cosign(checkpoint: Path, name: str) -> str:
    """Sign as a witness does: one more line at the end, under a key of its own."""
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    text = checkpoint.read_bytes().rpartition(b"\n\n")[0] + b"\n"
    key_id = hashlib.sha256(name.encode() + b"\n\x01" + key.public_key().public_bytes_raw()).digest()[:4]
    line = f"\N{EM DASH} {name} {base64.b64encode(key_id + key.sign(text)).decode()}\n"
    with checkpoint.open("a", encoding="utf-8") as file:
        file.write(line)
    return line


def signatures(checkpoint: Path) -> list[str]:
    return checkpoint.read_text(encoding="utf-8").rpartition("\n\n")[2].splitlines(keepends=True)


def test_publishing_again_at_the_same_size_keeps_every_signature(person: Person) -> None:
    checkpoint = person.folder / "checkpoint.txt"
    publish = ("checkpoint", "--key", "signing.key", "--publish", "checkpoint.txt")
    assert person("record", "elsewhere", "--video-id", "video_1").code == 0
    assert person("key", "new", "signing.key").code == 0
    assert person(*publish).code == 0
    [own] = signatures(checkpoint)
    witnesses = [cosign(checkpoint, "witness.example"), cosign(checkpoint, "archive.example")]
    assert person(*publish).document["checkpoint"] == checkpoint.read_text(encoding="utf-8")
    assert signatures(checkpoint) == [own, *witnesses]
    assert person("checkpoint", "--publish", "checkpoint.txt").code == 0  # without a key
    assert signatures(checkpoint) == [own, *witnesses]
    assert person("record", "elsewhere", "--video-id", "video_2").code == 0
    assert person(*publish).code == 0
    assert len(signatures(checkpoint)) == 1  # of a longer log, which no witness has seen


def test_exporting_tiles_again_at_the_same_size_keeps_every_signature(person: Person) -> None:
    checkpoint = person.folder / "public" / "checkpoint"
    export = ("export", "--tiles", "public", "--key", "signing.key")
    assert person("record", "elsewhere", "--video-id", "video_1").code == 0
    assert person("key", "new", "signing.key").code == 0
    assert person(*export).code == 0
    [own] = signatures(checkpoint)
    witness = cosign(checkpoint, "witness.example")
    assert person(*export).code == 0
    assert signatures(checkpoint) == [own, witness]
