"""Signing keys: made once, for their owner's eyes, shown only as their public half."""

import base64
import stat
from pathlib import Path

import pytest

from ledger.tree.checkpoint import Signer, Verifier
from tests.cli.conftest import Sora

PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
RSA = "name+00000000+" + base64.b64encode(b"\x02" + bytes(32)).decode()


def test_a_new_key_is_for_its_owner_alone(sora: Sora, folder: Path) -> None:
    sora("key", "new", "k", "--name", "ledger.example")
    assert stat.S_IMODE((folder / "k").stat().st_mode) == 0o600


def test_a_new_key_prints_the_half_that_verifies(sora: Sora, folder: Path) -> None:
    printed = sora("key", "new", "k", "--name", "ledger.example", "--format=text").out.strip()
    signer = Signer.parse((folder / "k").read_text())
    assert Verifier.parse(printed) == signer.verifier


def test_the_private_half_is_neither_printed_nor_logged(sora: Sora, folder: Path) -> None:
    made = sora("key", "new", "k", "--name", "ledger.example", "-v")
    shown = sora("key", "show", "k", "-v")
    _, _, _, _, secret = (folder / "k").read_text().strip().split("+", 4)
    assert secret not in made.out + made.err + shown.out + shown.err


def test_a_key_is_named_after_the_ledger_unless_another_name_is_given(sora: Sora, denied: str) -> None:
    origin = sora("checkpoint").document["origin"]
    assert sora("key", "new", "k").document["name"] == origin


def test_a_key_without_ledger_and_name_says_what_to_add(sora: Sora) -> None:
    ended = sora("key", "new", "k")
    assert (ended.code, "--name" in ended.error) == (2, True)


def test_a_key_file_is_never_overwritten(sora: Sora, folder: Path) -> None:
    (folder / "k").write_text("mine")
    ended = sora("key", "new", "k", "--name", "n")
    assert (ended.code, (folder / "k").read_text()) == (2, "mine")


def test_a_key_is_not_made_through_a_link(sora: Sora, folder: Path) -> None:
    (folder / "k").symlink_to(folder / "elsewhere")
    assert (sora("key", "new", "k", "--name", "n").code, (folder / "elsewhere").exists()) == (2, False)


def test_a_public_key_can_be_shown_again(sora: Sora, folder: Path) -> None:
    (folder / "k").write_text(PUBLIC + "\n")
    assert sora("key", "show", "k").document["verifier"] == PUBLIC


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"-----BEGIN PRIVATE KEY-----\n", "found a PEM key"),
        (b"ssh-ed25519 AAAA", "found an SSH key"),
        (b"\xff\xfe", "found binary data"),
        (b"", "expected name, id and base64"),
        (b"hello", "expected name, id and base64"),
        (RSA.encode(), "expected Ed25519 (type 1 or 4), found type 2"),
        (b"x" * 5_000, "expected at most 4096 bytes"),
    ],
)
def test_a_file_that_holds_another_kind_of_key_is_refused(
    sora: Sora, folder: Path, content: bytes, message: str
) -> None:
    (folder / "k").write_bytes(content)
    ended = sora("key", "show", "k")
    assert (ended.code, message in ended.error) == (2, True)


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [(PUBLIC, 0o600, "this is a public key"), ("PRIVATE+KEY+n+00+AA==", 0o600, "signing key")],
)
def test_what_cannot_sign_is_refused_as_a_signing_key(
    sora: Sora, denied: str, folder: Path, content: str, mode: int, message: str
) -> None:
    (folder / "k").write_text(content)
    (folder / "k").chmod(mode)
    ended = sora("checkpoint", "--key", "k")
    assert (ended.code, message in ended.error) == (2, True)


def test_a_key_that_others_may_read_signs_nothing(sora: Sora, denied: str, folder: Path) -> None:
    sora("key", "new", "k", "--name", "n")
    (folder / "k").chmod(0o644)
    ended = sora("checkpoint", "--key", "k")
    assert (ended.code, "other users can read it" in ended.error) == (2, True)


def test_a_name_that_cannot_be_a_keys_is_refused(sora: Sora, folder: Path) -> None:
    assert (sora("key", "new", "k", "--name", "two words").code, (folder / "k").exists()) == (2, False)
