"""``verify`` with its options: everything or only new records, against a checkpoint, with stored files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import NewerFormat
from ledger.log.opening import open_ledger, open_snapshot, open_tail
from ledger.log.verification import verify_ledger
from ledger.record import timestamp
from ledger.verify import Report
from ledger.verify.elsewhere import StoredFile, check_against, check_assets, check_witnesses, refuse_timestamp
from ledger.verify.incremental import verify_since
from ledger.verify.verify_bundle import (
    MAX_NOTE_BYTES,
    MAX_POLICY_BYTES,
    Head,
    Policy,
    read_head,
    read_key,
    read_policy,
)
from render_service.assets.store import AssetStore, uris
from render_service.evidence.keys import read_verifier
from render_service.evidence.timestamps import check_stamp, read_chain
from render_service.runtime.errors import BadInput, NotStamped
from render_service.runtime.files import read_file
from render_service.runtime.settings import Settings

_REWRITTEN = ("HEAD_", "CHECKPOINT_")
"""Findings of a rewritten ledger: its first record is not in its tree, or not in the checkpoint's."""


@dataclass(frozen=True)
class Scope:
    """Options of a verification."""

    against: Path | None = None
    verifiers: Sequence[str] = ()
    since: int | None = None
    with_assets: bool = False
    processes: int | None = None
    witnesses: Path | None = None
    tsa_chain: Path | None = None


@dataclass(frozen=True)
class VerifyResult:
    """The report, its first position, the checkpoint it was checked against, its signers, the files read."""

    report: Report
    since: int | None = None
    held: Head | None = None
    signed_by: Sequence[str] = ()
    files: int | None = None
    cosigned_by: Sequence[str] = ()
    stamped_at: str | None = None


def check(settings: Settings, scope: Scope) -> VerifyResult:
    """Verify the ledger of `settings`; `BadInput` if the file to check it against is not a checkpoint.

    `NewerFormat` if the format of the ledger is newer than this version, unless the ledger was rewritten.
    """
    held = _read_checkpoint(scope.against) if scope.against else None
    policy = read_trusted(scope.witnesses) if scope.witnesses else None
    keys = [read_key(str(read_verifier(text))) for text in scope.verifiers]
    newer = _find_newer_format(settings)
    sizes = [held.size] if held else []
    since = None if scope.since is None else _check_since(settings, scope.since, held)
    if since is None:
        report = verify_ledger(settings.ledger_url, sizes, scope.processes)
    else:
        with open_tail(settings.ledger_url, since) as tail:
            report = verify_since(tail, since, sizes)
    signed_by, cosigned_by, stamped_at = list[str](), list[str](), None
    files = None
    with open_snapshot(settings.ledger_url) as snapshot:
        if held:
            first = next(iter(snapshot.events()), None)
            signed_by = check_against(report, held, keys, first[9] if first else b"")
        if held and policy:
            cosigned_by = check_witnesses(report, held, policy)
        if scope.against and scope.tsa_chain:
            stamped_at = _check_date(report, scope.against, scope.tsa_chain)
        if scope.with_assets:
            files = check_assets(report, snapshot.events(), _Digests(AssetStore.of(settings)))
    if newer and not any(finding.code.startswith(_REWRITTEN) for finding in report.findings):
        raise newer
    return VerifyResult(report, since, held, signed_by, files, cosigned_by, stamped_at)


def read_trusted(path: Path) -> Policy:
    """Return the trust policy in the file at `path`, read by the verifier's own code."""
    try:
        return read_policy(read_file(path, "witness policy", MAX_POLICY_BYTES))
    except ValueError as error:
        raise BadInput(
            f"witness policy {path}: {error}; docs/witnesses.md describes the file",
            param="witnesses",
            expected="a witness policy",
            found=error,
        ) from None


def _check_date(report: Report, against: Path, chain: Path) -> str | None:
    """Return when a timestamp dates the checkpoint, and who signed it; a wrong one is a finding."""
    try:
        stamp = check_stamp(against, read_chain(chain))
    except NotStamped as error:
        refuse_timestamp(report, str(error))
        return None
    return f"{timestamp(stamp.at)} by {stamp.authority}"


def _find_newer_format(settings: Settings) -> NewerFormat | None:
    """Return the error if the format of the ledger is newer; raise if there is no readable ledger."""
    try:
        open_ledger(settings.ledger_url).close()
    except NewerFormat as newer:
        return newer
    return None


def _check_since(settings: Settings, since: int, held: Head | None) -> int | None:
    """Return `since`, or None (verify everything) if the ledger is shorter than the checkpoint.

    A truncated ledger is a finding, and must not be reported as an invalid position.
    """
    with open_snapshot(settings.ledger_url) as snapshot:
        if since > 0 and next(iter(snapshot.events(since - 1)), None):
            return since
        newest, _ = snapshot.head()
    if held and 0 < since <= held.size:
        return None
    raise BadInput(
        f"--since {since}: expected a position from 1 to {newest}",
        param="since",
        expected=f"a position from 1 to {newest}",
        found=since,
    )


def _read_checkpoint(path: Path) -> Head:
    data = read_file(path, "checkpoint", MAX_NOTE_BYTES)
    try:
        return read_head(data)
    except ValueError as error:
        raise BadInput(
            f"checkpoint {path}: {error}; name a file that `sora-ledger checkpoint --publish` wrote",
            param="checkpoint",
            expected="a file that `sora-ledger checkpoint --publish` wrote",
            found=error,
        ) from None


class _Digests:
    """A function that returns the digest of the stored file that a record names."""

    def __init__(self, assets: AssetStore) -> None:
        self._assets = assets

    def __call__(self, file: StoredFile) -> str | None:
        places = map(self._assets.locate, uris(file.storage_uri, file.sha256))
        there = next(filter(None, places), None)
        if there is None:
            return None
        if file.bytes not in (None, there.bytes):  # never read more bytes than were recorded
            return f"{there.bytes} bytes, not {file.bytes}"
        return there.place.digest(there.name)
