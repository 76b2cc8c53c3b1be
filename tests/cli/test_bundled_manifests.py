"""C2PA manifests of published copies in bundles: written, tied to a record; what is not checked is named."""

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from c2pa import Reader

from ledger.verify.verify_bundle import read_named_record
from sora_adapter.sandbox.server import SandboxServer
from tests import c2pa_peer as peer
from tests.cli.conftest import Sora
from tests.console.forgery import pack, unpack


@pytest.fixture
def job_id(server: Callable[..., SandboxServer], sora: Sora) -> str:
    server()
    ended = sora("create-and-poll", "--prompt", "a fox", "--poll-interval", "0.05")
    return str(ended.document["final"]["job_id"])


@pytest.fixture
def bundle(job_id: str, sora: Sora, folder: Path) -> Path:
    """Return evidence about a job whose film was published."""
    sora("key", "certificate", "studio.pem", "--test-ca", "--name", "Studio")
    assert sora("publish", job_id, "--to", "film.mp4", "--certificate", "studio.pem").code == 0
    made = sora("export", job_id, "--out", "evidence.zip").document
    assert (made["manifests"], made["copies_absent"]) == (1, 0)
    return folder / "evidence.zip"


def manifest_in(bundle: Path) -> tuple[str, bytes]:
    with zipfile.ZipFile(bundle) as packed:
        [name] = [name for name in packed.namelist() if name.startswith("provenance/")]
        return name, packed.read(name)


def test_a_bundle_has_the_manifest_of_the_published_copy_with_its_chain(bundle: Path, folder: Path) -> None:
    name, store = manifest_in(bundle)
    assert name == f"provenance/{hashlib.sha256(store).hexdigest()}.c2pa"
    film = (folder / "film.mp4").read_bytes()
    assert store in film
    with Reader("video/mp4", io.BytesIO(film), store) as theirs:
        assert str(theirs.get_validation_state()) == "Valid"


def test_the_check_ties_the_manifest_to_its_record_and_names_what_it_did_not_check(
    bundle: Path, sora: Sora
) -> None:
    name, store = manifest_in(bundle)
    checked = sora("verify-bundle", "evidence.zip")
    claim = read_named_record(store)
    assert claim is not None
    message = f"The manifest {name} names the record at position {claim['position']}, by its leaf."
    assert (checked.code, message in checked.document["shows"]) == (0, True)
    assert any("X.509" in words and "c2patool" in words for words in checked.document["shows_not"])


def changed(bundle: Path, edit: Any, *, named: bool) -> None:
    files = unpack(bundle.read_bytes())
    name, store = manifest_in(bundle)
    del files[name]
    other = edit(store)
    files[f"provenance/{hashlib.sha256(other).hexdigest()}.c2pa" if named else name] = other
    bundle.write_bytes(pack(files))


def other_leaf(store: bytes) -> bytes:
    claim = read_named_record(store)
    assert claim is not None
    return store.replace(claim["leaf"].encode(), b"0" * 64)


@pytest.mark.parametrize(
    ("edit", "named", "code"),
    [
        (other_leaf, False, "ATTACHED_DIGEST"),
        (other_leaf, True, "PROVENANCE"),
        (lambda store: store[:200], True, "PROVENANCE"),
        (lambda _: b"", True, "PROVENANCE"),
        (lambda _: b"\x00\x00\x00\x08jumb", True, "PROVENANCE"),
        (lambda store: store.replace(b"provenance/v1", b"provenance/v9"), True, "PROVENANCE"),
    ],
    ids=["altered", "of another record", "cut off", "empty", "no description", "of another form"],
)
def test_a_manifest_that_was_changed_is_a_finding(
    bundle: Path, sora: Sora, edit: Any, code: str, *, named: bool
) -> None:
    changed(bundle, edit, named=named)
    checked = sora("verify-bundle", "evidence.zip")
    assert (checked.code, [one["code"] for one in checked.document["findings"]]) == (10, [code])


def test_a_copy_that_was_moved_is_counted_and_reported(
    bundle: Path, job_id: str, sora: Sora, folder: Path
) -> None:
    (folder / "film.mp4").rename(folder / "elsewhere.mp4")
    made = sora("export", job_id, "--out", "again.zip")
    assert (made.code, made.document["manifests"], made.document["copies_absent"]) == (0, 0, 1)
    assert sora("verify-bundle", "again.zip").code == 0


def test_with_stored_files_a_bundle_has_the_manifests_that_came_with_them(
    server: Callable[..., SandboxServer], sora: Sora, tmp_path: Path, clip: bytes
) -> None:
    server()
    served = next(tmp_path.rglob("cached-1280x720-4s.mp4"))
    served.write_bytes(peer.signed(clip, peer.credentials()))
    ended = sora("create-and-poll", "--prompt", "a wolf", "--poll-interval", "0.05")
    job = ended.document["final"]["job_id"]
    assert sora("export", job, "--out", "alone.zip").document["manifests"] == 0
    assert sora("export", job, "--out", "evidence.zip", "--with-assets").document["manifests"] == 1
    assert sora("verify-bundle", "evidence.zip").code == 0
