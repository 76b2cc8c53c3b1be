"""C2PA certificates, signed clips and readers made without our own code: what strangers have."""

import datetime as dt
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from c2pa import (
    Builder,
    C2paBuilderIntent,
    C2paDigitalSourceType,
    C2paSignerInfo,
    Context,
    Reader,
    Signer,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
DAY = dt.timedelta(days=1)
KEYS: dict[str, Callable[[], Any]] = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


@dataclass(frozen=True)
class Credentials:
    """A signer's chain and key in PEM, and the authority that vouches for it."""

    algorithm: str
    chain: bytes
    authority: bytes
    key: bytes


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example Video"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    blank = dict.fromkeys((*names, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=signs, key_cert_sign=not signs, crl_sign=not signs, **blank)


def credentials(algorithm: str = "es256", *, ends_in: dt.timedelta = 30 * DAY) -> Credentials:
    """Return a new authority's chain for a new key, valid from 60 days ago."""
    now = dt.datetime.now(dt.UTC)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), KEYS[algorithm]()
    root = (
        x509.CertificateBuilder(_name("Example Root"), _name("Example Root"), root_key.public_key(), 1)
        .not_valid_before(now - 60 * DAY)
        .not_valid_after(now + 60 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        x509.CertificateBuilder(root.subject, _name("Example Signer"), key.public_key(), 4711)
        .not_valid_before(now - 60 * DAY)
        .not_valid_after(now + ends_in)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    pem = [one.public_bytes(Encoding.PEM) for one in (leaf, root)]
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Credentials(algorithm, b"".join(pem), pem[1], secret)


def signed(clip: bytes, by: Credentials, **definition: Any) -> bytes:
    """Return `clip` with a manifest that says it was made by AI."""
    settings = {"verify": {"verify_after_sign": False}, "builder": {"thumbnail": {"enabled": False}}}
    info = C2paSignerInfo(by.algorithm, by.chain, by.key, None)
    target = io.BytesIO()
    with (
        Context.from_dict(settings) as context,
        Builder({"title": "a", **definition}, context=context) as made,
    ):
        made.set_intent(C2paBuilderIntent.CREATE, C2paDigitalSourceType.TRAINED_ALGORITHMIC_MEDIA)
        with Signer.from_info(info) as signer:
            made.sign(signer, "video/mp4", io.BytesIO(clip), target)
    return target.getvalue()


def read(clip: bytes, authority: bytes | None = None) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return what a stranger's reader says: the state, the active manifest, and everything."""
    trust = {"trust": {"trust_anchors": authority.decode()}} if authority else {}
    with (
        Context.from_dict(trust) as context,
        Reader("video/mp4", io.BytesIO(clip), context=context) as reader,
    ):
        store = json.loads(reader.json())
        return str(reader.get_validation_state()), store["manifests"][store["active_manifest"]], store


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box of an MP4."""
    return (len(content) + 8).to_bytes(4) + kind + content


def split(clip: bytes) -> tuple[bytes, bytes, bytes]:
    """Return what is before the manifest of `clip`, the box of the manifest, and what is behind it."""
    at = clip.index(b"uuid" + C2PA_UUID) - 4
    end = at + int.from_bytes(clip[at : at + 4])
    return clip[:at], clip[at:end], clip[end:]


def with_xmp(clip: bytes, body: str) -> bytes:
    """Return `clip` with an XMP packet behind everything else."""
    packet = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>{body}</rdf:RDF></x:xmpmeta>'
    return clip + box(b"uuid", XMP_UUID + packet.encode())
