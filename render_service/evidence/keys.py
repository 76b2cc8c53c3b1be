"""Signing keys, in files that only their owner can read; public keys and trust policies for verification."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ledger.tree.checkpoint import CheckpointInvalid, Signer, Verifier
from ledger.tree.trust_policy import MAX_POLICY_BYTES, PolicyInvalid, TrustPolicy
from render_service.runtime.errors import BadInput
from render_service.runtime.files import read_file, write_secret
from render_service.runtime.printable import printable

KEY_LIMIT_BYTES = 4_096
OWNER_ONLY = 0o600
OTHERS = 0o077
_FOREIGN = {
    b"-----BEGIN": "a PEM key",
    b"ssh-": "an SSH key",
    b"openssh-key-v1": "an SSH key",
    b"untrusted comment": "a signify or minisign key",
    b"AGE-SECRET-KEY": "an age key",
}


@dataclass(frozen=True)
class NamedPolicy:
    """A trust policy, and the digest of its file."""

    trust: TrustPolicy
    sha256: str


def new_key(path: Path, name: str) -> Verifier:
    """Create an Ed25519 key that signs as `name`, in a new file of mode 0600; return its public key."""
    try:
        signer = Signer.generate(name)
    except CheckpointInvalid as error:
        raise BadInput(f"--name: {error}", param="name", expected="a name of a key", found=error) from None
    write_secret(path, f"{signer.secret()}\n".encode(), "key file", "key")
    return signer.verifier


def read_signer(path: Path) -> Signer:
    """Return the signing key in the file at `path`; errors never contain any part of it."""
    text = _key_text(path, "signing key")
    if not text.startswith("PRIVATE+KEY+") and _is_verifier(text):
        raise BadInput(
            f"signing key {path}: this is a public key, which cannot sign; "
            "name the file that `key new` wrote",
            param="key",
            expected="a key that signs",
            found="a public key",
        )
    try:
        signer = Signer.parse(text)
    except CheckpointInvalid as error:
        detail = str(error).removeprefix("signing key: ")
        raise BadInput(
            f"signing key {path}: {detail}; `sora-ledger key new FILE` creates one",
            param="key",
            expected="a key that `sora-ledger key new` wrote",
            found=detail,
        ) from None
    if path.stat().st_mode & OTHERS:
        raise BadInput(
            f"signing key {path}: other users can read it; run `chmod 600 {path}`, or create a new one",
            param="key",
            expected="a file that only you can read",
            found="one that others can read",
        )
    return signer


def read_verifier(value: str) -> Verifier:
    """Return a public key from its text, from a file that contains it, or from a signing key file."""
    path = Path(value)
    text = _key_text(path, "verifier key") if "+" not in value or path.is_file() else value.strip()
    try:
        return Signer.parse(text).verifier if text.startswith("PRIVATE+KEY+") else Verifier.parse(text)
    except CheckpointInvalid as error:
        where = f"verifier key {path}" if text != value.strip() else "--verifier"
        detail = str(error).removeprefix("verifier key: ")
        raise BadInput(
            f"{where}: {detail}; `sora-ledger key show FILE` prints one",
            param="verifier",
            expected="a verifier key",
            found=detail,
        ) from None


def read_policy(path: Path) -> NamedPolicy:
    """Return the trust policy in the file at `path`; `BadInput` gives the line of an error."""
    data = read_file(path, "witness policy", MAX_POLICY_BYTES)
    try:
        return NamedPolicy(TrustPolicy.parse(data), hashlib.sha256(data).hexdigest())
    except PolicyInvalid as error:
        raise BadInput(
            f"witness policy {path}: {printable(str(error))}; docs/witnesses.md describes the file",
            param="witnesses",
            expected="a witness policy",
            found=printable(str(error)),
        ) from None


def _is_verifier(text: str) -> bool:
    try:
        Verifier.parse(text)
    except CheckpointInvalid:
        return False
    return True


def _key_text(path: Path, what: str) -> str:
    data = read_file(path, what, KEY_LIMIT_BYTES)
    for beginning, kind in _FOREIGN.items():
        if data.lstrip().startswith(beginning):
            raise BadInput(
                f"{what} {path}: expected an Ed25519 key in signed-note form, found {kind}; "
                "`sora-ledger key new FILE` creates one",
                param="key",
                expected="an Ed25519 key in signed-note form",
                found=kind,
            )
    try:
        return data.decode().strip()
    except UnicodeDecodeError:
        raise BadInput(
            f"{what} {path}: expected one line of text, found binary data",
            param="key",
            expected="one line of text",
            found="binary data",
        ) from None
