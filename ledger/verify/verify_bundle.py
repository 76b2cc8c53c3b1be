"""Check an evidence bundle from a sora-ledger, and report in plain words what it proves and what it does not.

    python3 verify_bundle.py bundle.zip [--verifier VKEY] [--checkpoint FILE] [--witnesses FILE]

Needs Python 3.9 or newer and nothing else: no network, no ledger, and no part of the program that made the
bundle. Get this file from a person you trust: the copy inside a bundle is only as trustworthy as the bundle.

--verifier VKEY     a public key that you got separately: NAME+ID+BASE64 (C2SP signed-note, Ed25519)
--checkpoint FILE   a checkpoint that you hold, of the same size as the bundle's
--witnesses FILE    whose cosignatures are enough for you (C2SP tlog-policy)

Exits with 0 if nothing is wrong, 10 if something is, and 2 if the file cannot be read or is not a bundle.

A bundle is treated as hostile: nothing is unpacked, only known file names are accepted, sizes are limited
before anything is read, and JSON is parsed strictly. The section Bundle of docs/FORMAT.md describes the
format; RFC 6962 (tree), RFC 8032 (Ed25519), FIPS 186-5 (ECDSA), WebAuthn (passkeys), RFC 3161 (timestamps)
and C2SP signed-note, tlog-checkpoint, tlog-cosignature and tlog-policy are the sources. It does not check
X.509 certificates, CMS signatures and C2PA manifests, and says so where a bundle has any.

How to read it: start with `main` and `report` at the end. `BundleCheck.run` lists the checks in order, with
one group of methods for each file of a bundle. The sections before it are the tools: strict JSON, Ed25519,
ECDSA, passkeys, checkpoints, the tree, approvals, the zip file.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import hmac
import io
import json
import re
import stat
import sys
import zipfile
import zlib
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

FORMATS = ("sora-ledger/bundle/v1", "sora-ledger/bundle/v2")
"""Version 2 may have `timestamps/` and `provenance/`."""
DONE, CANNOT_READ, FOUND_SOMETHING = 0, 2, 10

MAX_FILES = 20_000
MAX_MANIFEST_BYTES = 16 << 20
MAX_LINE_BYTES = 4 << 20
MAX_TOTAL_BYTES = 64 << 30
MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 64
MAX_POLICY_BYTES = 256 << 10
MAX_TIMESTAMP_BYTES = 64 << 10
MAX_MANIFEST_STORE_BYTES = 8 << 20
MAX_RATIO = 400  # of unpacked to packed bytes, for files larger than SMALL_BYTES
SMALL_BYTES = 4 << 20
MAX_DEPTH = 64
MAX_INTEGER = 2**53 - 1
MAX_FINDINGS = 1_000
MAX_CITED = 1_000_000
PART_BYTES = 1 << 20

NAME = re.compile(
    r"manifest\.json|README\.txt|checkpoint|verify_bundle\.py|(?:records|payloads|proofs|bodies)\.jsonl"
    r"|documents/[0-9a-f]{64}|(?:assets|provenance)/[0-9a-f]{64}(?:\.[a-z0-9]{1,8})?"
    r"|timestamps/[0-9a-f]{64}\.tsr"
)
ALWAYS = ("manifest.json", "checkpoint", "records.jsonl", "payloads.jsonl")
HEX = re.compile(r"[0-9a-f]{64}")
SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
SALT = re.compile(r"[0-9a-f]{2,256}")
RECORD_KEYS = frozenset(
    "actor actor_source authority causation_id event_id kind occurred_at payload_sha256 position recorded_at "
    "schema_version span_id stream trace_id type version".split()
)
CITING = ("policy_sha256", "catalog_sha256", "required_by_sha256", "sha256", "original_sha256")
"""The names under which payloads cite documents, and files last."""
DOMAIN = b"sora-ledger/private/v1\0"
CLOSING = "render.closed"
STORING = "asset.stored"
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
    OverflowError,
)


class NotABundle(Exception):
    """The file is not a bundle, or cannot be read; the message says why."""


class Damaged(Exception):
    """A part of the bundle violates the format; it becomes a finding."""

    def __init__(self, code: str, where: str, expected: str, found: object) -> None:
        super().__init__(f"{code} {where}: expected {expected}, found {found}")
        self.finding = Finding(code, None, where, expected, shorten(found))


class Finding(NamedTuple):
    """A defect: its stable code, the position of the record, what was expected and what was found."""

    code: str
    position: int | None
    subject: str
    expected: str
    found: str


def shorten(value: object) -> str:
    """Return `value` as short text that is safe to print to a terminal."""
    text = str(value)
    cut = text if len(text) <= 200 else text[:200] + "…"
    if cut.isprintable():
        return cut
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in cut)


# --- strict JSON ---------------------------------------------------------------------------------------


def _no_float(text: str) -> object:
    raise ValueError(f"a number that is no integer, {text[:30]}")


def _integer(text: str) -> int:
    if len(text) > len(str(MAX_INTEGER)) + 1 or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"an integer beyond 2**53 - 1, {text[:30]}")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key that stands twice")
    return made


_DECODER = json.JSONDecoder(
    parse_float=_no_float, parse_constant=_no_float, parse_int=_integer, object_pairs_hook=_object
)
_QUICK = json.JSONDecoder(parse_float=_no_float, parse_constant=_no_float)
_ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_MARK = re.compile(rb'["\\{}\[\]]')
_LONG_INTEGER = re.compile(rb"[:,\[]-?[0-9]{16}")


def strict_json(data: bytes) -> dict[str, Any]:
    """Parse a canonical JSON object; ValueError unless serialising it again gives the same bytes."""
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        _check_depth(data)
    text = data.decode("utf-8")
    if _LONG_INTEGER.search(data) is None:  # a key that stands twice does not serialise to the same bytes
        document, _ = _QUICK.raw_decode(text)
        if isinstance(document, dict) and _ENCODE(document).encode("utf-8") == data:
            return document
    document = _DECODER.decode(text)
    if not isinstance(document, dict) or _ENCODE(document).encode("utf-8") != data:
        raise ValueError("JSON that is not canonical")
    return document


def _check_depth(data: bytes) -> None:
    """Reject input that is nested too deeply, before it is parsed; braces in strings do not count."""
    depth, in_text, escaped = 0, False, -1
    for found in _MARK.finditer(data):
        mark = found.group()
        if found.start() == escaped:
            continue
        if mark == b"\\":
            escaped = found.end()
        elif mark == b'"':
            in_text = not in_text
        elif not in_text:
            depth += 1 if mark in b"{[" else -1
            if depth > MAX_DEPTH:
                raise ValueError(f"JSON nested deeper than {MAX_DEPTH}")


# --- RFC 8032: Ed25519, verification only ----------------------------------------------------------------

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT_OF_MINUS_1 = pow(2, (_P - 1) // 4, _P)


def _add(p: tuple[int, int, int, int], q: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % _P, (p[1] + p[0]) * (q[1] + q[0]) % _P
    c, d = 2 * p[3] * q[3] * _D % _P, 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _times(scalar: int, point: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _point(data: bytes) -> tuple[int, int, int, int] | None:
    """Decode 32 bytes (RFC 8032, section 5.1.3); None if they do not encode a point."""
    encoded = int.from_bytes(data, "little")
    sign, y = encoded >> 255, encoded & (2**255 - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT_OF_MINUS_1 % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return (x, y, 1, x * y % _P)


_BASE = _point((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little"))


def ed25519_verifies(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether `signature` is valid for `message` under `public_key` (RFC 8032, section 5.1.7)."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    key, commitment = _point(public_key), _point(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or scalar >= _L or _BASE is None:
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    left = _times(scalar, _BASE)
    right = _add(commitment, _times(int.from_bytes(digest, "little") % _L, key))
    same_x = (left[0] * right[2] - right[0] * left[2]) % _P == 0
    return same_x and (left[1] * right[2] - right[1] * left[2]) % _P == 0


@lru_cache(maxsize=256)
def is_small_order(public_key: bytes) -> bool:
    """Return whether anyone can make signatures under this key: a point whose order divides 8."""
    point = _point(public_key)
    if point is None:
        return False  # under which nothing verifies
    x, y, z, _ = _times(8, point)
    return x % _P == 0 and (y - z) % _P == 0


# --- FIPS 186-5: ECDSA on P-256 with SHA-256, verification only ------------------------------------------

_Q = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def _double(p: tuple[int, int, int]) -> tuple[int, int, int]:
    x, y, z = p
    if not y or not z:
        return (1, 1, 0)
    square, gap = y * y % _Q, z * z % _Q
    s = 4 * x * square % _Q
    m = 3 * (x - gap) * (x + gap) % _Q
    u = (m * m - 2 * s) % _Q
    return (u, (m * (s - u) - 8 * square * square) % _Q, 2 * y * z % _Q)


def _sum(p: tuple[int, int, int], q: tuple[int, int]) -> tuple[int, int, int]:
    """Add a point in affine coordinates to one in Jacobian coordinates; z is 0 at infinity."""
    x, y, z = p
    if not z:
        return (q[0], q[1], 1)
    square = z * z % _Q
    h, r = (q[0] * square - x) % _Q, (q[1] * square * z - y) % _Q
    if not h:
        return (1, 1, 0) if r else _double(p)
    h2 = h * h % _Q
    h3, v = h * h2 % _Q, x * h2 % _Q
    u = (r * r - h3 - 2 * v) % _Q
    return (u, (r * (v - u) - y * h3) % _Q, z * h % _Q)


def _integers(signature: bytes) -> tuple[int, int] | None:
    """Decode the two integers of a DER signature; None if it is not valid DER."""
    if len(signature) < 8 or signature[0] != 0x30 or signature[1] != len(signature) - 2:
        return None
    found: list[int] = []
    rest = signature[2:]
    while rest:
        size = rest[1] if len(rest) > 2 else 0
        number = rest[2 : 2 + size]
        if rest[0] != 0x02 or not 0 < size <= 33 or len(number) != size or number[0] & 0x80:
            return None
        if size > 1 and not number[0] and not number[1] & 0x80:
            return None
        found.append(int.from_bytes(number, "big"))
        rest = rest[2 + size :]
    return (found[0], found[1]) if len(found) == 2 else None


def es256_verifies(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether `signature` (DER) is valid for `message` under `public_key`, the x and y of a point."""
    numbers = _integers(signature)
    if len(public_key) != 64 or numbers is None:
        return False
    r, s = numbers
    key = (int.from_bytes(public_key[:32], "big"), int.from_bytes(public_key[32:], "big"))
    on_curve = (key[1] * key[1] - key[0] ** 3 + 3 * key[0] - _B) % _Q == 0
    if not (0 < r < _N and 0 < s < _N and max(key) < _Q and on_curve):
        return False
    inverse = pow(s, -1, _N)
    of_base = int.from_bytes(hashlib.sha256(message).digest(), "big") * inverse % _N
    of_key = r * inverse % _N
    point = (1, 1, 0)
    for bit in range(255, -1, -1):
        point = _double(point)
        if of_base >> bit & 1:
            point = _sum(point, _G)
        if of_key >> bit & 1:
            point = _sum(point, key)
    if not point[2]:
        return False
    x = point[0] * pow(point[2], -2, _Q) % _Q
    return x % _N == r


