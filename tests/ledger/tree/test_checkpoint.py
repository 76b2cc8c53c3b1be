import base64
import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.tree.checkpoint import Checkpoint, CheckpointInvalid, Note, Signer, Verifier

# The example of Go's sumdb/note package, from which signed-note was written down.
GO_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SIGNER = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
GO_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2"
    "pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
GO_OTHER_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5"
    "ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)

SIGNER = Signer("ledger.example", bytes(range(32)))
CHECKPOINT = Checkpoint("sora-ledger/01a2", 42, bytes(range(32)))


def test_a_note_of_another_program_verifies() -> None:
    note = Note.parse(f"{GO_TEXT}\n{GO_LINE}{GO_OTHER_LINE}".encode())
    assert [key.name for key in note.find_signers([Verifier.parse(GO_VERIFIER)])] == ["PeterNeumann"]


def test_a_key_of_another_program_signs_as_it_did_there() -> None:
    assert Signer.parse(GO_SIGNER).sign(GO_TEXT).line() == GO_LINE


def test_keys_print_back_to_their_text() -> None:
    signer = Signer.parse(GO_SIGNER)
    assert (signer.secret(), str(signer.verifier)) == (GO_SIGNER, GO_VERIFIER)


def test_a_signer_does_not_show_its_key() -> None:
    assert repr(SIGNER) == "Signer('ledger.example')"


def test_a_new_key_signs_what_its_public_half_verifies() -> None:
    signer = Signer.generate("reviewers.example")
    note = CHECKPOINT.sign(signer)
    assert note.find_signers([Verifier.parse(str(signer.verifier))]) == [signer.verifier]


def test_a_checkpoint_prints_as_the_specification_says() -> None:
    text = "sora-ledger/01a2\n42\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    assert CHECKPOINT.to_text() == text


def test_a_checkpoint_comes_back_with_its_extension_lines() -> None:
    checkpoint = Checkpoint("o", 0, bytes(32), ("first", "second"))
    assert Checkpoint.parse(checkpoint.to_text()) == checkpoint


def test_signatures_of_keys_nobody_asked_about_are_kept_and_ignored() -> None:
    note = CHECKPOINT.sign(SIGNER, Signer.generate("witness.example"))
    again = Note.parse(note.to_bytes())
    assert (again, again.find_signers([SIGNER.verifier])) == (note, [SIGNER.verifier])


def test_a_changed_text_is_found() -> None:
    note = CHECKPOINT.sign(SIGNER)
    forged = Note(note.text.replace("42", "43"), note.signatures)
    with pytest.raises(CheckpointInvalid, match=r"the signature of ledger\.example is invalid"):
        forged.find_signers([SIGNER.verifier])


def test_a_note_nobody_known_has_signed_names_who_has() -> None:
    note = CHECKPOINT.sign(SIGNER)
    with pytest.raises(CheckpointInvalid, match=r"the signatures are by: ledger\.example"):
        note.find_signers([Signer.generate("other.example").verifier])


def test_a_key_of_the_same_name_is_another_key() -> None:
    note = CHECKPOINT.sign(SIGNER)
    with pytest.raises(CheckpointInvalid, match="not signed by any of these keys"):
        note.find_signers([Signer.generate("ledger.example").verifier])


@pytest.mark.parametrize(
    "text",
    [
        "o\n1\n",
        "o\n01\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n-1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n",
        "o\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\n",
        "o\n1\nAAEC\n",
        "\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    ],
)
def test_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(CheckpointInvalid):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\nnot a signature\n",
        "text\n\n— name\n".encode(),
        "text\n\n— name !!!\n".encode(),
        "text\n\n— name AAAA\n".encode(),
        "text\n\n— na+me AAAAAAAA\n".encode(),
        "text\r\n\n— name AAAAAAAA\n".encode(),
        b"\xff\n\n",
        b"x" * 1_000_001,
    ],
)
def test_bytes_that_are_no_note_are_refused(data: bytes) -> None:
    with pytest.raises(CheckpointInvalid):
        Note.parse(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000+AA==",
        GO_VERIFIER.replace("c74f20a3", "c74f20a4"),
        "na me" + GO_VERIFIER[12:],
    ],
)
def test_text_that_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(CheckpointInvalid):
        Verifier.parse(text)


def test_a_damaged_signing_key_is_refused_without_being_repeated() -> None:
    damaged = GO_SIGNER.replace("AYEK", "AYEL")
    with pytest.raises(CheckpointInvalid) as refused:
        Signer.parse(damaged)
    assert "YEL" not in str(refused.value)


