"""Certificates that sign C2PA manifests: import a chain with its key, or make a test authority.

A certificate file holds the private key and the chain, the signer's certificate first, in PEM. It has mode
0600 and is never overwritten. No message and no `repr` contains any part of the key.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from render_service.runtime.errors import BadInput
from render_service.runtime.files import read_file, write_secret

LIMIT_BYTES = 256_000
OTHERS = 0o077
SHORTEST_RSA_BITS = 2_048
MOST_NAME = 64
TEST_DAYS = 30
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_USAGES = {
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
    ObjectIdentifier("1.3.6.1.5.5.7.3.36"),  # document signing
    ObjectIdentifier("1.3.6.1.4.1.62558.2.1"),  # C2PA claim signing
}
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Certificate:
    """A chain that signs manifests; `key` is the private key in PEM."""

    algorithm: str
    signer: str
    sha256: str
    not_before: datetime
    not_after: datetime
    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)

    def check_valid_at(self, now: datetime, where: str) -> None:
        """Raise `BadInput` unless the certificate is valid at `now`."""
        if now >= self.not_after:
            raise BadInput(
                f"{where}: the certificate of {self.signer} expired on {self.not_after:%Y-%m-%d}; "
                "import its successor with `sora-ledger key certificate`",
                param="certificate",
                expected="a certificate that is valid today",
                found=f"one that expired on {self.not_after:%Y-%m-%d}",
            )
        if now < self.not_before:
            raise BadInput(
                f"{where}: the certificate of {self.signer} is not valid before "
                f"{self.not_before:%Y-%m-%d %H:%M} UTC: check the clock of this machine",
                param="certificate",
                expected="a certificate that is valid today",
                found=f"one that begins on {self.not_before:%Y-%m-%d}",
            )


def read_certificate(path: Path, now: datetime) -> Certificate:
    """Return the certificate in the file at `path`; `BadInput` unless it can sign at `now`."""
    where = f"certificate {path}"
    content = read_file(path, "certificate", LIMIT_BYTES)
    if path.stat().st_mode & OTHERS:
        raise BadInput(
            f"{where}: other users can read the key in it; run `chmod 600 {path}`",
            param="certificate",
            expected="a file that only you can read",
            found="one that others can read",
        )
    certificate = _certificate(content, content, where)
    certificate.check_valid_at(now, where)
    return certificate


def import_certificate(target: Path, chain: Path, key: Path, now: datetime) -> Certificate:
    """Write the chain and the key, once checked, to the new file `target`."""
    certificate = _certificate(
        read_file(chain, "certificate chain", LIMIT_BYTES),
        read_file(key, "private key", LIMIT_BYTES),
        f"certificate chain {chain}",
    )
    certificate.check_valid_at(now, f"certificate chain {chain}")
    write_secret(target, certificate.key + certificate.chain, "certificate file", "certificate")
    return certificate


def make_test_certificate(target: Path, name: str, now: datetime) -> tuple[Certificate, Path]:
    """Make an authority for tests and a certificate under it; return it and the file of the authority.

    The authority's key is discarded. Nobody else trusts it: readers show its manifests as valid, from an
    unknown signer.
    """
    if not name.isprintable() or not 1 <= len(name) <= MOST_NAME:
        raise BadInput(
            f"--name: expected 1 to {MOST_NAME} printable characters",
            param="name",
            expected=f"1 to {MOST_NAME} printable characters",
            found=name,
        )
    authority = target.with_name(f"{target.name}.authority.pem")
    if authority.exists():
        raise BadInput(
            f"{authority}: it already exists and is never replaced; name another file",
            param="certificate",
            expected="a new name",
            found="a file of this name",
        )
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    begin, end = now - timedelta(hours=1), now + timedelta(days=TEST_DAYS)
    root_name = _make_name("sora-ledger test authority")
    root = (
        x509.CertificateBuilder(root_name, root_name, root_key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        x509.CertificateBuilder(root_name, _make_name(name), key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    root_pem = root.public_bytes(Encoding.PEM)
    content = _pem(key) + leaf.public_bytes(Encoding.PEM) + root_pem
    certificate = _certificate(content, content, f"certificate {target}")
    write_secret(target, content, "certificate file", "certificate")
    write_secret(authority, root_pem, "certificate file", "certificate")
    return certificate, authority


def _make_name(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, name),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _certificate(chain_pem: bytes, key_pem: bytes, where: str) -> Certificate:
    """Check a chain and its key, and return them, by answering these questions in order.

    1. Are there certificates and a key that can be read?
    2. Is it a kind of key that C2PA knows, and the one of the first certificate?
    3. Does each certificate of the chain vouch for the one before it?
    4. May the first one sign such statements?
    """
    try:  # 1
        certificates = x509.load_pem_x509_certificates(chain_pem)
    except ValueError:
        raise BadInput(
            f"{where}: expected certificates in PEM form, the signer's first",
            param="certificate",
            expected="certificates in PEM form, the signer's first",
            found="none",
        ) from None
    key = _private_key(key_pem, where)
    leaf = certificates[0]
    if _public(key) != leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):  # 2
        raise BadInput(
            f"{where}: the key is not the one of the first certificate, {_common_name(leaf)}; the signer's "
            "certificate comes first",
            param="certificate",
            expected="the key of the first certificate",
            found="another key",
        )
    _check_chain(certificates, where)  # 3
    _check_usage(leaf, where)  # 4
    return Certificate(
        algorithm=_algorithm(key, where),
        signer=_common_name(leaf),
        sha256=leaf.fingerprint(hashes.SHA256()).hex(),
        not_before=max(certificate.not_valid_before_utc for certificate in certificates),
        not_after=min(certificate.not_valid_after_utc for certificate in certificates),
        chain=b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates),
        key=_pem(key),
    )


def _private_key(pem: bytes, where: str) -> Key:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise BadInput(
            f"{where}: the private key is encrypted; decrypt it first (`openssl pkey -in KEY -out PLAIN`)",
            param="certificate",
            expected="a private key that is not encrypted",
            found="an encrypted one",
        ) from None
    except ValueError:
        raise BadInput(
            f"{where}: expected a private key in PEM form beside the chain",
            param="certificate",
            expected="a private key in PEM form beside the chain",
            found="none",
        ) from None
    if not isinstance(key, Key):
        raise BadInput(
            f"{where}: expected an EC, RSA or Ed25519 key (ES256, PS256, Ed25519)",
            param="certificate",
            expected="an EC, RSA or Ed25519 key (ES256, PS256, Ed25519)",
            found="another key",
        )
    return key


def _algorithm(key: Key, where: str) -> str:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < SHORTEST_RSA_BITS:
            raise BadInput(
                f"{where}: expected an RSA key of at least {SHORTEST_RSA_BITS} bits",
                param="certificate",
                expected=f"an RSA key of at least {SHORTEST_RSA_BITS} bits",
                found="a shorter one",
            )
        return "ps256"
    if key.curve.name not in _CURVES:
        raise BadInput(
            f"{where}: expected a key on P-256, P-384 or P-521, found {key.curve.name}",
            param="certificate",
            expected="a key on P-256, P-384 or P-521",
            found=key.curve.name,
        )
    return _CURVES[key.curve.name]


def _check_chain(certificates: Sequence[x509.Certificate], where: str) -> None:
    leaf = certificates[0]
    if leaf.issuer == leaf.subject:
        raise BadInput(
            f"{where}: {_common_name(leaf)} signed its own certificate, which C2PA readers refuse; "
            "get one from an authority, or try with `--test-ca`",
            param="certificate",
            expected="a certificate of an authority",
            found=f"one that {_common_name(leaf)} signed itself",
        )
    for certificate, issuer in itertools.pairwise(certificates):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, TypeError, ValueError):
            raise BadInput(
                f"{where}: {_common_name(issuer)} did not issue the certificate before it, "
                f"{_common_name(certificate)}; give the chain in order, the signer's certificate first",
                param="certificate",
                expected="the chain in order",
                found=f"{_common_name(issuer)} after {_common_name(certificate)}",
            ) from None


def _check_usage(leaf: x509.Certificate, where: str) -> None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (x509.ExtensionNotFound, ValueError):
        usage, purposes = None, set()
    if usage is None or not usage.digital_signature or not purposes & _USAGES:
        raise BadInput(
            f"{where}: {_common_name(leaf)} may not sign content: expected the key usage "
            "digitalSignature and an extended key usage such as emailProtection or C2PA claim signing",
            param="certificate",
            expected="the key usage digitalSignature and an extended one for content",
            found="a certificate without them",
        )


def _public(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(names[0].value) if names else certificate.subject.rfc4514_string()
    return "".join(letter for letter in text if letter.isprintable())[:MOST_NAME] or "a nameless signer"