# --- WebAuthn: what a passkey signed ---------------------------------------------------------------------

PASSKEY = b"\xffsora-ledger/passkey/1\n"
PRESENT_AND_VERIFIED = 0x05


class Passkey(NamedTuple):
    """A passkey that a policy names: its public key, and the site it signs for."""

    algorithm: int
    public_key: bytes
    origin: str


def read_passkey(text: str) -> Passkey | None:
    """Parse ``NAME+ID+BASE64``; None for another kind of key, ValueError for an invalid passkey."""
    parts = text.split("+", 2)
    data = _base64(parts[2]) if len(parts) == 3 else b""
    if not data.startswith(PASSKEY):
        return None
    content = strict_json(data[len(PASSKEY) :])
    if hashlib.sha256(parts[0].encode("utf-8") + b"\n" + data).hexdigest()[:8] != parts[1]:
        raise ValueError("a passkey with another id")
    public_key = _base64(str(content.get("public_key")))
    lengths = {-7: 64, -8: 32}
    if lengths.get(content.get("algorithm", 0)) != len(public_key):
        raise ValueError("a passkey of an unknown kind")
    return Passkey(content["algorithm"], public_key, str(content.get("origin")))


def _read_signed_bytes(passkey: Passkey, statement: bytes, payload: dict[str, Any]) -> bytes:
    """Return the bytes that a passkey signed for `statement`; ValueError if it signed something else."""
    assertion = payload["passkey"]
    data, about = _base64(assertion["authenticator_data"]), _base64(assertion["client_data"])
    _check_depth(about)
    client = _DECODER.decode(about.decode("utf-8"))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(statement).digest()).rstrip(b"=").decode("ascii")
    host = re.sub(r"^https?://|:[0-9]+$", "", passkey.origin)
    if (
        client["type"] != "webauthn.get"
        or client["challenge"] != challenge
        or client["origin"] != passkey.origin
        or client.get("crossOrigin")
        or len(data) < 37
        or data[:32] != hashlib.sha256(host.encode("utf-8")).digest()
        or data[32] & PRESENT_AND_VERIFIED != PRESENT_AND_VERIFIED
    ):
        raise ValueError("a signature for another challenge or site, or without a person")
    return data + hashlib.sha256(about).digest()


# --- C2SP signed-note and tlog-checkpoint ----------------------------------------------------------------


LOG_KEY, WITNESS_KEY = 1, 4


class Key(NamedTuple):
    """A public key and the name it signs as; a witness's has another kind and signs the time as well."""

    name: str
    key_id: bytes
    public_key: bytes
    kind: int = LOG_KEY


class Head(NamedTuple):
    """A checkpoint: the log's origin, its size and root hash, and the signatures of `text`, if any."""

    origin: str
    size: int
    root: bytes
    text: str
    signatures: list[tuple[str, bytes, bytes]]


def read_key(text: str) -> Key:
    """Parse ``NAME+ID+BASE64``; ValueError says why it is not an Ed25519 key."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or not parts[0] or any(letter.isspace() for letter in parts[0]):
        raise ValueError("expected NAME+ID+BASE64")
    data = _base64(parts[2])
    if len(data) != 33 or data[0] not in (LOG_KEY, WITNESS_KEY):
        raise ValueError("expected an Ed25519 key (type 1, or 4 of a witness; 32 bytes)")
    if is_small_order(data[1:]):
        raise ValueError("a point of small order, under which anyone can sign anything")
    key_id = hashlib.sha256(parts[0].encode("utf-8") + b"\n" + data).digest()[:4]
    if key_id.hex() != parts[1]:
        raise ValueError(f"its id is {key_id.hex()}, not {parts[1][:20]}")
    return Key(parts[0], key_id, data[1:], data[0])


def read_head(data: bytes) -> Head:
    """Parse a checkpoint, signed or unsigned; ValueError says why it is invalid."""
    if len(data) > MAX_NOTE_BYTES:
        raise ValueError(f"more than {MAX_NOTE_BYTES} bytes")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("bytes that are no UTF-8 text") from None
    if re.search(r"[\x00-\x09\x0b-\x1f]", whole):
        raise ValueError("control characters")
    text, blank, tail = whole.rpartition("\n\n")
    text = text + "\n" if blank else whole
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop() or not all(lines):
        raise ValueError("not an origin, a size and a root, a line each")
    if not SIZE.fullmatch(lines[1]):
        raise ValueError("a size that is no number")
    root = _base64(lines[2])
    if len(root) != 32:
        raise ValueError("a root that has not 32 bytes")
    signatures = [_signature(line) for line in tail[:-1].split("\n")] if blank else []
    if (blank and not tail.endswith("\n")) or len(signatures) > MAX_SIGNATURES:
        raise ValueError(f"a last line without its end, or more than {MAX_SIGNATURES} signatures")
    return Head(lines[0], int(lines[1]), root, text, signatures)


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, space, encoded = line[2:].partition(" ")
    if not line.startswith("\u2014 ") or not space or not name:
        raise ValueError("not a signature line")
    if "+" in name or any(letter.isspace() for letter in name):
        raise ValueError("a signature by a name with a plus sign or a space")
    data = _base64(encoded)
    if len(data) < 5:
        raise ValueError("a signature that is too short")
    return name, data[:4], data[4:]


def _base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ValueError("something that is no base64") from None
    if base64.b64encode(data).decode("ascii") != text:
        raise ValueError("base64 that is not canonical")
    return data


def signers(head: Head, keys: Sequence[Key]) -> list[str]:
    """Return the names of those `keys` that signed `head`; ValueError if one signed something else."""
    names = []
    for key in keys:
        mine = [item[2] for item in head.signatures if item[:2] == (key.name, key.key_id)]
        for signature in mine:
            if not _is_by(key, head.text.encode("utf-8"), signature):
                raise ValueError(f"the signature of {shorten(key.name)} is of something else")
        if mine:
            names.append(key.name)
    return names


def _is_by(key: Key, text: bytes, signature: bytes) -> bool:
    """Return whether `signature` is of `text`; a witness's begins with the time, which is signed too."""
    if key.kind == WITNESS_KEY:
        seconds = int.from_bytes(signature[:8], "big")
        text, signature = b"cosignature/v1\ntime %d\n" % seconds + text, signature[8:]
    return ed25519_verifies(key.public_key, text, signature)


# --- C2SP tlog-policy ------------------------------------------------------------------------------------


class Policy(NamedTuple):
    """Logs and witnesses that a reader trusts, and whose cosignatures are enough."""

    logs: list[Key]
    witnesses: dict[str, Key]
    groups: dict[str, tuple[int, list[str]]]
    quorum: str

    def is_met(self, names: set[str]) -> bool:
        """Return whether cosignatures by the witnesses `names` are enough."""
        met = {"none"} | (names & set(self.witnesses))
        for name, (threshold, members) in self.groups.items():  # a group names only what is above it
            if len(met.intersection(members)) >= threshold:
                met.add(name)
        return self.quorum in met


def read_policy(data: bytes) -> Policy:
    """Read a policy file; ValueError names the line that is wrong."""
    if len(data) > MAX_POLICY_BYTES or (data and not data.endswith(b"\n")):
        raise ValueError(f"more than {MAX_POLICY_BYTES} bytes, or a last line without its end")
    policy, quorum = Policy([], {}, {}, ""), ""
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            if re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", line):
                raise ValueError("a control character")
            words = [word for word in re.split("[ \t]", line.decode("utf-8", "backslashreplace")) if word]
            if words and words[0] == "quorum":
                quorum = _quorum(policy, words, quorum)
            elif words and not words[0].startswith("#"):
                _policy_line(policy, words)
        except (ValueError, IndexError) as error:
            raise ValueError(f"line {number}: {shorten(error)}") from None
    if not quorum:
        raise ValueError("no line that begins with quorum")
    return policy._replace(quorum=quorum)


def _quorum(policy: Policy, words: list[str], before: str) -> str:
    if before or len(words) != 2:
        raise ValueError("expected one line: quorum NAME")
    if words[1] != "none" and words[1] not in policy.witnesses and words[1] not in policy.groups:
        raise ValueError("a quorum that no line above defines")
    return words[1]


def _policy_line(policy: Policy, words: list[str]) -> None:
    """Add one line to a policy."""
    kind, name = words[0], words[1]
    if kind == "log" and len(words) in (2, 3):
        key = read_key(name)
        if key.kind != LOG_KEY or key.public_key in [log.public_key for log in policy.logs]:
            raise ValueError("a log's key has type 1, and a line of its own")
        policy.logs.append(key)
        return
    if name == "none" or name in policy.witnesses or name in policy.groups:
        raise ValueError("a name that is taken")
    if kind == "witness" and len(words) in (3, 4):
        key = read_key(words[2])
        if key.kind != WITNESS_KEY or key.public_key in [one.public_key for one in policy.witnesses.values()]:
            raise ValueError("a witness's key has type 4, and a line of its own")
        policy.witnesses[name] = key
    elif kind == "group" and len(words) > 3:
        members = words[3:]
        taken = [member for _, others in policy.groups.values() for member in others]
        if len({*members, *taken}) != len(members) + len(taken):
            raise ValueError("a member that would count twice")
        if not all(member in policy.witnesses or member in policy.groups for member in members):
            raise ValueError("a member that no line above defines")
        threshold = {"any": 1, "all": len(members)}.get(words[2]) or _decimal(words[2])
        if not 1 <= threshold <= len(members):
            raise ValueError("a number of members that is not possible")
        policy.groups[name] = (threshold, members)
    else:
        raise ValueError("expected log, witness, group or quorum")


def _decimal(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,4}", text) else 0


def cosigners(head: Head, policy: Policy) -> list[str]:
    """Return the witnesses of `policy` that cosigned `head`; ValueError if one signed something else.

    Also if the policy has logs, and none of them signed `head` under the name of its origin.
    """
    if policy.logs and head.origin not in signers(head, policy.logs):
        raise ValueError("no signature by a log of the policy, under the name of its origin")
    return [name for name, key in policy.witnesses.items() if signers(head, [key])]


# --- RFC 3161: what a timestamp says, without checking who says it ---------------------------------------

