"""Signed tree heads: C2SP signed-note and tlog-checkpoint, with Ed25519.

A *note* is text with signatures; a *checkpoint* is a note that states the size of a log and the root of its
tree. Parsing is strict: what parses prints back to the same bytes. Signatures by unknown keys are preserved
and ignored, so a note can collect witness signatures.

    sora-ledger/01a2…                     the origin: which log
    42                                    its size
    q7c…=                                 its root, base64

    — reviewers.example 9vK3…             signature: name, base64 of key id (4 bytes) and signature

Keys are text of the same family (a signed-note key of type 1): ``PRIVATE+KEY+<name>+<id>+<base64>`` to sign,
``<name>+<id>+<base64>`` to verify. The key of a witness has type 4: it signs the text prefixed with the time,
which is a *cosignature*. Sources: https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint,
https://c2sp.org/tlog-cosignature.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.tree.merkle import HASH_BYTES

ED25519 = b"\x01"
COSIGNATURE = b"\x04"
TIME_BYTES = 8
KEY_BYTES = 32
ID_BYTES = 4
MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 64
_DASH = "— "
_LEAST_LINES = 3  # origin, size, root
_KEY_PARTS = 3  # name, id, key
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_PRIVATE = "PRIVATE+KEY+"
_SIGN_BIT = 1 << 255
_SMALL_ORDER = frozenset(
    int.from_bytes(bytes.fromhex(encoded), "little")
    for encoded in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
"""The y of every point whose order divides 8, including the two that are not canonical (without the sign
bit).

Anyone can make a signature that is valid under such a key for any text.
"""


class CheckpointInvalid(ValueError):
    """The text is not a note, a checkpoint or a key, or it has no valid signature."""


class Signature(NamedTuple):
    """One signature line: the name of the signer, the key id, and the signature."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def time(self) -> int:
        """Time of a cosignature in seconds since 1970; meaningless for other kinds of signatures."""
        return int.from_bytes(self.signature[:TIME_BYTES], "big")

    def line(self) -> str:
        """Return the line for a note."""
        return f"{_DASH}{self.name} {_encode(self.key_id + self.signature)}\n"


@dataclass(frozen=True)
class Verifier:
    """A public key with the name of its owner; `kind` is its signature type: log or witness."""

    name: str
    public_key: bytes
    kind: bytes = ED25519

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``<name>+<id>+<base64>``; `CheckpointInvalid` for a key under which anyone can sign."""
        name, key_id, kind, key = _key_parts(text.strip(), "verifier key", (ED25519, COSIGNATURE))
        if int.from_bytes(key, "little") & ~_SIGN_BIT in _SMALL_ORDER:
            raise CheckpointInvalid(
                f"verifier key of {name}: a point of small order, under which anyone can sign anything; "
                "ask its owner for another key"
            )
        verifier = cls(_check_name(name), key, kind)
        if verifier.key_id.hex() != key_id:
            raise CheckpointInvalid(
                f"verifier key of {name}: its id is {verifier.key_id.hex()}, not {key_id}"
            )
        return verifier

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256(name ‖ newline ‖ type ‖ public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + self.kind + self.public_key).digest()[:ID_BYTES]

    @property
    def is_witness(self) -> bool:
        """Whether the key makes only cosignatures of checkpoints."""
        return self.kind == COSIGNATURE

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_encode(self.kind + self.public_key)}"

    def has_signed(self, text: str, signature: Signature) -> bool:
        """Return True if this key made `signature` over `text`; a wrong signature by this key is an error."""
        if (signature.name, signature.key_id) != (self.name, self.key_id):
            return False
        signed, raw = text.encode(), signature.signature
        if self.is_witness:
            signed, raw = f"cosignature/v1\ntime {signature.time}\n".encode() + signed, raw[TIME_BYTES:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(raw, signed)
        except (InvalidSignature, ValueError):
            raise CheckpointInvalid(
                f"the signature of {self.name} is invalid: the text was changed"
            ) from None
        return True


@dataclass(frozen=True)
class Signer:
    """A private key with the name of its owner; its text is secret."""

    name: str
    seed: bytes

    @classmethod
    def generate(cls, name: str) -> Self:
        """Make a new key."""
        return cls(_check_name(name), Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``PRIVATE+KEY+<name>+<id>+<base64>``; the message of an error never repeats it."""
        stripped = text.strip()
        if not stripped.startswith(_PRIVATE):
            raise CheckpointInvalid(f"signing key: expected a line that begins {_PRIVATE}")
        name, key_id, _, seed = _key_parts(stripped.removeprefix(_PRIVATE), "signing key", (ED25519,))
        signer = cls(_check_name(name), seed)
        if signer.verifier.key_id.hex() != key_id:
            raise CheckpointInvalid(
                f"signing key of {name}: its id does not match the key: the file is damaged"
            )
        return signer

    def __repr__(self) -> str:
        return f"Signer({self.name!r})"

    @property
    def verifier(self) -> Verifier:
        """The public key."""
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        return Verifier(self.name, private.public_key().public_bytes_raw())

    def secret(self) -> str:
        """Return the key's text, for a file that only its owner can read."""
        return f"{_PRIVATE}{self.name}+{self.verifier.key_id.hex()}+{_encode(ED25519 + self.seed)}"

    def sign(self, text: str) -> Signature:
        """Sign `text`, which ends with a newline."""
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        return Signature(self.name, self.verifier.key_id, signature)


