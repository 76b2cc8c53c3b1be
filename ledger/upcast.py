"""Reading what older versions wrote: pure steps from one schema version of a payload to the next.

A step takes the payload as it was stored and returns it as the next version would have stored it; it has no
clock, no I/O and no way to fail. Stored bytes, digests and proofs are those of the version that was written:
a step is taken on reading only, every time. Steps are chained, so each knows two versions and no more, and
none is ever changed once a version was released with it.

`docs/adding-an-event-type.md` says how one comes about.
"""

from collections.abc import Callable
from typing import Any

from ledger.errors import LedgerUnusable

Payload = dict[str, Any]
Step = Callable[[Payload], Payload]


def _answer_without_login(payload: Payload) -> Payload:
    """Add to an answer what version 1 did not record: under which login and policy, and until when."""
    return payload | {"login": None, "policy_sha256": None, "expires_at": None}


STEPS: dict[tuple[str, int], Step] = {
    ("approval.granted", 1): _answer_without_login,
    ("approval.refused", 1): _answer_without_login,
    ("submission.intended", 1): lambda payload: payload | {"sent_sha256": None},
    ("submission.intended", 2): lambda payload: payload | {"key_digest": None},
    ("render.adopted", 1): lambda payload: payload | {"server": None},
}
"""By type and the version a step takes; it returns the next one."""

UPGRADE = "upgrade sora-ledger (pip install --upgrade sora-ledger)"


def upcast(type_: str, version: int, payload: Payload, known: int) -> Payload:
    """Return `payload`, stored in schema `version`, in the version `known` today.

    `LedgerUnusable` if it is newer than that, or if a step is missing.
    """
    if version > known:
        raise LedgerUnusable(
            f"a {type_} was recorded in schema version {version}, this sora-ledger knows up to version "
            f"{known}: it needs one that knows version {version}; {UPGRADE}"
        )
    for older in range(version, known):
        step = STEPS.get((type_, older))
        if step is None:
            raise LedgerUnusable(
                f"a {type_} was recorded in schema version {version}, and this sora-ledger has no step "
                f"from version {older} to {older + 1}: {UPGRADE}"
            )
        payload = step(payload)
    return payload
