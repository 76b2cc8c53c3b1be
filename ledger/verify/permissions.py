"""Check permissions along the log: requests, approvals and decisions, and the holds of each budget.

Requests, approvals and decisions are checked by the rules of `verify_bundle`. The holds of a budget are
summed and compared with the limit at each position. The sum over all jobs may exceed a limit only through
spent money, or because the limit was lowered later: an append that reserves more is refused.
"""

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

PREFIX = "budget_"
ONE_APPEND = 1_000
"""Limits apply at the end of an append, which may release money at a later position than it reserves. That
end is not recorded, so a sum that returns below its limit within this many positions is not a finding.
"""


Money = tuple[Any, Any, Json]
"""The reserved and settled money of one job, and how much of each budget it reserves."""

_NOTHING: Money = (0, None, {})


def money(job: Json | None) -> Money:
    """Return the money of `job`."""
    return (job["reserved_usd_micros"], job["settled_usd_micros"], job["budgets"]) if job else _NOTHING


def _sum_held(money: Money, budget: str) -> int:
    reserved, settled, budgets = money
    if budget not in budgets:
        return 0
    amount: int = budgets[budget] if reserved else 0
    return amount + (settled or 0)


class Budgets:
    """The sums of all budgets; each is stored as the `money` of the budget's stream."""

    def __init__(self, memory: Memory, report: Report) -> None:
        self._memory = memory
        self._report = report

    def limit(self, budget: str, usd_micros: int, position: int) -> None:
        """Set the limit of `budget` from `position` on."""
        budget_sums = self._sum_of(budget)
        budget_sums["limit"] = usd_micros
        self._settle(budget, budget_sums, position)

    def move(self, before: Money, after: Money, position: int) -> None:
        """Replace the holds of a job, `before`, with `after`."""
        for budget in {*before[2], *after[2]}:
            growth = _sum_held(after, budget) - _sum_held(before, budget)
            if growth:
                budget_sums = self._sum_of(budget)
                budget_sums["held"] += growth
                within = budget_sums["limit"] is None or budget_sums["held"] <= budget_sums["limit"]
                if not within and growth > 0 and after[0] and budget_sums["over"] is None:
                    budget_sums["over"] = [position, budget_sums["limit"], budget_sums["held"]]
                self._settle(budget, budget_sums, position)

    def finish(self) -> None:
        """Report the budgets still over their limit; call it once every stream was put away."""
        for stream, budget_sums in self._memory.moneys():
            if budget_sums["over"] is not None:
                self._report_excess(stream.removeprefix(PREFIX), budget_sums)

    def _sum_of(self, budget: str) -> Json:
        stream = self._memory.stream(PREFIX + budget)
        if stream.money is None:
            stream.money = {"held": 0, "limit": None, "over": None}
        return stream.money

    def _settle(self, budget: str, budget_sums: Json, position: int) -> None:
        if budget_sums["over"] is not None and budget_sums["held"] <= budget_sums["limit"]:
            if position - budget_sums["over"][0] > ONE_APPEND:
                self._report_excess(budget, budget_sums)
            budget_sums["over"] = None

    def _report_excess(self, budget: str, budget_sums: Json) -> None:
        position, limit, held = budget_sums["over"]
        self._report.add("BUDGET_OVER", position, f"budget {budget}", f"at most {limit} micro-dollars", held)


_MOST_ACTIVATIONS = 10_000
_RULES_AT_HAND = 32


class Approvals:
    """Follows who requested, approved and decided, by stream, under the policies in the documents.

    With `all_of_it`, every policy activation is read; otherwise a policy counts as in force if a record says
    so.
    """

    def __init__(
        self, memory: Memory, report: Report, documents: Iterable[tuple[Any, ...]], *, all_of_it: bool
    ) -> None:
        self._memory = memory
        self._report = report
        self._activated: deque[tuple[int, str]] = deque(maxlen=_MOST_ACTIVATIONS)
        rules_of = lru_cache(_RULES_AT_HAND)(self._rules_of)
        activated = self._activated if all_of_it else None
        self._permissions = Permissions(rules_of, activated, _verifies, _verifies_es256)
        self._recalled = Permissions(rules_of, activated, _verifies, _verifies_es256)
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
        request = stream.open_request
        if is_followed(record, request):
            stream.open_request = None
            stream.open_request, found = self._permissions.follow(request, record, leaf, payload)
            for code, subject, expected, what in found:
                self._report.add(code, record["position"], subject, expected, what)

    def recall(self, request: Json | None, record: Json, leaf: bytes, payload: Json) -> Json | None:
        """Return the state of a stream after an earlier record, which is checked elsewhere."""
        if not is_followed(record, request):
            return request
        self._recalled.ledger_id = self._permissions.ledger_id
        return self._recalled.follow(request, record, leaf, payload)[0]

    def bind(self, record: Json) -> None:
        """Note an earlier answer: from the first that cites its policy on, all must."""
        if record["schema_version"] > 1:
            self._permissions.binding_since = self._permissions.binding_since or record["position"]

    def are_needless(self) -> bool:
        """Return whether a decision needs no approval: the policy in force has no rule about any."""
        in_force = self._permissions.find_policy_in_force()
        rules = self._permissions.rules_of(in_force) if in_force else None
        return in_force is not None and (rules is None or not rules.approvals)

    def has_access(self, actor: str) -> bool:
        """Return whether an access key was granted to `actor`."""
        return actor in self._permissions.names

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


def _verifies_es256(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Do the same as `es256_verifies`, faster."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # most logs have no signature
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + public_key)
        key.verify(signature, message, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def _verifies(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Do the same as `ed25519_verifies`, a hundred times as fast: a long log may have many approvals."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # most logs have no signature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
