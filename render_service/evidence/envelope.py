"""Statements for other policy engines: in-toto statements in DSSE envelopes, signed with Ed25519.

An in-toto statement (https://in-toto.io/Statement/v1) states a predicate about subjects: files identified by
their digests. A DSSE envelope holds the bytes of the statement in base64 and signatures of

    PAE = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body

so a signature of one type of body is not valid for another. Keys and the `keyid` are those of checkpoints.
"""

import base64
import json
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.tree.checkpoint import Signer
from render_service.runtime.documents import Json

STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


class Subject(NamedTuple):
    """A file, or a tree, that a statement is about."""

    name: str
    sha256: str


def statement(subjects: Sequence[Subject], predicate_type: str, predicate: Json) -> Json:
    """Return an in-toto statement."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": subject.name, "digest": {"sha256": subject.sha256}} for subject in subjects],
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def envelope(document: Json, signer: Signer) -> Json:
    """Return a DSSE envelope of a statement, signed."""
    body = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    signature = Ed25519PrivateKey.from_private_bytes(signer.seed).sign(encode_pre_authentication(body))
    return {
        "payload": base64.b64encode(body).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": signer.verifier.key_id.hex(), "sig": base64.b64encode(signature).decode()}],
    }


def encode_pre_authentication(body: bytes) -> bytes:
    """Return the bytes that are signed."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)
