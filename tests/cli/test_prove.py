"""Proofs on the command line: made from a ledger, checked without one."""

from pathlib import Path

import pytest

from tests.cli.conftest import Sora


@pytest.fixture
def key(sora: Sora, denied: str) -> str:
    """Return the file of a key, beside a ledger with one denied job."""
    sora("key", "new", "signing.key")
    return "signing.key"


def test_a_proof_is_checked_where_there_is_no_ledger(sora: Sora, key: str, folder: Path) -> None:
    sora("prove", "2", "--key", key, "--out", "2.tlog-proof")
    (folder / "ledger.db").unlink()
    ended = sora("prove", "--check", "2.tlog-proof", "--verifier", key)
    assert (ended.code, ended.document["proved"], ended.document["record"]["position"]) == (0, True, 2)


def test_a_record_is_named_by_its_event_id_too(sora: Sora, key: str) -> None:
    by_position = sora("prove", "2", "--key", key, "--format=text").out
    event_id = sora("log").document["records"][1]["event_id"]
    assert sora("prove", event_id, "--key", key, "--format=text").out == by_position


def test_a_proof_of_another_record_is_none(sora: Sora, key: str, folder: Path) -> None:
    sora("prove", "2", "--key", key, "--out", "p")
    (folder / "record").write_bytes(b"{}")
    ended = sora("prove", "--check", "p", "--record", "record", "--verifier", key)
    assert (ended.code, ended.document["trouble"][0].partition(":")[0]) == (10, "inclusion")


def test_a_proof_signed_by_another_person_is_none(sora: Sora, key: str) -> None:
    sora("prove", "2", "--key", key, "--out", "p")
    sora("key", "new", "other", "--name", "other.example")
    ended = sora("prove", "--check", "p", "--verifier", "other")
    assert (ended.code, ended.document["trouble"][0].partition(":")[0]) == (10, "signature")


def test_an_unsigned_proof_says_so(sora: Sora, denied: str) -> None:
    ended = sora("prove", "1", "--out", "p")
    assert "not signed" in ended.error
    assert "signature not checked" in sora("prove", "--check", "p", "--format=text").out


def test_a_proof_can_lead_to_a_checkpoint_that_a_reader_holds(sora: Sora, key: str, folder: Path) -> None:
    sora("checkpoint", "--key", key, "--publish", "held")
    sora("record", "elsewhere", "--video-id", "video_9")
    proof = sora("prove", "2", "--checkpoint", "held", "--format=text").out
    assert proof.endswith("\n\n" + (folder / "held").read_text())


def test_a_file_is_not_replaced_by_a_proof_unasked(sora: Sora, key: str) -> None:
    assert sora("prove", "2", "--out", "ledger.db").code == 2
    sora("prove", "2", "--out", "p")
    assert (sora("prove", "2", "--out", "p").code, sora("prove", "2", "--out", "p", "--force").code) == (2, 0)


def test_a_record_after_the_checkpoint_cannot_be_proved_by_it(sora: Sora, key: str) -> None:
    sora("checkpoint", "--publish", "held")
    sora("record", "elsewhere", "--video-id", "video_9")
    last = str(sora("checkpoint").document["size"])
    ended = sora("prove", last, "--checkpoint", "held")
    assert (ended.code, "use a newer checkpoint" in ended.error) == (2, True)


def test_nothing_is_proved_by_a_checkpoint_the_ledger_does_not_go_on_from(
    sora: Sora, key: str, folder: Path
) -> None:
    sora("checkpoint", "--publish", "held")
    lines = (folder / "held").read_text().split("\n")
    (folder / "held").write_text("\n".join([lines[0], "1", *lines[2:]]))
    ended = sora("prove", "1", "--checkpoint", "held")
    assert (ended.code, "it cannot prove anything about this ledger" in ended.error) == (10, True)


def test_that_the_ledger_grew_is_proved_between_two_checkpoints(sora: Sora, key: str) -> None:
    old = sora("checkpoint", "--key", key, "--publish", "old").document["size"]
    sora("record", "elsewhere", "--video-id", "video_9")
    new = sora("checkpoint").document["size"]
    sora("prove", "--consistency", str(old), str(new), "--key", key, "--out", "p")
    ended = sora("prove", "--check", "p", "--against", "old", "--verifier", key)
    assert (ended.code, ended.document["proved"]) == (0, True)


def test_a_consistency_proof_from_another_checkpoint_shows_nothing(sora: Sora, key: str) -> None:
    sora("checkpoint", "--publish", "old")
    sora("prove", "--consistency", "1", "2", "--out", "p")
    ended = sora("prove", "--check", "p", "--against", "old")
    assert (ended.code, ended.document["trouble"][0].partition(":")[0]) == (10, "size")


@pytest.mark.parametrize("name", ["0", "99", "9" * 40, "nobody", "²"])
def test_a_record_that_is_not_there_is_refused(sora: Sora, denied: str, name: str) -> None:
    ended = sora("prove", name)
    assert (ended.code, "position" in ended.error) == (2, True)


@pytest.mark.parametrize("sizes", [("2", "1"), ("0", "99"), ("-1", "2")])
def test_sizes_that_cannot_be_are_refused(sora: Sora, denied: str, sizes: tuple[str, str]) -> None:
    assert sora("prove", "--consistency", *sizes).code == 2


@pytest.mark.parametrize("content", [b"", b"\xff" * 9, b"{}", b"old x\n\n", b"old 1\n\nhello"])
def test_a_file_that_is_no_proof_is_refused(sora: Sora, folder: Path, content: bytes) -> None:
    (folder / "other").write_bytes(content)
    ended = sora("prove", "--check", "other")
    assert (ended.code, "proof other: " in ended.error) == (2, True)


@pytest.mark.parametrize(
    "arguments", [[], ["1", "--consistency", "1", "2"], ["1", "--verifier", "v"], ["1", "--check", "p"]]
)
def test_one_thing_is_proved_or_checked_at_a_time(sora: Sora, arguments: list[str]) -> None:
    assert sora("prove", *arguments).code == 2


def test_a_proof_shows_nothing_of_its_neighbours(sora: Sora, key: str) -> None:
    records = sora("log").document["records"]
    proof = sora("prove", "2", "--key", key, "--format=text").out
    others = [record["event_id"] for record in records if record["position"] != 2]
    assert [name for name in others if name in proof] == []
