"""Opening a ledger at a URL, for reading or for writing, and snapshots of its tables for `ledger.verify`."""

import hashlib
import json
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.canonical import leaf_hash
from ledger.errors import LedgerUnusable, NewerFormat, WrongExpectedVersion
from ledger.events import LedgerCreated
from ledger.log.ledger import EVERYTHING, Ledger
from ledger.log.urls import check_url, file_of, label_of
from ledger.private_files import make_folders
from ledger.record import Provenance, draft, new_event_id
from ledger.store.interface import NEW, Batch, EventStore
from ledger.upcast import UPGRADE

if TYPE_CHECKING:
    from ledger.verify.incremental import Tail
    from ledger.verify.ranges import Ranges


FORMAT = 1
LEDGER_STREAM = "ledger"


def open_store(url: str, *, read_only: bool, patient_s: float | None = None) -> EventStore:
    """Open the store at `url`: a path, ``sqlite:///relative``, ``sqlite:////absolute`` or ``postgresql://…``.

    `patient_s` is how long to wait for an unreachable server; the default comes from the environment.
    """
    store = _open(url, read_only=read_only, patient_s=patient_s)
    try:
        _check_format(store, url)
    except BaseException:
        store.close()
        raise
    return store


def _check_format(store: EventStore, url: str) -> None:
    """Refuse a ledger of a newer format; `verify` reports any other defect of its first record.

    The payload counts only if it matches its hash: an edited payload must not keep anyone from opening the
    ledger to find the change.
    """
    with suppress(IndexError, KeyError, RecursionError, TypeError, ValueError):
        first = store.rows(0, 1, EVERYTHING)[0]
        digest = hashlib.sha256(first.payload).hexdigest()
        if digest != json.loads(first.record)["payload_sha256"] or first.leaf != leaf_hash(first.record):
            return
        format_ = json.loads(first.payload)["format"]
        if format_ > FORMAT:
            raise NewerFormat(
                f"ledger {label_of(url)}: it has format {format_}, this sora-ledger knows up to format "
                f"{FORMAT}: {UPGRADE}"
            )


def _open(url: str, *, read_only: bool, patient_s: float | None) -> EventStore:
    path = file_of(url)
    if path is None:
        from ledger.store.postgres import PostgresStore  # only the store in use is loaded

        return PostgresStore(url, read_only=read_only, patient_s=patient_s)
    check_url(url)
    return _open_sqlite(path, read_only=read_only)


def open_snapshot(url: str, exported: str | None = None) -> "AbstractContextManager[Ranges]":
    """Open a consistent snapshot of every table of the ledger at `url`, for `ledger.verify`.

    With `exported`, it is the snapshot another process exported.
    """
    path = file_of(url)
    if path is None:
        from ledger.store.postgres.snapshot import PostgresSnapshot  # the store in use

        return PostgresSnapshot(url, exported)
    from ledger.store.sqlite.snapshot import SqliteSnapshot  # noqa: PLC0415

    return SqliteSnapshot(path)


def open_tail(url: str, since: int) -> "AbstractContextManager[Tail]":
    """Open a snapshot of the ledger at `url` after position `since`, for `ledger.verify.incremental`."""
    path = file_of(url)
    if path is None:
        from ledger.store.postgres.snapshot import PostgresTail  # the store in use

        return PostgresTail(url, since)
    from ledger.store.sqlite.snapshot import SqliteTail  # noqa: PLC0415

    return SqliteTail(path, since)


def _open_sqlite(path: Path, *, read_only: bool) -> EventStore:
    if path.is_dir():
        raise LedgerUnusable(
            f"ledger {path}: it is a folder; name a file in it, such as {path / 'ledger.db'}",
            param="ledger",
            expected="a file",
            found="a folder",
        )
    if read_only and not path.exists():
        raise LedgerUnusable(
            f"ledger {path}: it does not exist; `sora-ledger create …` begins it, "
            "--ledger or SORA_LEDGER_URL names another",
            param="ledger",
            expected="a ledger that exists",
            found="no such file",
        )
    from ledger.store.sqlite import SqliteStore  # noqa: PLC0415  # only the store in use is loaded

    if not read_only:
        try:
            make_folders(path.parent)
        except OSError as error:
            raise LedgerUnusable(
                f"ledger {path}: its folder cannot be created ({error.strerror}): "
                "name another file with --ledger",
                param="ledger",
                expected="a place that can be written",
                found=error.strerror,
            ) from error
    return SqliteStore(path, read_only=read_only)


def open_ledger(url: str) -> Ledger:
    """Open the ledger at `url` for reading; `LedgerUnusable` says why not."""
    return Ledger(open_store(url, read_only=True))


def open_now(url: str) -> Ledger:
    """Open the ledger at `url` for reading, without waiting for an unreachable server."""
    return Ledger(open_store(url, read_only=True, patient_s=0.0))


def open_or_create(url: str, provenance: Provenance, now: datetime) -> Ledger:
    """Open the ledger at `url` for writing; a new one begins with ``ledger.created``."""
    ledger = Ledger(open_store(url, read_only=False))
    if ledger.store.head().size == 0:
        _begin(ledger, provenance, now)
    return ledger


def _begin(ledger: Ledger, provenance: Provenance, now: datetime) -> None:
    ledger_id = new_event_id()
    created = LedgerCreated(ledger_id=ledger_id, origin=f"sora-ledger/{ledger_id}", format=FORMAT)
    with suppress(WrongExpectedVersion):  # another process began the ledger first
        ledger.append([Batch(LEDGER_STREAM, NEW, [draft(created, provenance, now)])])