@dataclass(frozen=True)
class Note:
    """A text that ends with a newline, and its signatures."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a note; `CheckpointInvalid` says what is wrong with it."""
        if len(data) > MAX_NOTE_BYTES:
            raise CheckpointInvalid(f"a note has at most {MAX_NOTE_BYTES} bytes, this one {len(data)}")
        try:
            whole = data.decode()
        except UnicodeDecodeError:
            raise CheckpointInvalid("a note is UTF-8 text; this is not") from None
        if _CONTROL.search(whole):
            raise CheckpointInvalid("a note contains no control characters except newlines; this one does")
        head, blank, tail = whole.rpartition("\n\n")
        if not blank or not head or not tail.endswith("\n"):
            raise CheckpointInvalid("a note is text, an empty line, and signature lines; this is not")
        lines = tail.removesuffix("\n").split("\n")
        return cls(head + "\n", tuple(_signature(line) for line in lines)).check()

    def check(self) -> Self:
        """Return this note; `CheckpointInvalid` if it has more signatures than a note may have."""
        count = len(self.signatures)
        if count > MAX_SIGNATURES:
            raise CheckpointInvalid(f"a note has at most {MAX_SIGNATURES} signatures, this one {count}")
        return self

    def to_bytes(self) -> bytes:
        """Return the note to publish."""
        return (self.text + "\n" + "".join(item.line() for item in self.signatures)).encode()

    def find_signers(self, verifiers: Sequence[Verifier]) -> list[Verifier]:
        """Return the `verifiers` that signed; `CheckpointInvalid` if none did, or if a signature is wrong."""
        signers = [
            key for key in verifiers if any(key.has_signed(self.text, item) for item in self.signatures)
        ]
        if not signers:
            names = ", ".join(sorted({item.name for item in self.signatures}))
            raise CheckpointInvalid(f"not signed by any of these keys; the signatures are by: {names}")
        return signers


@dataclass(frozen=True)
class Checkpoint:
    """The size of the log `origin`, and the root of its tree; `extensions` are preserved lines."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a checkpoint; text that does not print back to the same bytes is refused."""
        lines = text.removesuffix("\n").split("\n")
        whole = text.endswith("\n") and all(lines) and not _CONTROL.search(text)
        if not whole or len(lines) < _LEAST_LINES:
            raise CheckpointInvalid(
                "a checkpoint has an origin, a size and a root, a line each; this does not"
            )
        origin, size, root, *extensions = lines
        if not _SIZE.fullmatch(size):
            raise CheckpointInvalid(f"a checkpoint's size is a decimal number, not {size[:30]!r}")
        return cls(origin, int(size), _decode(root, HASH_BYTES, "a checkpoint's root"), tuple(extensions))

    def to_text(self) -> str:
        """Return the text that is signed."""
        return "".join(f"{line}\n" for line in (self.origin, self.size, _encode(self.root), *self.extensions))

    def sign(self, *signers: Signer) -> Note:
        """Return the note with the signatures of `signers`."""
        text = self.to_text()
        return Note(text, tuple(signer.sign(text) for signer in signers))


def _signature(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise CheckpointInvalid(f"a signature line is “{_DASH}name base64”, not {line[:60]!r}")
    data = _decode(encoded, None, "a signature")
    if len(data) <= ID_BYTES:
        raise CheckpointInvalid("a signature has more than the 4 bytes of a key id; this one does not")
    return Signature(_check_name(name), data[:ID_BYTES], data[ID_BYTES:])


def _check_name(name: str) -> str:
    if not name or "+" in name or any(map(str.isspace, name)) or _CONTROL.search(name):
        raise CheckpointInvalid(
            f"a key's name has no space, plus sign or control character, as reviewers.example; not {name!r}"
        )
    return name


def _key_parts(text: str, what: str, kinds: Sequence[bytes]) -> tuple[str, str, bytes, bytes]:
    parts = text.split("+", 2)
    if len(parts) != _KEY_PARTS:
        raise CheckpointInvalid(f"{what}: expected name, id and base64 joined by plus signs")
    name, key_id, encoded = parts
    data = _decode(encoded, None, what)
    if data[:1] not in kinds:
        types = " or ".join(str(kind[0]) for kind in kinds)
        found = f"type {data[0]}" if data else "nothing"
        raise CheckpointInvalid(f"{what} of {name}: expected Ed25519 (type {types}), found {found}")
    _decode(encoded, 1 + KEY_BYTES, what)
    return name, key_id, data[:1], data[1:]


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str, length: int | None, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise CheckpointInvalid(f"{what}: expected base64") from None
    if _encode(data) != text or (length is not None and len(data) != length):
        raise CheckpointInvalid(
            f"{what}: expected {length or 'some'} bytes in canonical base64, found {len(data)}"
        )
    return data