TST_INFO = bytes.fromhex("060b2a864886f70d0109100104")
SHA_256 = bytes.fromhex("0609608648016503040201")


class Stamp(NamedTuple):
    """The digest that a timestamp is of, and the time it states."""

    digest: bytes
    time: str


def read_timestamp(data: bytes) -> Stamp:
    """Read what a timestamp response (DER) says; ValueError unless it was granted, by SHA-256."""
    try:
        status, content = _parts(_read_der_value(data, 0x30))[:2]
        if _parts(_read_der_value(status, 0x30))[0] not in (b"\2\1\0", b"\2\1\1"):
            raise ValueError("a timestamp that was not granted")
        signed = _parts(
            _read_der_value(_read_der_value(_parts(_read_der_value(content, 0x30))[1], 0xA0), 0x30)
        )
        kind, wrapped = _parts(_read_der_value(signed[2], 0x30))
        info = _parts(_read_der_value(_read_der_value(_read_der_value(wrapped, 0xA0), 0x04), 0x30))
        algorithm, digest = _parts(_read_der_value(info[2], 0x30))
        stated = _read_der_value(info[4], 0x18).decode("ascii")
        if kind != TST_INFO or not _read_der_value(algorithm, 0x30).startswith(SHA_256):
            raise ValueError("no timestamp of a SHA-256 digest")
        when = re.fullmatch(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.\d{1,9})?Z", stated)
        if when is None:
            raise ValueError("a time that is not one of UTC")
        return Stamp(_read_der_value(digest, 0x04), "{}-{}-{} {}:{}:{}Z".format(*when.groups()))
    except (IndexError, UnicodeDecodeError):
        raise ValueError("no timestamp response of RFC 3161") from None


def _read_der_value(data: bytes, tag: int) -> bytes:
    """Return the content of the one DER value `data`, which has this tag."""
    parts = _parts(data)
    if len(parts) != 1 or data[0] != tag:
        raise ValueError("no timestamp response of RFC 3161")
    return data[_header(data) :]


def _parts(data: bytes) -> list[bytes]:
    """Split DER values that follow each other."""
    parts = []
    while data:
        start = _header(data)
        size = data[1] if data[1] < 0x80 else int.from_bytes(data[2:start], "big")
        if start + size > len(data):
            raise ValueError("DER that ends too soon")
        parts.append(data[: start + size])
        data = data[start + size :]
    return parts


def _header(data: bytes) -> int:
    """Return the length of tag and length of a DER value."""
    if data[1] in (0x80, 0xFF) or (data[1] > 0x80 and data[1] & 0x7F > 4):
        raise ValueError("a length that is not DER")
    return 2 + (data[1] & 0x7F if data[1] & 0x80 else 0)


def stampable(note: bytes) -> set[bytes]:
    """Return the digests under which a checkpoint counts as stamped: with all its signatures, or the first.

    Signatures may be added at the end of a checkpoint after it was stamped.
    """
    head, _, tail = note.rpartition(b"\n\n")
    lines = tail.split(b"\n")[:-1] if head else []
    ends = [b"".join(line + b"\n" for line in lines[: count + 1]) for count in range(len(lines))]
    prefixes = {hashlib.sha256(head + b"\n\n" + end).digest() for end in ends}
    return prefixes | {hashlib.sha256(note).digest()}


# --- C2PA: which record a manifest names, without checking who signed it ---------------------------------

RECORD_ASSERTION = "org.sora-ledger.record"
ASSERTION_FORMAT = "sora-ledger/provenance/v1"


def read_named_record(store: bytes) -> dict[str, Any] | None:
    """Return what the active manifest of a C2PA store says of its record; None if it names none.

    ValueError if `store` is not a manifest store, which is a tree of JUMBF boxes (ISO 19566-5).
    """
    label, manifests = _superbox(store)
    if label != "c2pa" or not manifests:
        raise ValueError("no C2PA manifest store")
    active = _superbox(manifests[-1])[1]
    for box in active:
        if box[4:8] == b"jumb" and _superbox(box)[0] == "c2pa.assertions":
            for assertion in _superbox(box)[1]:
                name, content = _superbox(assertion)
                if name == RECORD_ASSERTION and content and content[0][4:8] == b"json":
                    claim = json.loads(content[0][8:])
                    if not isinstance(claim, dict) or claim.get("format") != ASSERTION_FORMAT:
                        raise ValueError(f"an assertion {RECORD_ASSERTION} of another form")
                    return claim
    return None


def _superbox(data: bytes) -> tuple[str, list[bytes]]:
    """Return the label of a JUMBF superbox and the boxes in it."""
    boxes = _boxes(data)
    if len(boxes) != 1 or data[4:8] != b"jumb":
        raise ValueError("no JUMBF box")
    inside = _boxes(data[8:])
    if not inside or inside[0][4:8] != b"jumd" or len(inside[0]) < 25:
        raise ValueError("a JUMBF box without its description")
    label = inside[0][25:].split(b"\0")[0] if inside[0][24] & 2 else b""
    return label.decode("utf-8", "backslashreplace"), inside[1:]


def _boxes(data: bytes) -> list[bytes]:
    """Split boxes that follow each other."""
    boxes = []
    while data:
        size = int.from_bytes(data[:4], "big")
        if not 8 <= size <= len(data):
            raise ValueError("a box that does not fit")
        boxes.append(data[:size])
        data = data[size:]
    return boxes


# --- RFC 6962: the tree ----------------------------------------------------------------------------------


def leaf_of(record: bytes) -> bytes:
    """Return the leaf hash of one record."""
    return hashlib.sha256(b"\0" + record).digest()


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root computed from leaf `index` of `size` and its `path` (RFC 9162, section 2.1.3.2)."""
    number, last, value = index, size - 1, leaf
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} of {size}")
    for sibling in path:
        if last == 0:
            raise ValueError("a path that is too long")
        if number & 1 or number == last:
            value = _parent(sibling, value)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            value = _parent(value, sibling)
        number, last = number >> 1, last >> 1
    if last:
        raise ValueError("a path that is too short")
    return value


class WholeTree:
    """Computes the root hash of leaves that are added one at a time."""

    def __init__(self) -> None:
        self.size = 0
        self.stack: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Add one leaf."""
        value, index = leaf, self.size
        while index & 1:
            value, index = _parent(self.stack.pop(), value), index >> 1
        self.stack.append(value)
        self.size += 1

    def root(self) -> bytes:
        """Return the root."""
        if not self.stack:
            return hashlib.sha256(b"").digest()
        value = self.stack[-1]
        for left in reversed(self.stack[:-1]):
            value = _parent(left, value)
        return value


# --- approvals: who asked, who approved, and whether a decision was permitted -----------------------------

REQUEST_1, ANSWER_1, ANSWER_2 = (
    "sora-ledger/request/1",
    "sora-ledger/approval/1",
    "sora-ledger/approval/2",
)
TYPED = ("flag", "environment")
NAMED_BY_ACCESS = ("access_key", "oidc")
"""Sources that identify a person by name, whatever the login of their process."""
FIRST = frozenset(["render.requested", "change.proposed"])
ENDED = frozenset("render.decided render.denied render.cancelled approval.refused change.closed".split())
"""The events after which no approval is pending in a stream."""
CHANGES = {
    "policy.activated": "policy.activate",
    "budget.set": "budget.set",
    "access.granted": "access.grant",
}
"""The events other than renders that a policy may require approval for, and their names in its rules."""
FOLLOWED = FIRST | ENDED | CHANGES.keys() | {"render.held", "approval.granted", "decision.overridden"}
"""The events that `Permissions` always follows; `is_followed` adds others."""


def is_followed(record: dict[str, Any], case: dict[str, Any] | None) -> bool:
    """Return whether `Permissions` needs a record of a stream whose state is `case`."""
    by_key = record["actor_source"] == "access_key"
    return record["type"] in FOLLOWED or by_key or bool(case and case["signs"])


class Rules(NamedTuple):
    """A policy's rules about people: whose keys sign, what needs approval, what may be overridden."""

    approvers: dict[str, list[str]]
    requesters: dict[str, list[str]]
    approvals: list[dict[str, Any]]
    overridable: list[str]
    requester: str | None


def read_rules(body: bytes) -> Rules | None:
    """Parse the rules about people from the bytes of a policy; None if they cannot be read."""
    try:
        policy = strict_json(body)
        people = [policy.get(name) or {} for name in ("approvers", "requesters")]
        approvals = policy.get("approvals") or []
        for keys in people:
            if not all(isinstance(key, str) for own in keys.values() for key in own):
                return None
        for rule in approvals:
            lists = [rule.get(name) or [] for name in (*_MATCHED.values(), "guardrails", "signed_by")]
            if not all(isinstance(item, str) for items in lists for item in items):
                return None
            if not isinstance(rule["code"], str) or type(rule["people"]) is not int:
                return None
            if type(rule.get("min_cost_usd_micros", 0)) is not int:
                return None
        overridable = [str(code) for code in policy.get("overridable") or []]
        return Rules(people[0], people[1], approvals, overridable, policy.get("requester"))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


_MATCHED = {
    "model": "models",
    "purpose": "purposes",
    "operation": "operations",
    "change_verdict": "change_verdicts",
}


def _matches(rule: dict[str, Any], render: dict[str, Any], cost: int) -> bool:
    named = all(rule.get(names) is None or render[name] in rule[names] for name, names in _MATCHED.items())
    if rule.get("guardrails") is not None and not set(rule["guardrails"]) & render["guardrails"]:
        return False
    return named and cost >= (rule.get("min_cost_usd_micros") or 0)


class Person(NamedTuple):
    """A requester or approver; `source` is “typed” if nothing establishes who it was."""

    actor: str
    source: str
    login: str | None
    by_passkey: bool = False

    def is_another_than(self, other: Person) -> bool:
        """Return whether these are proven to be two different people."""
        sources = {self.source, other.source}
        if "typed" in sources or self.actor == other.actor:
            return False
        if sources == {"signature"} or not sources.isdisjoint(NAMED_BY_ACCESS):
            return True
        if self.by_passkey or other.by_passkey:
            return True
        return self.login is not None and other.login is not None and self.login != other.login

    def satisfies(self, rule: dict[str, Any]) -> bool:
        """Return whether an approval by this person counts for `rule`."""
        signers = rule.get("signed_by")
        signed = self.source == "signature" or not (rule.get("signed") or signers)
        return signed and (not signers or self.actor in signers)


Found = tuple[str, str, str, str]
"""Code, subject, what was expected and what was found; the position is that of the record."""


