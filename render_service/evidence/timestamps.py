"""Timestamps of checkpoints: RFC 3161, from any time-stamping authority, in standard ``.tsr`` files.

An authority signs a digest and the time it saw it. With the certificates of an authority that the reader
trusts, a checkpoint with its timestamp shows that the records it counts existed by then, whatever the clock
of the ledger said. ``FILE.tsr`` is next to the checkpoint ``FILE``: the authority's answer to a digest of
that file, which ``openssl ts -verify -data FILE -in FILE.tsr -CAfile CERTIFICATES`` checks too.

Later signatures are added after the stamped ones, so a timestamp counts for a checkpoint if it covers all of
it, or its beginning up to one of its signatures.

The package is the extra ``timestamps``, imported when a timestamp is made or checked. `publishing` asks
authorities.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.record import timestamp
from ledger.tree.checkpoint import MAX_NOTE_BYTES
from ledger.verify.verify_bundle import MAX_TIMESTAMP_BYTES, stampable
from render_service.evidence.checkpoints import Comparison
from render_service.runtime.errors import BadInput, NotStamped
from render_service.runtime.files import read_file
from render_service.runtime.printable import printable

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

SUFFIX = ".tsr"
CHAIN_LIMIT_BYTES = 1 << 20
_X509 = "cryptography.x509"


@dataclass(frozen=True)
class Stamp:
    """A checked timestamp: the time it states, who signed it, and the bytes of the ``.tsr`` file."""

    at: datetime
    authority: str
    token: bytes


def read_chain(path: Path) -> "list[Certificate]":
    """Return the certificates in the PEM file at `path`, the trust root of timestamps."""
    data = read_file(path, "certificates", CHAIN_LIMIT_BYTES)
    try:
        return list(import_module(_X509).load_pem_x509_certificates(data))
    except ValueError as error:
        raise BadInput(
            f"certificates {path}: expected PEM, one or more “BEGIN CERTIFICATE” ({error}); name the file "
            "of the time-stamping authority's root certificates",
            param="tsa_chain",
            expected="PEM, one or more “BEGIN CERTIFICATE”",
            found=error,
        ) from None


def check_stamp(path: Path, chain: "list[Certificate]") -> Stamp:
    """Check the timestamp next to the checkpoint at `path`; `NotStamped` says what is wrong with it."""
    beside = path.with_name(path.name + SUFFIX)
    token = read_file(beside, "timestamp", MAX_TIMESTAMP_BYTES)
    note = read_file(path, "checkpoint", MAX_NOTE_BYTES)
    return check_token(token, stampable(note), chain, f"timestamp {beside}", None)


def add_date(comparison: Comparison, file: Path, chain: Path) -> Comparison:
    """Return `comparison` with the time at which the timestamp beside `file` dates it, or the problem."""
    try:
        checked = check_stamp(file, read_chain(chain))
    except NotStamped as error:
        return replace(comparison, trouble=[*comparison.trouble, str(error)])
    return replace(comparison, stamped_at=f"{timestamp(checked.at)} by {checked.authority}")


def check_token(
    token: bytes, digests: set[bytes], chain: "list[Certificate]", what: str, nonce: int | None
) -> Stamp:
    """Check a timestamp in this order: its status, its digest, certificates at the stated time, its nonce."""
    client = timestamp_client()
    try:
        response = client.decode_timestamp_response(token)
    except ValueError:
        raise NotStamped(
            f"{what}: not a timestamp of RFC 3161 ({len(token)} bytes)",
            param="timestamp",
            expected="a timestamp of RFC 3161",
            found=f"{len(token)} other bytes",
        ) from None
    if response.status > 1:  # granted, or granted with modifications
        words = "; ".join(map(str, response.status_string or ())) or f"status {response.status}"
        raise NotStamped(
            f"{what}: the authority refused ({printable(words)})",
            param="timestamp",
            expected="a timestamp",
            found=printable(words),
        )
    builder = client.VerifierBuilder(roots=list(chain), nonce=nonce)
    try:
        info = response.tst_info
        digest = bytes(info.message_imprint.message)
        if digest not in digests:
            raise NotStamped(
                f"{what}: it is of another checkpoint, or this one was changed since",
                param="timestamp",
                expected="a timestamp of this checkpoint",
                found="one of another",
            )
        builder.build().verify(response, digest)
        at, signer = info.gen_time, _signer(response)
    except (client.VerificationError, ValueError) as error:
        raise NotStamped(
            f"{what}: {_reason(str(error))}; name the certificates of this authority with --tsa-chain",
            param="tsa_chain",
            expected="a timestamp of a known authority",
            found=_reason(str(error)),
        ) from None
    return Stamp(at, printable(signer), token)


def _reason(text: str) -> str:
    return printable(text[:1].lower() + text[1:]).removesuffix(".")


def _signer(response: Any) -> str:
    """Return the subject of the certificate that signed; the caller has checked that it is there."""
    for signer in response.signed_data.signer_infos:
        for data in response.signed_data.certificates:
            certificate = import_module(_X509).load_der_x509_certificate(data)
            if (certificate.issuer, certificate.serial_number) == (signer.issuer, signer.serial_number):
                return str(certificate.subject.rfc4514_string())
    return "a certificate that is not in the timestamp"


def timestamp_client() -> Any:
    """Return the package that makes and checks timestamps; `BadInput` names the required extra."""
    try:
        return import_module("rfc3161_client")
    except ImportError:
        raise BadInput(
            "timestamps need an extra package: pip install 'sora-ledger[timestamps]'",
            param="timestamp",
            expected="the extra timestamps",
            found="it is not installed",
        ) from None
