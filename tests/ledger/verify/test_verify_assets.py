"""Stored files: each is digested once, and what is missing or changed is found where it was recorded."""

import hashlib
from pathlib import Path
from types import ModuleType

import pytest
from msgspec import structs

from ledger import events as e
from ledger.log.ledger import Ledger
from ledger.store.interface import EventStore
from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.terms import Variant
from ledger.verify import Report
from ledger.verify.elsewhere import StoredFile, check_assets
from tests.ledger.scribe import Scribe

VIDEO, IMAGE, ORIGINAL = b"a video", b"an image", b"an image before it was scaled"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Files:
    """A store of files by URI and by digest."""

    def __init__(self) -> None:
        self.content = {"file:///video": VIDEO, "file:///image": IMAGE, sha(ORIGINAL): ORIGINAL}
        self.read: list[StoredFile] = []

    def digest(self, file: StoredFile) -> str | None:
        self.read.append(file)
        content = self.content.get(file.storage_uri or file.sha256)
        return None if content is None else sha(content)


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def store(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> EventStore:
    """Return a store with two jobs of the same image and video: positions 2 to 7 and 8 to 13."""
    for job_id in (vocabulary.JOB, vocabulary.OTHER_JOB):
        requested = vocabulary.requested()
        image = structs.replace(
            requested.input_reference,
            storage_uri="file:///image",
            sha256=sha(IMAGE),
            original_sha256=sha(ORIGINAL),
        )
        stored = structs.replace(vocabulary.asset(), storage_uri="file:///video", sha256=sha(VIDEO))
        life = [structs.replace(requested, input_reference=image), *vocabulary.life()[1:5], stored]
        scribe.live(ledger.store, job_id, life)
    return ledger.store


def found(path: Path, files: Files) -> list[tuple[str, int | None, str]]:
    report = Report()
    with SqliteSnapshot(path) as tables:
        check_assets(report, tables.events(), files.digest)
    return [(finding.code, finding.position, finding.subject) for finding in report.findings]


def test_files_that_are_what_was_recorded_give_no_findings(
    store: EventStore, path: Path, files: Files
) -> None:
    assert found(path, files) == []


def test_a_file_is_read_once_however_many_records_cite_it(
    store: EventStore, path: Path, files: Files
) -> None:
    found(path, files)
    assert len(files.read) == 3


def test_a_missing_file_is_found_wherever_it_is_cited(store: EventStore, path: Path, files: Files) -> None:
    del files.content["file:///video"]
    assert found(path, files) == [("ASSET_MISSING", 7, "video"), ("ASSET_MISSING", 13, "video")]


def test_a_changed_file_is_found_with_both_digests(store: EventStore, path: Path, files: Files) -> None:
    files.content["file:///image"] = b"another"
    report = Report()
    with SqliteSnapshot(path) as tables:
        check_assets(report, tables.events(), files.digest)
    first = report.findings[0]
    assert (first.code, first.position, first.subject) == ("ASSET_CHANGED", 2, "input_reference")
    assert (first.expected, first.found) == (sha(IMAGE), sha(b"another"))


def test_an_original_is_found_missing_by_its_digest(store: EventStore, path: Path, files: Files) -> None:
    del files.content[sha(ORIGINAL)]
    assert found(path, files)[0] == ("ASSET_MISSING", 2, "input_reference.original")


def test_a_file_that_was_recorded_as_lost_may_be_gone(
    store: EventStore, path: Path, files: Files, scribe: Scribe, vocabulary: ModuleType
) -> None:
    thumbnail = structs.replace(vocabulary.asset(Variant.THUMBNAIL), storage_uri="file:///t")
    lost = e.AssetLost(variant=Variant.THUMBNAIL, cause="deleted")
    store.append([scribe.batch(vocabulary.JOB, thumbnail, lost)])
    assert found(path, files) == []


def test_a_file_whose_name_was_erased_may_be_gone_and_may_not_change(
    store: EventStore, path: Path, files: Files, scribe: Scribe, ledger: Ledger, vocabulary: ModuleType
) -> None:
    name = ledger.history(vocabulary.JOB)[0].event.input_reference.name.commitment
    event = e.PrivateErased(commitments=(name,), reason_code="subject_request")
    store.append([scribe.batch(vocabulary.JOB, event)])
    del files.content["file:///image"], files.content[sha(ORIGINAL)]
    assert [position for _, position, _ in found(path, files)] == [8, 8]
    files.content["file:///image"] = b"another"
    assert ("ASSET_CHANGED", 2, "input_reference") in found(path, files)