class Permissions:
    """Follows the records of streams, in order, and checks who requested and who permitted each decision.

    `rules_of` returns the rules of a policy by digest; records under a policy that is missing or cannot be
    read are not judged. `activated` holds the positions and digests of the activations so far if the reader
    has the whole log; if it is None, a policy counts as in force where a record says so.
    """

    def __init__(
        self,
        rules_of: Callable[[str], Rules | None],
        activated: Sequence[tuple[int, str]] | None,
        verifies: Callable[[bytes, bytes, bytes], bool] = ed25519_verifies,
        verifies_es256: Callable[[bytes, bytes, bytes], bool] = es256_verifies,
    ) -> None:
        self.rules_of = rules_of
        self.activated = activated
        self.verifies = verifies
        self.verifies_es256 = verifies_es256
        self.ledger_id: object = None
        self.binding_since = 0
        self.applied: dict[str, Any] | None = None
        self.periods: dict[str, tuple[Any, Any]] = {}
        self.names: set[str] = set()
        self.signatures = 0
        self.unjudged = 0

    def follow(
        self, case: dict[str, Any] | None, record: dict[str, Any], leaf: bytes, payload: dict[str, Any]
    ) -> tuple[dict[str, Any] | None, list[Found]]:
        """Process the next record of a stream; return the new state of the stream and the findings.

        KeyError or TypeError if the payload is not of its type.
        """
        type_ = record["type"]
        found = self._check_change(record, payload) if type_ in CHANGES else []
        found += self._check_grant(record, payload)
        if type_ in FIRST:
            case = self._first(record, leaf, payload)
        if case is None:
            return None, found
        if case["signs"] and type_ not in FIRST:
            found += self._check_request_signature(case, record, payload)
        if type_ in _RULINGS:
            found += self._check_after_approval(case, record)
        found += self._follow_record(case, record, leaf, payload)
        return (None if type_ in ENDED else case), found

    def _follow_record(
        self, case: dict[str, Any], record: dict[str, Any], leaf: bytes, payload: dict[str, Any]
    ) -> list[Found]:
        type_ = record["type"]
        if type_ == "change.proposed":
            return self._check_proposal(case)
        if type_ == "render.held":
            case["pending"] = _pending(record, leaf, payload)
            case["answers"] = []
            return self._may_ask(case, _NOT_PERMITTED)
        if type_ in ("approval.granted", "approval.refused"):
            return self._check_answer(case, record, payload)
        if type_ == "render.decided":
            return self._check_decision(case, payload)
        if type_ == "decision.overridden":
            case["overridden"].append(payload["detail_code"])
        elif type_ == "change.closed" and payload["outcome"] == "applied" and case["answers"]:
            self.applied = {**case, "stream": record["stream"], "closed_at": record["position"]}
        return []

    def _check_grant(self, record: dict[str, Any], payload: dict[str, Any]) -> list[Found]:
        """Check that an access key had been granted to an actor who was identified by one."""
        if record["type"] == "access.granted":
            self.names.add(payload["name"])
        if record["actor_source"] != "access_key" or self.activated is None or record["actor"] in self.names:
            return []
        return [
            ("ACCESS_NOT_GRANTED", shorten(record["actor"]), "access.granted for this name before it", "none")
        ]

    def find_policy_in_force(self) -> str | None:
        """Return the digest of the policy in force: “” if none is, None if the reader cannot know."""
        if self.activated is None:
            return None
        return self.activated[-1][1] if self.activated else ""

    # the request

    def _first(self, record: dict[str, Any], leaf: bytes, payload: dict[str, Any]) -> dict[str, Any]:
        source = record["actor_source"]
        case: dict[str, Any] = {
            "actor": record["actor"],
            "source": "typed" if source in TYPED else source,
            "login": record["actor"] if source == "operating_system" else None,
            "event_id": record["event_id"],
            "payload_sha256": record["payload_sha256"],
            "leaf": leaf.hex(),
            "operation": payload["operation"],
            "purpose": payload.get("purpose"),
            "signs": source == "signature",
            "key": None,
            "pending": None,
            "answers": [],
            "overridden": [],
        }
        if record["type"] == "change.proposed":
            case["pending"] = {"leaf": leaf.hex(), "policy": payload["required_by_sha256"]}
            case["change"] = {name: payload[name] for name in _CONTENT}
            case["change"]["access"] = payload.get("access")
        return case

    def _check_request_signature(
        self, case: dict[str, Any], record: dict[str, Any], payload: dict[str, Any]
    ) -> list[Found]:
        """Check the signature of a request, in the next record; if it is wrong, the actor counts as typed."""
        case["signs"] = False
        source, case["source"] = case["source"], "typed"
        who = shorten(case["actor"])
        if record["type"] != "request.signed":
            return [("REQUEST_SIGNATURE", who, "the request's signature in the next record", record["type"])]
        text = {
            "actor": case["actor"],
            "event_id": case["event_id"],
            "ledger_id": self.ledger_id,
            "login": payload["login"],
            "payload_sha256": case["payload_sha256"],
            "policy_sha256": payload["policy_sha256"],
            "statement": REQUEST_1,
            "stream": record["stream"],
        }
        digest = payload["policy_sha256"]
        cited = self.activated is None or any(digest == item for _, item in self.activated)
        rules = self.rules_of(digest) if cited else None
        if cited and rules is None:
            self.unjudged += 1
            return []
        keys = (
            [*rules.approvers.get(case["actor"], []), *rules.requesters.get(case["actor"], [])]
            if rules
            else []
        )
        case["key"] = self._find_signing_key(keys, text, payload)
        if record["actor"] != case["actor"] or case["key"] is None:
            return [("REQUEST_SIGNATURE", who, _SIGNED, _key_of(payload))]
        case["source"], case["login"] = source, payload["login"]
        return []

    def _may_ask(self, case: dict[str, Any], code: str) -> list[Found]:
        digest = self.find_policy_in_force()
        rules = (
            self.rules_of(case["pending"]["policy"] if digest is None else digest) if digest != "" else None
        )
        wanted = rules.requester if rules else None
        source = case["source"]
        if (wanted == "identified" and source == "typed") or (wanted == "signed" and source != "signature"):
            return [(code, shorten(case["actor"]), f"a requester who is {wanted}", source)]
        return []

    # answers

    def _check_answer(
        self, case: dict[str, Any], record: dict[str, Any], payload: dict[str, Any]
    ) -> list[Found]:
        if case["pending"] is None:  # found as a step that may not follow
            return []
        version, signed = record["schema_version"], payload["signature"] is not None
        answer = {
            "actor": record["actor"],
            "source": "typed",
            "login": payload.get("login"),
            "event_id": record["event_id"],
            "position": record["position"],
            "version": version,
            "policy": payload.get("policy_sha256"),
            "expires_at": payload.get("expires_at"),
            "key": None,
            "by_passkey": payload.get("passkey") is not None,
        }
        if record["type"] == "approval.granted":
            case["answers"].append(answer)
        found = self._check_cited_policy(record, answer)
        if not signed:
            if record["actor_source"] == "signature":
                return [*found, ("APPROVAL_SIGNATURE", shorten(record["actor"]), "a signature", "none")]
            answer["source"] = "typed" if record["actor_source"] in TYPED else record["actor_source"]
            return found
        policies = self._policies(case, answer)
        named = [rules for rules in map(self.rules_of, policies) if rules is not None]
        if len(named) < len(policies):
            self.unjudged += 1
        keys = [key for rules in named for key in rules.approvers.get(record["actor"], [])]
        statement = self._statement(case, record, payload)
        answer["key"] = self._find_signing_key(keys, statement, payload)
        if answer["key"] is not None:
            answer["source"] = "signature" if record["actor_source"] == "signature" else "typed"
        elif len(named) == len(policies) and self._knows(keys, payload, version):
            found.append(("APPROVAL_SIGNATURE", shorten(record["actor"]), _SIGNED, _key_of(payload)))
        return found

    def _knows(self, keys: Sequence[str], payload: dict[str, Any], version: int) -> bool:
        """Return whether `keys` are all possible keys, or include the one that is recorded as the signer."""
        if self.activated is not None or version > 1:
            return True
        self.unjudged += 1
        return any(key.split("+")[1:2] == [payload["key_id"]] for key in keys)

    def _check_cited_policy(self, record: dict[str, Any], answer: dict[str, Any]) -> list[Found]:
        """Check that an answer cites the policy in force; version 1 cites none and may not follow 2."""
        if answer["version"] == 1:
            if self.binding_since:
                expected = f"version 2, as since position {self.binding_since}"
                return [("APPROVAL_VERSION", shorten(record["actor"]), expected, "version 1")]
            return []
        self.binding_since = self.binding_since or record["position"]
        if self.find_policy_in_force() not in (None, "", answer["policy"]):
            who = shorten(record["actor"])
            return [
                (
                    "APPROVAL_POLICY",
                    who,
                    f"the policy in force, {self.find_policy_in_force()}",
                    shorten(answer["policy"]),
                )
            ]
        return []

    def _policies(self, case: dict[str, Any], answer: dict[str, Any]) -> list[str]:
        """Return the policies that may name the key that signed an answer."""
        if answer["version"] > 1:
            return [answer["policy"]]
        held = case["pending"]
        since = [digest for position, digest in self.activated or () if held["position"] < position]
        return [held["policy"], *since]

    def _statement(
        self, case: dict[str, Any], record: dict[str, Any], payload: dict[str, Any]
    ) -> dict[str, Any]:
        pending = case["pending"]
        text = {
            "actor": record["actor"],
            "ledger_id": self.ledger_id,
            "verdict": record["type"].partition(".")[2],
        }
        if record["schema_version"] == 1:
            more = {"decision_id": pending["decision_id"], "held_event_id": pending["event_id"]}
            return {**text, **more, "job_id": record["stream"], "statement": ANSWER_1}
        return {
            **text,
            "expires_at": payload["expires_at"],
            "login": payload["login"],
            "pending_leaf": pending["leaf"],
            "policy_sha256": payload["policy_sha256"],
            "requested_leaf": case["leaf"],
            "statement": ANSWER_2,
            "stream": record["stream"],
        }

    def _find_signing_key(
        self, keys: Sequence[str], statement: dict[str, Any], payload: dict[str, Any]
    ) -> str | None:
        """Return the key among `keys` that signed `statement`, None if none did."""
        text = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
        try:
            signature = _base64(payload["signature"])
            for key in keys:
                named = key.split("+")[1:2] == [payload["key_id"]]
                if named and self._has_signed(key, text.encode("utf-8"), payload, signature):
                    self.signatures += 1
                    return key
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            pass
        return None

    def _has_signed(self, key: str, text: bytes, payload: dict[str, Any], signature: bytes) -> bool:
        passkey = read_passkey(key)
        if passkey is None:
            signing = read_key(key)
            if payload.get("passkey") is not None or signing.kind != LOG_KEY:
                return False
            return self.verifies(signing.public_key, text, signature)
        signed = _read_signed_bytes(passkey, text, payload)
        verifies = self.verifies_es256 if passkey.algorithm == -7 else self.verifies
        return verifies(passkey.public_key, signed, signature)

    # decisions

    def _check_decision(self, case: dict[str, Any], payload: dict[str, Any]) -> list[Found]:
        basis = payload["basis"]
        inputs = basis["inputs"]
        digest = self.find_policy_in_force()
        rules = self.rules_of(basis["policy_sha256"] if digest is None else digest) if digest != "" else None
        found = self._set_aside(case, inputs, rules)
        if inputs.get("approved"):
            return found + _as_approved(case, payload)
        render = {
            "model": payload["model"],
            "purpose": case["purpose"],
            "operation": case["operation"],
            "change_verdict": inputs.get("change_verdict"),
            "guardrails": set(str(inputs.get("guardrails") or "").split(",")),
        }
        for rule in rules.approvals if rules else ():
            if _matches(rule, render, payload["cost_usd_micros"]):
                expected = f"approved by {rule['people']}"
                found.append((_NOT_PERMITTED, f"rule {shorten(rule['code'])}", expected, "decided without"))
        return found

    def _set_aside(self, case: dict[str, Any], inputs: dict[str, Any], rules: Rules | None) -> list[Found]:
        """Check that the policy allows the overrides of a decision, and that each was recorded."""
        found: list[Found] = []
        if rules is None:
            return found
        for code in filter(None, str(inputs.get("overridden") or "").split(",")):
            if code not in rules.overridable or code not in case["overridden"]:
                expected = "decision.overridden before it, of a denial that the policy lets be set aside"
                found.append((_NOT_PERMITTED, shorten(code), expected, "set aside without"))
        return found

    def _check_after_approval(self, case: dict[str, Any], record: dict[str, Any]) -> list[Found]:
        """Check that a ruling after an approval has every approval it needs and follows the last one."""
        held, answers = case["pending"], case["answers"]
        if not answers or any(answer["version"] == 1 for answer in answers):  # those were counted otherwise
            return []
        found: list[Found] = []
        if record["causation_id"] != answers[-1]["event_id"]:
            cause = shorten(record["causation_id"])
            found.append(
                (_NOT_PERMITTED, "causation_id", f"the last approval, {answers[-1]['event_id']}", cause)
            )
        under, then = self._find_rules_in_force(answers), self.rules_of(held["policy"])
        if under is None or then is None:
            self.unjudged += 1
            return found
        by_code = {rule["code"]: rule for rule in (*then.approvals, *under.approvals)}
        gone = [code for code in held["codes"] if code not in by_code]
        found += [(_NOT_PERMITTED, f"rule {shorten(code)}", "a rule of the policy", "none") for code in gone]
        rules = [by_code[code] for code in held["codes"] if code in by_code]
        return found + self._find_unmet_rules(case, rules, under, record["recorded_at"], _NOT_PERMITTED)

    def _find_rules_in_force(self, answers: Sequence[dict[str, Any]]) -> Rules | None:
        """Return the rules in force when the last of `answers` was recorded."""
        return self.rules_of(self.find_policy_in_force() or answers[-1]["policy"])

    def _find_unmet_rules(
        self, case: dict[str, Any], rules: Sequence[dict[str, Any]], under: Rules, at: str, code: str
    ) -> list[Found]:
        """Return a finding for each of `rules` that the approvals valid at that time do not satisfy."""
        found: list[Found] = []
        asker = self._requester(case, under)
        counted = _select_counting(asker, self._approvers(case["answers"], under, at))
        for rule in rules:
            wanted = sum(person.satisfies(rule) for person in counted)
            enough = rule["people"] + (asker.source == "typed")
            if wanted < rule["people"] or len(counted) < enough:
                expected = f"{enough} approvals that count, {rule['people']} of them as the rule wants"
                found.append((code, f"rule {shorten(rule['code'])}", expected, f"{len(counted)}, {wanted}"))
        return found

    # changes of the policy and of budgets

    def _check_proposal(self, case: dict[str, Any]) -> list[Found]:
        cited, in_force = case["pending"]["policy"], self.find_policy_in_force()
        if in_force not in (None, "", cited):
            what = f"the policy in force, {in_force}"
            return [(_CHANGE_NOT_PERMITTED, "required_by_sha256", what, shorten(cited))]
        return self._may_ask(case, _CHANGE_NOT_PERMITTED)

    def _check_change(self, record: dict[str, Any], payload: dict[str, Any]) -> list[Found]:
        """Check that a policy or limit was changed as the previous policy requires."""
        is_period = record["type"] == "budget.set" and self._begins_period(record, payload)
        change = self.applied if self.applied and _carries_out(self.applied, record, payload) else None
        digest = self.find_policy_in_force()
        if digest == "" or is_period or (digest is None and change is None):
            return []
        under = self._find_rules_in_force(change["answers"]) if change else self.rules_of(str(digest))
        then = self.rules_of(change["pending"]["policy"]) if change else under
        if under is None or then is None:
            self.unjudged += change is not None
            return []
        operation = CHANGES[record["type"]]
        rules = _rules_for(operation, under)
        if not rules:
            return []
        if change is None:
            codes = ", ".join(shorten(rule["code"]) for rule in rules)
            what = "the approval that carried it out, in the same append, as its cause"
            return [(_CHANGE_NOT_PERMITTED, f"{operation} by rule {codes}", what, "none")]
        named = {rule["code"] for rule in rules}
        rules += [rule for rule in _rules_for(operation, then) if rule["code"] not in named]
        return self._find_unmet_rules(change, rules, under, record["recorded_at"], _CHANGE_NOT_PERMITTED)

    def _begins_period(self, record: dict[str, Any], payload: dict[str, Any]) -> bool:
        """Return whether a record only repeats a monthly or daily limit for a new month or day."""
        budget, limit = payload["budget"], payload["limit_usd_micros"]
        if record["stream"] != f"budget_{budget}":
            return False
        name, _, last = budget.rpartition("__")
        if last in ("month", "day"):
            self.periods[budget] = (record["event_id"], limit)
        dated = _DATED.fullmatch(last)
        if dated is None or record["version"] != 1:
            return False
        every = f"{name}__{'day' if dated.group(1) else 'month'}"
        return self.periods.get(every) == (record["causation_id"], limit)

    def _requester(self, case: dict[str, Any], under: Rules) -> Person:
        source = case["source"]
        keys = [*under.approvers.get(case["actor"], []), *under.requesters.get(case["actor"], [])]
        if source == "signature" and case["key"] not in keys:
            source = "typed"
        return Person(case["actor"], source, case["login"])

    def _approvers(self, answers: Sequence[dict[str, Any]], under: Rules, decided_at: str) -> list[Person]:
        """Return the approvers; an approver whose key the policy does not name any more counts as typed."""
        people = []
        for answer in answers:
            source = answer["source"]
            if source == "signature" and answer["key"] not in under.approvers.get(answer["actor"], []):
                source = "typed"
            if answer["expires_at"] is None or answer["expires_at"] > decided_at:
                by_passkey = source == "signature" and answer["by_passkey"]
                people.append(Person(answer["actor"], source, answer["login"], by_passkey))
        return people


