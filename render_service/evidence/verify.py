"""``verify`` with everything it can be asked: all or what is new, against a checkpoint, stored files too."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import NewerFormat
from ledger.log.opening import open_ledger, open_snapshot, open_tail
from ledger.verify import Report, verify
from ledger.verify.against import check_against
from ledger.verify.assets import StoredFile, check_assets
from ledger.verify.incremental import verify_since
from ledger.verify.verify_bundle import MAX_NOTE_BYTES, Head, read_head, read_key
from render_service.assets.store import AssetStore, uris
from render_service.evidence.keys import read_verifier
from render_service.runtime.errors import BadInput
from render_service.runtime.files import read_file
from render_service.runtime.settings import Settings

_REWRITTEN = ("HEAD_", "CHECKPOINT_")
"""What is found where a first record does not belong to the tree, or to the one that somebody held."""


@dataclass(frozen=True)
class Asked:
    """What to check besides the record itself."""

    against: Path | None = None
    verifiers: Sequence[str] = ()
    since: int | None = None
    with_assets: bool = False


@dataclass(frozen=True)
class Checked:
    """The report, where it begins, the checkpoint it was held against, its signers, the files read."""

    report: Report
    since: int | None = None
    held: Head | None = None
    signed_by: Sequence[str] = ()
    files: int | None = None


def check(settings: Settings, asked: Asked) -> Checked:
    """Check the ledger of `settings`; `BadInput` if what it is to be held against is no checkpoint.

    `NewerFormat` if it is of a format that is not known here, unless it was made that by rewriting it.
    """
    held = _held(asked.against) if asked.against else None
    keys = [read_key(str(read_verifier(text))) for text in asked.verifiers]
    newer = _newer_format(settings)
    sizes = [held.size] if held else []
    since = None if asked.since is None else _beginning(settings, asked.since, held)
    if since is None:
        with open_snapshot(settings.ledger_url) as snapshot:
            report = verify(snapshot, sizes)
    else:
        with open_tail(settings.ledger_url, since) as tail:
            report = verify_since(tail, since, sizes)
    signed_by: list[str] = []
    files = None
    with open_snapshot(settings.ledger_url) as snapshot:
        if held:
            first = next(iter(snapshot.events()), None)
            signed_by = check_against(report, held, keys, first[9] if first else b"")
        if asked.with_assets:
            files = check_assets(report, snapshot.events(), _Digests(AssetStore.of(settings)))
    if newer and not any(finding.code.startswith(_REWRITTEN) for finding in report.findings):
        raise newer
    return Checked(report, since, held, signed_by, files)


def _newer_format(settings: Settings) -> NewerFormat | None:
    """Return why the rules known here may not be the ledger's; raise why there is no ledger to read."""
    try:
        open_ledger(settings.ledger_url).close()
    except NewerFormat as newer:
        return newer
    return None


def _beginning(settings: Settings, since: int, held: Head | None) -> int | None:
    """Return `since`; None, for everything, where the ledger does not reach as far as the checkpoint says.

    A tail that was cut is a finding, and must not look like a position that somebody mistyped.
    """
    with open_snapshot(settings.ledger_url) as snapshot:
        if since > 0 and next(iter(snapshot.events(since - 1)), None):
            return since
        newest, _ = snapshot.head()
    if held and 0 < since <= held.size:
        return None
    raise BadInput(f"--since {since}: expected a position from 1 to {newest}")


def _held(path: Path) -> Head:
    data = read_file(path, "checkpoint", MAX_NOTE_BYTES)
    try:
        return read_head(data)
    except ValueError as error:
        raise BadInput(
            f"checkpoint {path}: {error}; name a file that `sora-ledger checkpoint --publish` wrote"
        ) from None


class _Digests:
    """Reads what a record says was stored."""

    def __init__(self, assets: AssetStore) -> None:
        self._assets = assets

    def __call__(self, file: StoredFile) -> str | None:
        found = map(self._assets.locate, uris(file.storage_uri, file.sha256))
        there = next(filter(None, found), None)
        if there is None:
            return None
        if file.bytes not in (None, there.bytes):  # so no more is read than was recorded
            return f"{there.bytes} bytes, not {file.bytes}"
        return there.place.digest(there.name)