@given(st.binary(max_size=300))
def test_hostile_bytes_parse_or_are_refused(data: bytes) -> None:
    try:
        note = Note.parse(data)
    except CheckpointInvalid:
        return
    assert note.to_bytes() == data


@given(st.text(max_size=200))
def test_hostile_text_parses_as_a_checkpoint_or_is_refused(text: str) -> None:
    try:
        checkpoint = Checkpoint.parse(text)
    except CheckpointInvalid:
        return
    assert checkpoint.to_text() == text


@given(st.integers(0, 300), st.integers(0, 255))
def test_what_parses_after_a_byte_was_changed_prints_back_to_the_same_bytes(at: int, value: int) -> None:
    data = bytearray(CHECKPOINT.sign(SIGNER).to_bytes())
    data[at % len(data)] = value
    try:
        note = Note.parse(bytes(data))
    except CheckpointInvalid:
        return
    assert note.to_bytes() == bytes(data)


KEY_TEXTS = st.sampled_from(
    [GO_VERIFIER, GO_SIGNER, f" {GO_VERIFIER}\n", SIGNER.secret(), str(SIGNER.verifier)]
)
SPOILT = st.builds(
    lambda text, at, put: text[: at % len(text)] + put + text[at % len(text) + 1 :],
    KEY_TEXTS,
    st.integers(0, 200),
    st.text("+=/ABab01 é", max_size=2),
)


@given(KEY_TEXTS | SPOILT | st.text(max_size=60))
@example(GO_VERIFIER)
@example(GO_SIGNER)
def test_text_is_a_key_that_prints_back_or_is_refused(text: str) -> None:
    for kind in (Verifier, Signer):
        try:
            key = kind.parse(text)
        except CheckpointInvalid:
            assert text.strip() != {Verifier: GO_VERIFIER, Signer: GO_SIGNER}[kind]
            continue
        assert text.strip() == (key.secret() if isinstance(key, Signer) else str(key))


def test_a_key_under_a_name_that_no_note_can_hold_is_not_made() -> None:
    with pytest.raises(CheckpointInvalid, match="control character"):
        Signer.generate("a\x01b")


def test_a_signing_key_begins_as_signing_keys_do() -> None:
    with pytest.raises(CheckpointInvalid, match=r"begins PRIVATE\+KEY\+"):
        Signer.parse(GO_SIGNER.removeprefix("PRIVATE+KEY+"))


@pytest.mark.parametrize("character", ["\x00", "\t", "\x1b", "\r"])
def test_a_checkpoint_holds_no_control_character(character: str) -> None:
    text = CHECKPOINT.to_text()
    with pytest.raises(CheckpointInvalid):
        Checkpoint.parse(text.replace("ledger", f"ledger{character}"))
    with pytest.raises(CheckpointInvalid):
        Checkpoint.parse(f"{text}an extension{character}\n")


def test_a_note_that_is_sound_but_too_long_is_refused() -> None:
    most = 1_000_000
    short = len(Checkpoint("o", 1, bytes(32), ("",)).sign(SIGNER).to_bytes())
    longest = Checkpoint("o", 1, bytes(32), ("x" * (most - short),)).sign(SIGNER).to_bytes()
    assert len(longest) == most
    assert Note.parse(longest).to_bytes() == longest
    with pytest.raises(CheckpointInvalid, match="at most 1000000 bytes, this one 1000001"):
        Note.parse(b"x" + longest)


@pytest.mark.parametrize("line", ["name AAAAAAAA", "— name", "- name AAAAAAAA"])
def test_a_line_that_is_no_signature_line_is_named(line: str) -> None:
    with pytest.raises(CheckpointInvalid, match="a signature line is"):
        Note.parse(f"text\n\n{line}\n".encode())


def test_a_note_whose_last_line_has_no_end_is_refused() -> None:
    data = CHECKPOINT.sign(SIGNER).to_bytes()
    with pytest.raises(CheckpointInvalid, match="signature lines"):
        Note.parse(data[:-1])


@pytest.mark.parametrize("kind", [0, 2, 255])
def test_a_key_of_another_algorithm_is_refused(kind: int) -> None:
    data = bytes([kind]) + bytes(range(32))
    key_id = hashlib.sha256(b"ledger.example\n" + data).hexdigest()[:8]
    text = f"ledger.example+{key_id}+{base64.b64encode(data).decode()}"
    with pytest.raises(CheckpointInvalid, match=f"expected Ed25519 .type 1 or 4., found type {kind}"):
        Verifier.parse(text)