_RULINGS = ("render.decided", "render.held", "render.denied")
_CONTENT = ("policy_sha256", "catalog_sha256", "budget", "limit_usd_micros")
_DATED = re.compile(r"[0-9]{4}_[0-9]{2}(_[0-9]{2})?")
_NOT_PERMITTED = "DECISION_NOT_PERMITTED"
_CHANGE_NOT_PERMITTED = "CHANGE_NOT_PERMITTED"
_SIGNED = "a signature by a key that the policy names for them"


def _key_of(payload: dict[str, Any]) -> str:
    return f"key {shorten(payload['key_id'])}, which did not sign this"


def _pending(record: dict[str, Any], leaf: bytes, payload: dict[str, Any]) -> dict[str, Any]:
    """Return what is needed to check the answers to a hold, including the model that would render."""
    basis = payload["basis"]
    wished = basis["inputs"].get("wished_model")
    passed = [item for item in basis["candidates"] if not item["gates_failed"]]
    order = sorted(
        (item["model"] != wished, -(item["score"] or 0), item["cost_usd_micros"] or 0, item["model"])
        for item in passed
    )
    _, _, cost, model = order[0] if order else (True, 0, 0, None)
    return {
        "leaf": leaf.hex(),
        "event_id": record["event_id"],
        "decision_id": basis["decision_id"],
        "policy": basis["policy_sha256"],
        "codes": payload["reason_codes"],
        "position": record["position"],
        "model": model,
        "cost": cost,
    }


def _as_approved(case: dict[str, Any], payload: dict[str, Any]) -> list[Found]:
    """Check that a decision based on approvals follows them, and decides what was approved."""
    held = case["pending"]
    if held is None or not case["answers"]:
        return [(_NOT_PERMITTED, "inputs.approved", "a hold and approvals before it", "none")]
    model, cost = held["model"], held["cost"]
    if payload["model"] == model and payload["cost_usd_micros"] <= cost:
        return []
    what = f"{shorten(payload['model'])} at {payload['cost_usd_micros']}"
    return [(_NOT_PERMITTED, "what was approved", f"{shorten(model)} at {cost} or less", what)]


def _rules_for(operation: str, rules: Rules) -> list[dict[str, Any]]:
    """Return the rules for a change; without rules of its own, access follows those for the policy."""
    found = [rule for rule in rules.approvals if operation in (rule.get("operations") or ())]
    return _rules_for("policy.activate", rules) if operation == "access.grant" and not found else found


def _carries_out(applied: dict[str, Any], record: dict[str, Any], payload: dict[str, Any]) -> bool:
    """Return whether a record applies a change: next in the same append, with the proposed content."""
    approval, change = applied["answers"][-1], applied["change"]
    behind = record["position"] - applied["closed_at"]
    if (
        applied["operation"] != CHANGES[record["type"]]
        or record["causation_id"] != approval["event_id"]
        or approval["position"] != applied["closed_at"] - 1
        or not applied["stream"].startswith("change_")
    ):
        return False
    if record["type"] == "policy.activated":
        same = all(payload[name] == change[name] for name in ("policy_sha256", "catalog_sha256"))
        return behind == 1 and record["stream"] == "policy" and same
    if record["type"] == "access.granted":
        return behind == 1 and record["stream"] == "access" and bool(payload == change["access"])
    budgets = [change["budget"], _date_budget(str(change["budget"]), record["recorded_at"])]
    named = behind in (1, 2) and payload["budget"] == budgets[behind - 1]
    same = payload["limit_usd_micros"] == change["limit_usd_micros"]
    return named and same and record["stream"] == f"budget_{payload['budget']}"


