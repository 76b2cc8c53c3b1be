"""Upcasting: pure steps from one schema version of a payload to the next, for reading older records.

A step takes the payload as stored and returns it as the next version would have stored it. It uses no clock
and no I/O, and cannot fail. Stored bytes, digests and proofs keep the version they were written in: steps run
on every read, and only on reads. Steps are chained, so each one knows two versions. A step never changes
after a release.

`docs/adding-an-event-type.md` explains how to add one.
"""

from collections.abc import Callable
from typing import Any

from ledger.errors import LedgerUnusable

Payload = dict[str, Any]
Step = Callable[[Payload], Payload]


def _approval_without_login(payload: Payload) -> Payload:
    """Add what version 1 of an approval did not record: login, policy and expiry."""
    return payload | {"login": None, "policy_sha256": None, "expires_at": None}


STEPS: dict[tuple[str, int], Step] = {
    ("approval.granted", 1): _approval_without_login,
    ("approval.refused", 1): _approval_without_login,
    ("approval.granted", 2): lambda payload: payload | {"passkey": None},
    ("approval.refused", 2): lambda payload: payload | {"passkey": None},
    ("render.requested", 1): lambda payload: payload | dict.fromkeys(("team", "project", "access_key_id")),
    ("change.proposed", 1): lambda payload: payload | {"access": None},
    ("submission.intended", 1): lambda payload: payload | {"sent_sha256": None},
    ("submission.intended", 2): lambda payload: payload | {"key_digest": None},
    ("review.recorded", 1): lambda payload: payload | {"timed_notes": []},
    ("character.created", 1): lambda payload: payload | {"team": None},
    ("render.adopted", 1): lambda payload: payload | {"server": None},
    ("provenance.signed", 1): lambda payload: payload | {"label": None, "stamped_at": None},
    ("asset.published", 1): lambda payload: payload | {"label": None},
}
"""By event type and the version that the step reads."""

UPGRADE = "upgrade sora-ledger (pip install --upgrade sora-ledger)"


def upcast(type_: str, version: int, payload: Payload, known: int) -> Payload:
    """Return `payload`, stored in schema `version`, in the schema version `known` today.

    `LedgerUnusable` if it is newer than that, or if a step is missing.
    """
    if version > known:
        raise LedgerUnusable(
            f"a {type_} was recorded in schema version {version}, this sora-ledger knows up to version "
            f"{known}: {UPGRADE}",
            expected=f"a schema version up to {known}",
            found=f"version {version}",
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
