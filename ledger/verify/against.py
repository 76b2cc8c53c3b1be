"""Check a ledger against a checkpoint that was stored elsewhere.

Only this shows that the tail of a log was cut or rewritten. The checkpoint and its signatures are read by the
code of `verify_bundle`.
"""

import json
from collections.abc import Sequence
from typing import Any

from ledger.verify.report import Report
from ledger.verify.verify_bundle import Head, Key, signers


def check_against(report: Report, held: Head, keys: Sequence[Key], first_payload: Any) -> list[str]:
    """Report the differences from the checkpoint `held`; return the names of the `keys` that signed it.

    `report` has the root at the size of `held` if the ledger is that long; `first_payload` is the payload at
    position 1, which names the log.
    """
    _check_origin(report, held, first_payload)
    if held.size > report.size:
        expected = f"at least the {held.size} records of the checkpoint"
        report.add("CHECKPOINT_SIZE", None, "the ledger", expected, f"{report.size}: the tail was cut")
    elif (found := report.roots.get(held.size)) != held.root:
        where = f"the first {held.size} records"
        actual = found.hex() if found else "the stored hashes are incomplete"
        report.add("CHECKPOINT_ROOT", None, where, held.root.hex(), actual)
    return _signed_by(report, held, keys)


def _check_origin(report: Report, held: Head, first_payload: Any) -> None:
    try:
        origin = json.loads(first_payload)["origin"]
    except (KeyError, RecursionError, TypeError, ValueError):
        origin = "unreadable"
    if origin != held.origin:
        report.add("CHECKPOINT_ORIGIN", None, "the ledger's origin", held.origin, origin)


def _signed_by(report: Report, held: Head, keys: Sequence[Key]) -> list[str]:
    try:
        names = signers(held, keys)
    except ValueError as error:
        report.add("CHECKPOINT_SIGNATURE", None, "the checkpoint", "a valid signature", error)
        return []
    if keys and not names:
        found = ", ".join(name for name, _, _ in held.signatures) or "nobody"
        report.add(
            "CHECKPOINT_SIGNATURE", None, "the checkpoint", "signed with one of these keys", f"by {found}"
        )
    return names
