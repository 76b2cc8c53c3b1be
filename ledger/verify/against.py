"""A ledger against a checkpoint that was kept elsewhere: what alone shows a tail that was cut or rewritten.

The checkpoint is read and its signatures are checked by the code that strangers get (`verify_bundle`).
"""

import json
from collections.abc import Sequence
from typing import Any

from ledger.verify.report import Report
from ledger.verify.verify_bundle import Head, Key, signers


def check_against(report: Report, held: Head, keys: Sequence[Key], first_payload: Any) -> list[str]:
    """Add to `report` what is not as `held` says; return who of `keys` signed it.

    `report` knows the root at the size of `held`, if the ledger is that long; `first_payload` are the
    bytes of the payload at position 1, which names the log.
    """
    _check_origin(report, held, first_payload)
    if held.size > report.size:
        expected = f"at least the {held.size} records of the checkpoint"
        report.add("CHECKPOINT_SIZE", None, "the ledger", expected, f"{report.size}: the tail was cut")
    elif (found := report.roots.get(held.size)) != held.root:
        where = f"the first {held.size} records"
        told = found.hex() if found else "none that can be made of the stored hashes"
        report.add("CHECKPOINT_ROOT", None, where, held.root.hex(), told)
    return _signed_by(report, held, keys)


def _check_origin(report: Report, held: Head, first_payload: Any) -> None:
    try:
        origin = json.loads(first_payload)["origin"]
    except (KeyError, RecursionError, TypeError, ValueError):
        origin = "none that can be read"
    if origin != held.origin:
        report.add("CHECKPOINT_ORIGIN", None, "the ledger's origin", held.origin, origin)


def _signed_by(report: Report, held: Head, keys: Sequence[Key]) -> list[str]:
    try:
        names = signers(held, keys)
    except ValueError as error:
        report.add("CHECKPOINT_SIGNATURE", None, "the checkpoint", "a signature of this text", error)
        return []
    if keys and not names:
        found = ", ".join(name for name, _, _ in held.signatures) or "nobody"
        report.add("CHECKPOINT_SIGNATURE", None, "the checkpoint", "signed with a key given", f"by {found}")
    return names
