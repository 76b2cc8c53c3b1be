"""Check requests, approvals and decisions along the log, by the rules of `verify_bundle`."""

import hashlib
import json
from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from ledger.verify.report import Report
from ledger.verify.rules import Json
from ledger.verify.spill import Memory, Stream
from ledger.verify.strict import as_bytes
from ledger.verify.verify_bundle import HEX, Permissions, Rules, is_followed, read_rules

_MOST_ACTIVATIONS = 10_000
_RULES_AT_HAND = 32


class Approvals:
    """Who requested, approved and decided, stream by stream, under the policies in the documents.

    With `all_of_it`, every activation of a policy is read; otherwise a policy counts as in force if a record
    says so.
    """

    def __init__(
        self, memory: Memory, report: Report, documents: Iterable[tuple[Any, ...]], *, all_of_it: bool
    ) -> None:
        self._memory = memory
        self._report = report
        self._activated: deque[tuple[int, str]] = deque(maxlen=_MOST_ACTIVATIONS)
        rules_of = lru_cache(_RULES_AT_HAND)(self._rules_of)
        self._permissions = Permissions(rules_of, self._activated if all_of_it else None, _verifies)
        self._read(documents)

    def log(self, ledger_id: object) -> None:
        """Set the id of the ledger, from position 1."""
        self._permissions.ledger_id = ledger_id

    def activate(self, position: int, payload: Json) -> None:
        """Set the policy in force from `position` on."""
        self._activated.append((position, str(payload["policy_sha256"])))
        for name in ("policy_sha256", "catalog_sha256"):
            if self._memory.document(str(payload[name])) is None:
                self._report.add("DOCUMENT_MISSING", position, name, payload[name], "no such document")

    def follow(self, stream: Stream, record: Json, leaf: bytes, payload: Json) -> None:
        """Check the permissions behind a record."""
        asked = stream.asked
        if is_followed(record, asked):
            stream.asked = None
            stream.asked, found = self._permissions.follow(asked, record, leaf, payload)
            for code, subject, expected, what in found:
                self._report.add(code, record["position"], subject, expected, what)

    def _read(self, documents: Iterable[tuple[Any, ...]]) -> None:
        for sha256, body in documents:
            stored = as_bytes(body)
            found = hashlib.sha256(stored).hexdigest()
            rules = None
            if found == sha256:
                rules = read_rules(stored)
            else:
                self._report.add("DOCUMENT", None, "document", sha256, found)
            if HEX.fullmatch(str(sha256)):
                self._memory.keep_document(str(sha256), None if rules is None else json.dumps(rules))

    def _rules_of(self, sha256: str) -> Rules | None:
        row = self._memory.document(sha256)
        return Rules(*json.loads(row[0])) if row and row[0] else None


def _verifies(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Do the same as `ed25519_verifies`, a hundred times as fast: a long log may have many approvals."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # most logs have no signature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
