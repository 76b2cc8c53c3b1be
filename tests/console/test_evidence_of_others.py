"""What others say about a checkpoint and a film, on "Check a file": cosignatures, dates, manifests."""

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from playwright.sync_api import Page

from tests.console.conftest import Console
from tests.console.forgery import pack, unpack
from tests.console.test_browser_check import check_files, ready
from tests.outside.authority import Authority

TYPE_4 = b"\4"


class Witness:
    """A witness that cosigns whatever it gets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        self.data = TYPE_4 + self.key.public_key().public_bytes_raw()
        self.id = hashlib.sha256(name.encode() + b"\n" + self.data).digest()[:4]

    @property
    def line(self) -> str:
        return f"witness {self.name} {self.name}+{self.id.hex()}+{base64.b64encode(self.data).decode()}\n"

    def cosign(self, note: bytes) -> bytes:
        text = note.rpartition(b"\n\n")[0] + b"\n"
        seconds = 1_800_000_000
        signature = self.key.sign(b"cosignature/v1\ntime %d\n" % seconds + text)
        signed = base64.b64encode(self.id + seconds.to_bytes(8) + signature).decode()
        return note + f"\N{EM DASH} {self.name} {signed}\n".encode()


NORTH, SOUTH = Witness("north.example"), Witness("south.example")
BOTH = NORTH.line + SOUTH.line + "group both all north.example south.example\nquorum both\n"


@pytest.fixture
def evidence(console: Console) -> Path:
    """Return evidence about a published film, under a checkpoint that one witness cosigned."""
    studio = console.studio
    studio("key", "certificate", "studio.pem", "--test-ca", "--name", "Studio")
    studio("publish", studio.jobs["coupe"], "--to", "film.mp4", "--certificate", "studio.pem")
    studio("key", "new", "log.key")
    studio("checkpoint", "--key", "log.key", "--publish", "checkpoint.txt")
    note = studio.folder / "checkpoint.txt"
    note.write_bytes(NORTH.cosign(note.read_bytes()))
    studio("export", studio.jobs["coupe"], "--out", "evidence.zip", "--checkpoint", "checkpoint.txt")
    return studio.folder / "evidence.zip"


def with_policy(page: Page, console: Console, files: list[Path], policy: str) -> str:
    page.goto(f"{console.url}/check")
    ready(page)
    page.get_by_label("Policy of witnesses").fill(policy)
    page.get_by_label("Choose or drop").set_input_files([str(file) for file in files])
    page.locator(".result, #problem-file:not(:empty)").first.wait_for()
    return str(page.locator("#check").inner_text())


def test_cosignatures_are_counted_by_the_policy_of_the_person(
    page: Page, console: Console, evidence: Path
) -> None:
    log = console.studio("key", "show", "log.key")["verifier"]
    one = f"log {log}\n{NORTH.line}quorum north.example\n"
    console.sign_in(page, "aud", "/log")
    for file in (evidence, evidence.with_name("checkpoint.txt")):
        shown = with_policy(page, console, [file], one)
        assert "cosigned by witnesses you trust (north.example)" in shown
        assert "Nothing is wrong with it." in shown
        shown = with_policy(page, console, [file], BOTH)
        assert "CHECKPOINT_WITNESSES" in shown
        assert "cosigned by north.example" in shown
    shown = with_policy(page, console, [evidence], "quorum nobody\n")
    assert "The policy of witnesses cannot be read: line 1: a quorum that no line above defines" in shown


def test_a_manifest_in_a_bundle_is_tied_to_its_record_and_a_changed_one_is_a_finding(
    page: Page, console: Console, evidence: Path
) -> None:
    files = unpack(evidence.read_bytes())
    [name] = [name for name in files if name.startswith("provenance/")]
    store = files.pop(name)
    cut = store[:300]
    broken = files | {f"provenance/{hashlib.sha256(cut).hexdigest()}.c2pa": cut}
    (evidence.with_name("broken.zip")).write_bytes(pack(broken))
    (evidence.with_name("swapped.zip")).write_bytes(pack(files | {name: cut}))
    console.sign_in(page, "aud", "/log")
    names = ["evidence.zip", "broken.zip", "swapped.zip"]
    shown = check_files(page, console, [evidence.with_name(name) for name in names])
    assert f"The manifest {name} names the record at position" in shown["evidence.zip"]
    assert "PROVENANCE" in shown["broken.zip"]
    assert "ATTACHED_DIGEST" in shown["swapped.zip"]


def test_a_timestamp_is_compared_with_its_checkpoint_and_what_is_not_checked_is_named(
    page: Page, console: Console, evidence: Path, tmp_path: Path
) -> None:
    note, stamp = evidence.with_name("checkpoint.txt"), evidence.with_name("checkpoint.txt.tsr")
    command = ["openssl", "ts", "-query", "-data", str(note), "-sha256", "-cert"]
    query = subprocess.run(command, check=True, capture_output=True).stdout
    with Authority(tmp_path / "clock") as authority:
        stamp.write_bytes(authority.answer(query)[1])
    other = evidence.with_name("other.txt")
    other.write_bytes(SOUTH.cosign(note.read_bytes()).replace(NORTH.name.encode(), b"nobody.example"))
    console.sign_in(page, "aud", "/log")
    shown = check_files(page, console, [stamp, note])["checkpoint.txt.tsr"]
    assert "the digest is the same" in shown
    assert "X.509, CMS" in shown
    assert "TIMESTAMP" in check_files(page, console, [stamp, other])["checkpoint.txt.tsr"]
    console.studio(
        "export", console.studio.jobs["coupe"], "--out", "dated.zip", "--checkpoint", "checkpoint.txt"
    )
    bundle = check_files(page, console, [evidence.with_name("dated.zip")])["dated.zip"]
    assert "a timestamp of it says so, and its digest was compared" in bundle
    files = unpack(evidence.with_name("dated.zip").read_bytes())
    files["checkpoint"] = files["checkpoint"].rpartition(b"\n\n")[0] + b"\n"
    evidence.with_name("later.zip").write_bytes(pack(files))
    later = check_files(page, console, [evidence.with_name("later.zip")])["later.zip"]
    assert "a timestamp of this checkpoint" in later
