"""Files that are written completely or not at all."""

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from render_service.runtime.errors import BadInput, StorageFailed
from render_service.runtime.files import write_file, write_secret


@pytest.fixture
def full_disk() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, before)


def test_a_secret_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    write_secret(tmp_path / "key", b"a secret", "key file", "key")
    assert (tmp_path / "key").read_bytes() == b"a secret"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["file", "link to nothing"])
def test_a_secret_replaces_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"another") if kind == "file" else path.symlink_to(tmp_path / "missing")
    with pytest.raises(BadInput, match=r"key file .*key: it already exists and is never replaced"):
        write_secret(path, b"a secret", "key file", "key")
    assert [file.name for file in tmp_path.iterdir()] == ["key"]
    assert kind != "file" or path.read_bytes() == b"another"


@pytest.mark.usefixtures("full_disk")
def test_a_file_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="nothing half-written is left"):
        write_secret(tmp_path / "key", bytes(101), "key file", "key")
    with pytest.raises(StorageFailed, match="nothing half-written is left"):
        write_file(tmp_path / "report", bytes(101))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("full_disk")
def test_a_file_that_does_not_fit_replaces_no_older_one(tmp_path: Path) -> None:
    write_file(tmp_path / "report", b"the older one")
    with pytest.raises(StorageFailed):
        write_file(tmp_path / "report", bytes(101))
    assert (tmp_path / "report").read_bytes() == b"the older one"


def test_a_file_in_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"the folder .*missing does not exist; create it first"):
        write_file(tmp_path / "missing" / "report", b"text")
    with pytest.raises(BadInput, match=r"the folder .*missing does not exist; create it first"):
        write_secret(tmp_path / "missing" / "key", b"text", "key file", "key")