def _date_budget(budget: str, recorded_at: str) -> str | None:
    """Return the budget for the month or day of a time; None if `budget` has no period."""
    name, _, period = budget.rpartition("__")
    length = {"month": 7, "day": 10}.get(period)
    return f"{name}__{recorded_at[:length].replace('-', '_')}" if length else None


def _select_counting(asker: Person, approvals: Sequence[Person]) -> list[Person]:
    """Return the approvers who differ from the requester, who may be anyone if typed, and from each other."""
    counted: list[Person] = []
    for one in approvals:
        another = one.source == "signature" if asker.source == "typed" else one.is_another_than(asker)
        if another and all(one.is_another_than(other) for other in counted):
            counted.append(one)
    return counted


# --- the zip file ----------------------------------------------------------------------------------------


class Archive:
    """A zip file whose names and sizes were checked; reads are limited."""

    def __init__(self, zip_file: zipfile.ZipFile, packed_bytes: int) -> None:
        self._zip = zip_file
        entries = zip_file.infolist()
        if len(entries) > MAX_FILES:
            raise Damaged("BUNDLE_SIZE", "the bundle", f"at most {MAX_FILES} files", len(entries))
        self.entries: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            self._check(entry)
            if entry.filename in self.entries:
                raise Damaged("BUNDLE_NAME", shorten(entry.filename), "each name once", "it twice")
            self.entries[entry.filename] = entry
        total = sum(entry.file_size for entry in entries)
        if total > MAX_TOTAL_BYTES:
            raise Damaged("BUNDLE_SIZE", "the bundle", f"at most {MAX_TOTAL_BYTES} bytes unpacked", total)
        if sum(entry.compress_size for entry in entries) > packed_bytes:
            raise Damaged("BUNDLE_SIZE", "the bundle", "files beside each other", "files over each other")
        for name in ALWAYS:
            if name not in self.entries:
                raise Damaged("BUNDLE_FILE", name, "the file", "none")

    @staticmethod
    def _check(entry: zipfile.ZipInfo) -> None:
        name = shorten(entry.filename)
        if not NAME.fullmatch(entry.filename) or entry.orig_filename != entry.filename:
            raise Damaged("BUNDLE_NAME", name, "a name of the format", "another")
        mode = entry.external_attr >> 16
        if entry.is_dir() or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
            raise Damaged("BUNDLE_NAME", name, "a plain file", "a link, a folder or a device")
        if entry.flag_bits & 0x1:
            raise Damaged("BUNDLE_FILE", name, "a file to read", "an encrypted one")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Damaged("BUNDLE_FILE", name, "stored or deflated", f"method {entry.compress_type}")
        if entry.file_size > SMALL_BYTES and entry.file_size > MAX_RATIO * entry.compress_size:
            raise Damaged("BUNDLE_SIZE", name, f"at most {MAX_RATIO} times its packed size", entry.file_size)

    def open(self, name: str) -> IO[bytes]:
        """Open one file for reading."""
        try:
            return self._zip.open(self.entries[name])
        except (*UNREADABLE, RuntimeError) as error:
            raise Damaged("BUNDLE_FILE", name, "a file to read", error) from None

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of a small file."""
        if self.entries[name].file_size > limit:
            raise Damaged("BUNDLE_SIZE", name, f"at most {limit} bytes", self.entries[name].file_size)
        try:
            with self.open(name) as file:
                return file.read(limit + 1)[:limit]
        except UNREADABLE as error:
            raise Damaged("BUNDLE_FILE", name, "bytes that can be unpacked", error) from None

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file, which is read in parts."""
        digest = hashlib.sha256()
        try:
            with self.open(name) as file:
                for part in iter(lambda: file.read(PART_BYTES), b""):
                    digest.update(part)
        except UNREADABLE as error:
            raise Damaged("BUNDLE_FILE", name, "bytes that can be unpacked", error) from None
        return digest.hexdigest()

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of a file without their newlines; the last line must end with one, too."""
        try:
            with self.open(name) as packed, io.BufferedReader(packed, PART_BYTES) as file:  # type: ignore[type-var]
                while True:
                    line = file.readline(MAX_LINE_BYTES + 1)
                    if not line:
                        return
                    if not line.endswith(b"\n"):
                        raise Damaged(
                            "BUNDLE_FILE", name, f"lines of up to {MAX_LINE_BYTES} bytes", "another"
                        )
                    yield line[:-1]
        except UNREADABLE as error:
            raise Damaged("BUNDLE_FILE", name, "bytes that can be unpacked", error) from None


# --- the bundle ------------------------------------------------------------------------------------------


class Outcome:
    """The result of a check: `findings`, and in plain words what is proven and what is not.

    `vouched_for` if the checkpoint is signed with a key that was given, or is the one the reader holds.
    """

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.more_findings = 0
        self.title = "a bundle"
        self.shows: list[str] = []
        self.shows_not: list[str] = []
        self.origin = ""
        self.size = 0
        self.root = ""
        self.records = 0
        self.signed_by: list[str] = []
        self.cosigned_by: list[str] = []
        self.timestamps: list[str] = []
        self.vouched_for = False
        self.texts = 0
        self.texts_absent = 0
        self.build: dict[str, Any] = {}

    def add(self, code: str, position: int | None, subject: str, expected: object, found: object) -> None:
        """Add a finding; beyond a thousand they are only counted."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(code, position, shorten(subject), shorten(expected), shorten(found)))
        else:
            self.more_findings += 1


class Trusted(NamedTuple):
    """What the reader knows from elsewhere: public keys, a checkpoint, and whose cosignatures are enough."""

    keys: Sequence[Key] = ()
    held: Head | None = None
    policy: Policy | None = None


