"""A file system that really is full in mid-append: two megabytes of it, mounted for one process.

Where no file system may be mounted, the largest size that a file may have plays the part.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

APPEND_UNTIL_FULL = """
import importlib.util, json, resource, signal, sys
from pathlib import Path
from ledger.errors import LedgerUnusable

where, scribe_file, limited = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "limited"
spec = importlib.util.spec_from_file_location("scribe", scribe_file)
scribe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scribe)
ballast = where / "ballast"
ballast.write_bytes(b"x" * 700_000)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if limited:
    resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, -1))

def make_room():
    ballast.unlink()
    if limited:
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))

path, recorded, error = where / "ledger.db", 1, None
maker = scribe.Scribe()
with maker.ledger(path) as ledger:
    while error is None:
        batch = maker.batch(f"job_{recorded:032x}", scribe.requested("a boat " * 300))
        try:
            ledger.append([batch])
            recorded += 1
        except LedgerUnusable as full:
            error = str(full)
    told = {"error": error, "recorded": recorded, "size": ledger.head().size}
    told["findings_when_full"] = scribe.findings(path)
    make_room()
    told["again"] = ledger.append([batch])[0].position
told["findings"] = scribe.findings(path)
print(json.dumps(told))
"""


def may_mount(folder: Path) -> bool:
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    probe = [unshare, "--mount", "--map-root-user", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what an append on a full disk came to, and the same append with room again."""
    folder = tmp_path_factory.mktemp("full")
    scribe = str(Path(__file__).parents[1] / "scribe.py")
    python = [sys.executable, "-c", APPEND_UNTIL_FULL, str(folder), scribe]
    command = [*python, "limited"]
    if may_mount(folder):
        mount = 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"'
        command = [
            "unshare",
            "--mount",
            "--map-root-user",
            "sh",
            "-c",
            mount,
            str(folder),
            *python,
            "mounted",
        ]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(ended.stdout)


def test_it_says_that_nothing_was_recorded_and_what_to_do(told: dict[str, Any]) -> None:
    assert "nothing of this append was recorded" in told["error"]
    assert told["error"].endswith("free space on it")


def test_what_was_recorded_before_is_there_and_no_more(told: dict[str, Any]) -> None:
    assert (told["size"], told["recorded"] > 1) == (told["recorded"], True)


def test_the_ledger_is_intact_while_the_disk_is_full(told: dict[str, Any]) -> None:
    assert told["findings_when_full"] == []


def test_the_same_append_goes_through_once_there_is_room(told: dict[str, Any]) -> None:
    assert (told["again"], told["findings"]) == (told["size"] + 1, [])