def check_bundle(
    path: str,
    keys: Sequence[Key] = (),
    held: Head | None = None,
    policy: Policy | None = None,
    check: type[BundleCheck] | None = None,
) -> Outcome:
    """Check the bundle at `path`; `NotABundle` if it is not one. `check` is another class that checks it."""
    try:
        with open(path, "rb") as file:
            packed_bytes = file.seek(0, 2)
            with zipfile.ZipFile(file) as zip_file:
                return _check_zip(zip_file, packed_bytes, Trusted(keys, held, policy), check or BundleCheck)
    except (*UNREADABLE, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise NotABundle(f"{path}: no zip file that can be read ({shorten(why)})") from None


def _check_zip(
    zip_file: zipfile.ZipFile, packed_bytes: int, trusted: Trusted, check: type[BundleCheck]
) -> Outcome:
    outcome = Outcome()
    if "manifest.json" not in zip_file.namelist():
        raise NotABundle("a zip file without manifest.json: no bundle of a sora-ledger")
    try:
        archive = Archive(zip_file, packed_bytes)
        check(archive, outcome, trusted).run()
    except Damaged as damaged:
        outcome.findings.append(damaged.finding)
    return outcome


class BundleCheck:
    """The check of one bundle; `run` adds what it finds to the outcome."""

    def __init__(self, archive: Archive, outcome: Outcome, trusted: Trusted) -> None:
        self.archive = archive
        self.outcome = outcome
        self.keys, self.held, self.policy = trusted
        self.cited_documents: set[str] = set()
        self.cited_assets: set[str] = set()
        self.version = 0
        self.last_position = 0
        self.last_type = ""
        self.closed = False
        self.activated: list[tuple[int, str]] = []
        self.cases: dict[str, Any] = {}
        self.stored: dict[int, tuple[str, str]] = {}  # stream and leaf of the records that stored files
        self.permissions = Permissions(lru_cache(maxsize=32)(self._rules), None)

    def run(self) -> None:
        """Check the files of the bundle, and then what they say."""
        manifest = self._manifest()
        head = self._head(manifest)
        self.permissions.ledger_id = head.origin[len("sora-ledger/") :]
        if manifest["scope"]["kind"] == "all":
            self.permissions.activated = self.activated
        self._records(manifest["scope"], head)
        self._check_attached("documents", self.cited_documents, "documents (policies, catalogs)")
        self._check_attached("assets", self.cited_assets, "stored files")
        self._timestamps()
        self._provenance()
        self._limits(manifest["scope"])

    # manifest.json: names every other file with its size and digest

    def _manifest(self) -> dict[str, Any]:
        data = self.archive.read("manifest.json", MAX_MANIFEST_BYTES)
        try:
            manifest = strict_json(data)
        except (ValueError, RecursionError) as error:
            raise Damaged("BUNDLE_MANIFEST", "manifest.json", "canonical JSON", error) from None
        if manifest.get("format") not in FORMATS:
            raise NotABundle(
                f"a manifest of {shorten(manifest.get('format'))}; expected {' or '.join(FORMATS)}"
            )
        scope = manifest.get("scope")
        if not isinstance(scope, dict) or not _is_scope(scope):
            raise Damaged("BUNDLE_MANIFEST", "scope", "a job, a range or all", scope)
        files = manifest.get("files")
        if not isinstance(files, list) or not all(isinstance(item, dict) for item in files):
            raise Damaged("BUNDLE_MANIFEST", "files", "a list of files", files)
        self._files({str(item.get("name")): item for item in files}, len(files))
        build = manifest.get("build")
        self.outcome.build = build if isinstance(build, dict) else {}
        return manifest

    def _files(self, listed: dict[str, dict[str, Any]], count: int) -> None:
        there = set(self.archive.entries) - {"manifest.json"}
        if set(listed) != there or len(listed) != count:
            odd = " ".join(sorted(set(listed) ^ there)) or "a name twice"
            raise Damaged("BUNDLE_MANIFEST", "files", "every file of the bundle, once", odd)
        for name, item in sorted(listed.items()):
            size = self.archive.entries[name].file_size
            if item.get("bytes") != size:
                self.outcome.add("BUNDLE_FILE", None, name, f"{item.get('bytes')} bytes", size)
            found = self.archive.digest(name)
            if item.get("sha256") != found:
                self.outcome.add("BUNDLE_FILE", None, name, item.get("sha256"), found)
        if not self.outcome.findings:
            self.outcome.shows.append(
                f"The bundle came whole: its {count} files are the ones its manifest lists. (Who makes a "
                "bundle makes the manifest too.)"
            )

    # checkpoint: how long the log is, and its root

    def _head(self, manifest: dict[str, Any]) -> Head:
        try:
            head = read_head(self.archive.read("checkpoint", MAX_NOTE_BYTES))
        except ValueError as error:
            raise Damaged("CHECKPOINT", "checkpoint", "a C2SP checkpoint", error) from None
        out = self.outcome
        out.origin, out.size, out.root = head.origin, head.size, head.root.hex()
        self._signatures(head, manifest.get("verifier"))
        if self.policy is not None:
            self._check_cosignatures(head, self.policy)
        if self.held is None:
            out.shows_not.append(
                "That the ledger is still the same today, or that others were shown the same ledger: "
                "for that, compare the checkpoint with one that another party holds."
            )
        elif (self.held.origin, self.held.size) != (head.origin, head.size):
            what = f"{self.held.origin} at {self.held.size} records"
            out.add("CHECKPOINT_OTHER", None, "checkpoint", what, f"{head.origin} at {head.size}")
        elif self.held.root != head.root:
            out.add("CHECKPOINT_ROOT", None, "checkpoint", self.held.root.hex(), head.root.hex())
        else:
            out.vouched_for = True
            out.shows.append("The checkpoint is the one you hold.")
        return head

    def _signatures(self, head: Head, own_key: object) -> None:
        out = self.outcome
        try:
            out.signed_by = signers(head, self.keys)
        except ValueError as error:
            out.add("CHECKPOINT_SIGNATURE", None, "checkpoint", "a signature of this checkpoint", error)
            return
        if out.signed_by:
            out.vouched_for = True
            out.shows.append(
                f"The checkpoint is signed with the key you gave ({', '.join(map(shorten, out.signed_by))})."
            )
        elif self.keys:
            names = ", ".join(shorten(item[0]) for item in head.signatures) or "nobody"
            out.add(
                "CHECKPOINT_SIGNATURE", None, "checkpoint", "a signature by a key given", f"signed by {names}"
            )
        elif not head.signatures:
            out.shows_not.append("Who vouches for it: the checkpoint is not signed.")
        else:
            self._check_own_signature(head, own_key)

    def _check_cosignatures(self, head: Head, policy: Policy) -> None:
        out = self.outcome
        try:
            out.cosigned_by = cosigners(head, policy)
        except ValueError as error:
            out.add("CHECKPOINT_WITNESSES", None, "checkpoint", "valid cosignatures", error)
            return
        names = ", ".join(map(shorten, out.cosigned_by)) or "nobody"
        if not policy.is_met(set(out.cosigned_by)):
            out.add(
                "CHECKPOINT_WITNESSES",
                None,
                "checkpoint",
                "the quorum of your policy",
                f"cosigned by {names}",
            )
        elif out.cosigned_by:
            out.vouched_for = out.vouched_for or bool(policy.logs)  # witnesses cosign other logs too
            out.shows.append(
                f"The checkpoint is cosigned by witnesses you trust ({names}), which is enough by your "
                "policy: none of them has seen another history of this log."
            )

    def _check_own_signature(self, head: Head, own_key: object) -> None:
        out = self.outcome
        if own_key is None:
            names = ", ".join(shorten(item[0]) for item in head.signatures)
            out.shows_not.append(f"That {names} signed the checkpoint: no key to check it with (--verifier).")
            return
        try:
            names = ", ".join(signers(head, [read_key(str(own_key))]))
        except ValueError as error:
            out.add("CHECKPOINT_SIGNATURE", None, "checkpoint", "signed with the manifest's key", error)
            return
        if not names:
            out.add("CHECKPOINT_SIGNATURE", None, "checkpoint", "signed with the manifest's key", "it is not")
            return
        out.shows.append(f"The checkpoint is signed with the key in the manifest: {shorten(own_key)}")
        out.shows_not.append(
            "Whose key that is: the bundle brought it along. Compare it with the key you were given by "
            "another way (--verifier)."
        )

    # records.jsonl, payloads.jsonl, proofs.jsonl, bodies.jsonl: one line each, in the order of the log

    def _records(self, scope: dict[str, Any], head: Head) -> None:
        whole = WholeTree() if scope["kind"] == "all" else None
        payloads = self.archive.lines("payloads.jsonl")
        proofs = self._optional("proofs.jsonl")
        bodies = Bodies(self._optional("bodies.jsonl"), self.outcome)
        for line in self.archive.lines("records.jsonl"):
            self.outcome.records += 1
            payload_line = next(payloads, None)
            record = self._record(line, scope)
            position, leaf = record["position"], leaf_of(line)
            if whole is not None:
                whole.add(leaf)
            else:
                self._check_inclusion(leaf, position, next(proofs, None), head)
            if record["type"] == STORING and len(self.stored) < MAX_CITED:
                self.stored[position] = (record["stream"], leaf.hex())
            self._payload(record, leaf, payload_line, bodies)
        if next(payloads, None) is not None or next(proofs, None) is not None:
            raise Damaged("BUNDLE_FILE", "records.jsonl", "a record for each payload and proof", "fewer")
        bodies.end()
        self._end(scope, head, whole)

    def _optional(self, name: str) -> Iterator[bytes]:
        return self.archive.lines(name) if name in self.archive.entries else iter(())

    def _record(self, line: bytes, scope: dict[str, Any]) -> dict[str, Any]:
        place = f"line {self.outcome.records}"
        try:
            record = strict_json(line)
        except (ValueError, RecursionError) as error:
            raise Damaged("RECORD_NOT_CANONICAL", f"records.jsonl {place}", "canonical JSON", error) from None
        if set(record) != RECORD_KEYS or not _has_places(record):
            raise Damaged("RECORD_KEYS", f"records.jsonl {place}", "the keys of the format", sorted(record))
        position, stream = record["position"], record["stream"]
        if scope["kind"] == "job":
            if stream != scope["job_id"]:
                self.outcome.add("RECORD_OTHER", position, "stream", scope["job_id"], stream)
            if record["version"] != self.version + 1:
                self.outcome.add("VERSION_NOT_DENSE", position, stream, self.version + 1, record["version"])
            self.version = record["version"]
        elif self.last_position and position != self.last_position + 1:
            self.outcome.add("POSITION_NOT_DENSE", position, "position", self.last_position + 1, position)
        if position <= self.last_position:
            raise Damaged("POSITION_NOT_DENSE", f"records.jsonl {place}", "rising positions", position)
        self.last_position, self.last_type = position, shorten(record["type"])
        self.closed = self.closed or record["type"] == CLOSING
        return record

    def _check_inclusion(self, leaf: bytes, position: int, proof_line: bytes | None, head: Head) -> None:
        try:
            proof = strict_json(proof_line or b"")
            path = [bytes.fromhex(item) for item in proof["hashes"] if HEX.fullmatch(item)]
            if proof["position"] != position or len(path) != len(proof["hashes"]):
                raise ValueError("a proof of another record, or hashes that are none")
            root = root_of_path(leaf, position - 1, head.size, path)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            self.outcome.add("PROOF", position, "proofs.jsonl", "a proof of this record", error)
            return
        if root != head.root:
            self.outcome.add("PROOF", position, "root", head.root.hex(), root.hex())

    def _payload(self, record: dict[str, Any], leaf: bytes, line: bytes | None, bodies: Bodies) -> None:
        position = record["position"]
        found = hashlib.sha256(line or b"").hexdigest()
        if line is None or found != record["payload_sha256"]:
            self.outcome.add("PAYLOAD_DIGEST", position, "payload", record["payload_sha256"], found)
        try:
            payload = strict_json(line or b"")
        except (ValueError, RecursionError) as error:
            self.outcome.add("PAYLOAD_NOT_CANONICAL", position, "payload", "canonical JSON", error)
            return
        committed = {}
        for path, value in objects(payload):
            if len(value) == 1 and "commitment" in value:
                committed[str(value["commitment"])] = path
            self._cite(value)
        bodies.check(position, committed)
        try:
            self._permit(record, leaf, payload)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self.outcome.add("PAYLOAD_FIELDS", position, record["type"], "the fields of the format", error)

    def _permit(self, record: dict[str, Any], leaf: bytes, payload: dict[str, Any]) -> None:
        """Check the signatures of requests and approvals, and that each decision was permitted."""
        case = self.cases.pop(record["stream"], None)
        if is_followed(record, case):
            case, found = self.permissions.follow(case, record, leaf, payload)
            for item in found:
                self.outcome.add(item[0], record["position"], *item[1:])
        if record["type"] == "policy.activated":  # judged by the one before it
            self.activated.append((record["position"], payload["policy_sha256"]))
        if case is not None:
            self.cases[record["stream"]] = case

    def _rules(self, digest: str) -> Rules | None:
        """Return the rules about people of the policy with this digest, if the bundle has it unaltered."""
        name = f"documents/{digest}"
        if name not in self.archive.entries or self.archive.entries[name].file_size > MAX_LINE_BYTES:
            return None
        body = self.archive.read(name, MAX_LINE_BYTES)
        return read_rules(body) if hashlib.sha256(body).hexdigest() == digest else None

    def _cite(self, part: dict[str, Any]) -> None:
        """Collect the documents and files that a part of a payload cites."""
        for key in CITING:
            item = part.get(key)
            if not isinstance(item, str) or len(self.cited_assets) + len(self.cited_documents) > MAX_CITED:
                continue
            if key in CITING[-2:]:
                self.cited_assets.add(item)
            else:
                self.cited_documents.add(item)

    def _end(self, scope: dict[str, Any], head: Head, whole: WholeTree | None) -> None:
        out = self.outcome
        count, last = out.records, self.last_position
        out.title = _title(scope, count, head)
        if not count:
            out.add("RECORD_MISSING", None, "records.jsonl", "records", "none")
        if scope["kind"] == "range" and (count, last) != (scope["to"] - scope["from"] + 1, scope["to"]):
            expected = f"{scope['from']} to {scope['to']}"
            out.add("RECORD_MISSING", None, "records.jsonl", expected, f"{count} records up to {last}")
        if whole is not None and (whole.size, whole.root()) != (head.size, head.root):
            out.add("CHECKPOINT_ROOT", None, "the tree of all records", head.root.hex(), whole.root().hex())
        if not any(item.code in ("PROOF", "CHECKPOINT_ROOT", "RECORD_MISSING") for item in out.findings):
            out.shows.append(
                f"The {count} records are in the ledger {shorten(head.origin)} as it stood at {head.size} "
                f"records with root {head.root.hex()}, byte for byte: anyone who relies on the checkpoint "
                "can rely on them."
            )
        if not any(item.code.startswith("PAYLOAD") for item in out.findings):
            out.shows.append("What they say happened (the payloads) is what was recorded with them.")
        if out.texts:
            out.shows.append(
                f"{out.texts} private texts (prompts, notes and the like) are the ones that were recorded."
            )
        self._report_signatures()
        if out.texts_absent:
            out.shows_not.append(
                f"{out.texts_absent} private texts: they were left out of the bundle, or erased."
            )

    def _report_signatures(self) -> None:
        """Report what the signatures of people prove."""
        out, permissions = self.outcome, self.permissions
        if permissions.signatures:
            out.shows.append(
                f"{permissions.signatures} signatures of requests and approvals are right, by keys that the "
                "policies cited with them name for these people."
            )
            if permissions.activated is None:
                out.shows_not.append(
                    "That the policies cited were the ones in force: only the whole ledger shows which were."
                )
        if permissions.unjudged:
            out.shows_not.append(
                f"{permissions.unjudged} signatures or approvals could not be judged: the policies that name "
                "their keys are not here, or cannot be read."
            )

    # documents/ and assets/: files that go by their digest, cited by the payloads

    def _check_attached(self, folder: str, cited: set[str], what: str) -> None:
        out = self.outcome
        present = {
            name: name.split("/")[1][:64] for name in self.archive.entries if name.startswith(folder + "/")
        }
        unchanged = set()
        for name, digest in sorted(present.items()):
            found = self.archive.digest(name)
            if found != digest:
                out.add("ATTACHED_DIGEST", None, name, digest, found)
            elif digest in cited:
                unchanged.add(digest)
            if digest not in cited:
                out.add("ATTACHED_UNKNOWN", None, name, "a file that a record cites", "one that none does")
        if unchanged:
            out.shows.append(f"{len(unchanged)} {what} cited by the records, unchanged.")
        here = len(set(present.values()) & cited)
        absent = len({digest for digest in cited if HEX.fullmatch(digest)}) - here
        if absent:
            out.shows_not.append(f"{absent} {what} cited by the records: only digests are here.")

    # timestamps/ and provenance/: what can be read without X.509, CMS and C2PA

    def _timestamps(self) -> None:
        out, stampable_as = self.outcome, stampable(self.archive.read("checkpoint", MAX_NOTE_BYTES))
        for name in sorted(name for name in self.archive.entries if name.startswith("timestamps/")):
            data = self.archive.read(name, MAX_TIMESTAMP_BYTES)
            try:
                stamp = read_timestamp(data)
            except ValueError as error:
                out.add("TIMESTAMP", None, name, "a timestamp response of RFC 3161", error)
                continue
            if stamp.digest not in stampable_as:
                out.add("TIMESTAMP", None, name, "a timestamp of this checkpoint", f"of {stamp.digest.hex()}")
                continue
            out.timestamps.append(stamp.time)
            out.shows_not.append(
                f"That the checkpoint existed by {stamp.time}: a timestamp of it says so, but who signed "
                "that (X.509, CMS) is not checked here. With the certificates of an authority you trust: "
                f"openssl ts -verify -data checkpoint -in {name} -CAfile CERTIFICATES"
            )

    def _provenance(self) -> None:
        out, names = self.outcome, [name for name in self.archive.entries if name.startswith("provenance/")]
        for name in sorted(names):
            if (found := self.archive.digest(name)) != (digest := name.split("/")[1][:64]):
                out.add("ATTACHED_DIGEST", None, name, digest, found)
            elif name.endswith(".c2pa"):
                self._manifest_store(name)
        if names:
            out.shows_not.append(
                f"Who signed the C2PA manifests ({len(names)}), and that the films they are of are as they "
                "were signed: certificates (X.509), signatures (COSE) and hashes of content are not checked "
                "here. c2patool FILE checks a published film."
            )

    def _manifest_store(self, name: str) -> None:
        """Compare the record that a manifest names with the one in this bundle."""
        out = self.outcome
        try:
            claim = read_named_record(self.archive.read(name, MAX_MANIFEST_STORE_BYTES))
        except (ValueError, RecursionError) as error:
            out.add("PROVENANCE", None, name, "a C2PA manifest store", error)
            return
        if claim is None:
            return
        position = claim.get("position")
        held = self.stored.get(position) if isinstance(position, int) else None
        if held is None:
            out.shows_not.append(f"Which record {name} is of: it names {shorten(position)}, not here.")
        elif held != (claim.get("job"), claim.get("leaf")):
            expected, found = " ".join(held), f"{claim.get('job')} {claim.get('leaf')}"
            out.add("PROVENANCE", position, name, expected, found)
        else:
            out.shows.append(f"The manifest {name} names the record at position {position}, by its leaf.")

    def _limits(self, scope: dict[str, Any]) -> None:
        if scope["kind"] == "job":
            ended = (
                "The job had ended by then, though a review, a deletion or an erasure may have followed."
                if self.closed
                else "By then the job had not ended."
            )
            self.outcome.shows_not.append(
                f"That nothing more was recorded about this job. The last record here is its number "
                f"{self.version}, {self.last_type}, at position {self.last_position}. {ended} Later records "
                "can be left out unnoticed; the whole ledger shows whether there are any."
            )
        self.outcome.shows_not += [
            "That everything that happened was recorded: a ledger shows what it holds, not what is left out.",
            "That the clocks were right: the times are what computers said; only the order is proved.",
            "Who held the signing key, or that people are who the records say: names are as they were given.",
        ]


class Bodies:
    """Reads the private texts in step with the records they belong to."""

    parse = staticmethod(strict_json)

    def __init__(self, lines: Iterator[bytes], outcome: Outcome) -> None:
        self.lines = lines
        self.outcome = outcome
        self.next = self._read()

    def _read(self) -> dict[str, Any] | None:
        line = next(self.lines, None)
        if line is None:
            return None
        try:
            body = self.parse(line)
            if set(body) != {"commitment", "field", "position", "salt", "text"}:
                raise ValueError("other keys")
            texts = (body["commitment"], body["field"], body["salt"], body["text"])
            if not all(isinstance(text, str) for text in texts) or type(body["position"]) is not int:
                raise ValueError("values of another kind")
            if not SALT.fullmatch(body["salt"]) or len(body["salt"]) % 2:
                raise ValueError("not a salt")
        except (ValueError, RecursionError) as error:
            raise Damaged("BODY", "bodies.jsonl", "a private text", error) from None
        return body

    def check(self, position: int, committed: dict[str, str]) -> None:
        """Check the texts of one record against its commitments (commitment → field)."""
        absent = dict(committed)
        while self.next is not None and self.next["position"] <= position:
            body, self.next = self.next, self._read()
            field = absent.pop(body["commitment"], None)
            if field is None or body["position"] != position or field != body["field"]:
                self.outcome.add(
                    "BODY_UNKNOWN", position, body["field"], "a text the record commits to", "another"
                )
            else:
                message = DOMAIN + field.encode("utf-8") + b"\0" + body["text"].encode("utf-8")
                found = hmac.digest(bytes.fromhex(body["salt"]), message, "sha256").hex()
                if found != body["commitment"]:
                    self.outcome.add("BODY_MISMATCH", position, field, body["commitment"], found)
                else:
                    self.outcome.texts += 1
        self.outcome.texts_absent += len(absent)

    def end(self) -> None:
        """Report the texts that belong to no record."""
        if self.next is not None:
            self.outcome.add("BODY_UNKNOWN", None, "bodies.jsonl", "texts of the records here", "another")


def _is_scope(scope: dict[str, Any]) -> bool:
    kind = scope.get("kind")
    if kind == "job":
        return isinstance(scope.get("job_id"), str)
    if kind == "range":
        return all(type(scope.get(end)) is int and scope[end] > 0 for end in ("from", "to"))
    return kind == "all"


def _has_places(record: dict[str, Any]) -> bool:
    integers = [record[name] for name in ("position", "schema_version", "version")]
    texts = [record[name] for name in _TEXTS]
    return {*map(type, integers)} == {int} and min(integers) > 0 and {*map(type, texts)} == {str}


_TEXTS = ("actor", "actor_source", "event_id", "payload_sha256", "recorded_at", "stream", "type")


def objects(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object in a document with its dotted path."""
    rest: list[tuple[str, Any]] = [("", document)]
    while rest:  # objects and lists
        path, value = rest.pop()
        if isinstance(value, dict):
            yield path, value
            items: Iterable[tuple[Any, Any]] = value.items()
        else:
            items = enumerate(value)
        for key, item in items:
            if isinstance(item, (dict, list)):
                rest.append((f"{path}.{key}" if path else str(key), item))


def _title(scope: dict[str, Any], count: int, head: Head) -> str:
    what = {
        "job": f"job {shorten(scope.get('job_id'))}",
        "range": f"positions {scope.get('from')} to {scope.get('to')}",
        "all": "everything",
    }[scope["kind"]]
    return f"{what}: {count} records of the ledger {shorten(head.origin)}"


# --- for people ------------------------------------------------------------------------------------------


def report(outcome: Outcome) -> str:
    """Return the result in plain words."""
    lines = [f"Evidence about {outcome.title}", ""]
    if outcome.findings:
        lines += ["What is WRONG with it"]
        for item in outcome.findings:
            where = "" if item.position is None else f" at position {item.position}"
            lines += [f"  ! {item.code}{where}, {item.subject}"]
            lines += [f"      expected {item.expected}", f"      found    {item.found}"]
        lines += [f"  ! and {outcome.more_findings} more"] if outcome.more_findings else []
        lines += [""]
    lines += ["What this shows", *(f"  + {text}" for text in outcome.shows), ""]
    lines += ["What this does not show", *(f"  - {text}" for text in outcome.shows_not), ""]
    return "\n".join([*lines, _verdict(outcome)])


def _verdict(outcome: Outcome) -> str:
    if outcome.findings:
        return "Do not rely on it."
    if outcome.vouched_for:
        return "Nothing is wrong with it."
    return (
        "Nothing is wrong with it in itself. But anybody can make such a bundle, checkpoint and all: say by\n"
        "which key you know the ledger (--verifier), or which checkpoint of it you hold (--checkpoint)."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(prog="verify_bundle.py", description="Check a bundle of a sora-ledger.")
    parser.add_argument("bundle")
    parser.add_argument("--verifier", action="append", default=[], metavar="VKEY")
    parser.add_argument("--checkpoint", metavar="FILE")
    parser.add_argument("--witnesses", metavar="FILE")
    options = parser.parse_args(arguments)
    try:
        keys = [read_key(text) for text in options.verifier]
        outcome = check_bundle(
            options.bundle, keys, _read_held_head(options.checkpoint), _policy(options.witnesses)
        )
    except (NotABundle, OSError, ValueError) as error:
        print(f"cannot check {options.bundle}: {error}", file=sys.stderr)
        return CANNOT_READ
    print(report(outcome))
    return FOUND_SOMETHING if outcome.findings else DONE


def _read_held_head(path: str | None) -> Head | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return read_head(file.read(MAX_NOTE_BYTES + 1))


def _policy(path: str | None) -> Policy | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return read_policy(file.read(MAX_POLICY_BYTES + 1))


if __name__ == "__main__":
    sys.exit(main())
