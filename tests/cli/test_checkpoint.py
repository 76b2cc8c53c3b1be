"""Checkpoints: what is signed, where it goes, and what an old one says about today's ledger."""

import re
import sqlite3
from pathlib import Path

import obstore
import pytest
from obstore.store import from_url

from ledger.log.opening import open_ledger
from ledger.tree.checkpoint import Checkpoint, Note, Signer
from tests.cli.conftest import Sora


@pytest.fixture
def key(sora: Sora) -> str:
    """Return the file of a key made for these tests."""
    sora("key", "new", "signing.key", "--name", "ledger.example")
    return "signing.key"


@pytest.fixture
def published(sora: Sora, denied: str, key: str, folder: Path) -> Path:
    """Return the signed checkpoint of a ledger with one denied job."""
    sora("checkpoint", "--key", key, "--publish", "checkpoint")
    return folder / "checkpoint"


def grow(sora: Sora) -> None:
    sora("record", "elsewhere", "--video-id", "video_9")


def tamper(statement: str) -> None:
    db = sqlite3.connect("ledger.db", isolation_level=None)
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    db.execute(statement)
    db.close()


def test_a_published_checkpoint_is_the_head_signed_by_the_key(published: Path, folder: Path) -> None:
    note = Note.parse(published.read_bytes())
    note.find_signers([Signer.parse((folder / "signing.key").read_text()).verifier])
    with open_ledger("ledger.db") as ledger:
        head = ledger.head()
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.size, checkpoint.root) == head


def test_a_terminal_reads_the_note_itself(sora: Sora, published: Path) -> None:
    assert sora("checkpoint", "--key", "signing.key", "--format=text").out == published.read_text()


def test_the_key_may_come_from_the_environment(
    sora: Sora, denied: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_LEDGER_KEY", key)
    assert sora("checkpoint").document["signed"] is True


def test_without_a_key_it_says_that_nothing_is_signed(sora: Sora, denied: str) -> None:
    ended = sora("checkpoint")
    assert (ended.document["signed"], "not signed" in ended.error) == (False, True)


def test_a_ledger_that_only_grew_extends_the_checkpoint(sora: Sora, published: Path) -> None:
    grow(sora)
    ended = sora("checkpoint", "--check", "checkpoint", "--verifier", "signing.key")
    assert (ended.code, ended.document["extends"], ended.document["signed_by"]) == (
        0,
        True,
        ["ledger.example"],
    )


def test_without_a_verifier_it_says_that_the_signature_was_not_checked(sora: Sora, published: Path) -> None:
    assert "signature not checked" in sora("checkpoint", "--check", "checkpoint", "--format=text").out


def test_an_unsigned_checkpoint_is_compared_and_not_believed(sora: Sora, denied: str, key: str) -> None:
    sora("checkpoint", "--publish", "lines")
    assert sora("checkpoint", "--check", "lines").code == 0
    assert sora("checkpoint", "--check", "lines", "--verifier", key).code == 10


def test_a_cut_tail_is_found(sora: Sora, published: Path) -> None:
    with open_ledger("ledger.db") as ledger:
        tree = ledger.store.nodes(0, 0, 1)
    tamper("DELETE FROM events WHERE position > 1")
    tamper(f"UPDATE head SET size = 1, frontier = x'{tree[0].hex()}'")
    ended = sora("checkpoint", "--check", "checkpoint", "--verifier", "signing.key")
    assert (ended.code, "its tail was cut" in ended.document["trouble"][0]) == (10, True)


def test_a_head_that_is_not_that_of_the_records_is_neither_signed_nor_taken_for_them(
    sora: Sora, published: Path
) -> None:
    tamper("DELETE FROM events WHERE position = 2")
    signed = sora("checkpoint", "--key", "signing.key")
    assert (signed.code, signed.data, "so it is not signed" in signed.error) == (10, "", True)
    compared = sora("checkpoint", "--check", "checkpoint")
    assert (compared.code, compared.document["trouble"][0].partition(":")[0]) == (10, "head")


def test_a_ledger_made_anew_is_found(sora: Sora, published: Path, folder: Path) -> None:
    (folder / "ledger.db").unlink()
    sora("create", "--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox")
    ended = sora("checkpoint", "--check", "checkpoint", "--verifier", "signing.key")
    assert (ended.code, [trouble.partition(":")[0] for trouble in ended.document["trouble"]]) == (
        10,
        ["origin", "root"],
    )


def test_a_checkpoint_that_was_changed_is_found(sora: Sora, published: Path) -> None:
    published.write_text(re.sub("\n[0-9]+\n", "\n1\n", published.read_text()))
    ended = sora("checkpoint", "--check", "checkpoint", "--verifier", "signing.key")
    assert (ended.code, ended.document["trouble"][0].partition(":")[0]) == (10, "signature")


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b"PNG\n\n", b"x" * 2_000_000, b"a\n1\nAA==\n"])
def test_a_file_that_is_no_checkpoint_is_refused(
    sora: Sora, denied: str, folder: Path, content: bytes
) -> None:
    (folder / "other").write_bytes(content)
    ended = sora("checkpoint", "--check", "other")
    assert (ended.code, "checkpoint other: " in ended.error) == (2, True)


def test_a_truncated_checkpoint_is_refused(sora: Sora, published: Path) -> None:
    published.write_bytes(published.read_bytes()[:-20])
    assert sora("checkpoint", "--check", "checkpoint").code == 2


def test_it_is_published_whole_or_not_at_all(sora: Sora, denied: str, folder: Path) -> None:
    (folder / "place").mkdir()
    before = sorted(folder.rglob("*"))
    ended = sora("checkpoint", "--publish", "place")
    assert (ended.code, sorted(folder.rglob("*"))) == (2, before)


def test_a_file_that_is_no_checkpoint_is_not_replaced(sora: Sora, denied: str, folder: Path) -> None:
    (folder / "thesis").write_text("mine")
    ended = sora("checkpoint", "--publish", "thesis")
    assert (ended.code, (folder / "thesis").read_text()) == (2, "mine")


def test_the_ledger_itself_is_not_replaced(sora: Sora, denied: str) -> None:
    assert (sora("checkpoint", "--publish", "ledger.db").code, sora("verify").code) == (2, 0)


def test_an_older_checkpoint_is_replaced(sora: Sora, published: Path) -> None:
    grow(sora)
    ended = sora("checkpoint", "--publish", "checkpoint")
    assert (ended.code, published.read_text()) == (0, ended.document["checkpoint"])


def test_what_was_published_of_another_history_is_not_replaced(
    sora: Sora, published: Path, folder: Path
) -> None:
    before = published.read_bytes()
    (folder / "ledger.db").unlink()
    sora("create", "--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox")
    ended = sora("checkpoint", "--publish", "checkpoint")
    assert (ended.code, published.read_bytes()) == (10, before)


def test_a_file_uri_is_a_file(sora: Sora, denied: str, folder: Path) -> None:
    sora("checkpoint", "--publish", (folder / "a b").as_uri())
    assert (folder / "a b").read_text().startswith("sora-ledger/")


def test_it_is_published_into_a_store_of_objects(sora: Sora, denied: str, bucket: str) -> None:
    ended = sora("checkpoint", "--publish", f"s3://{bucket}/daily/latest")
    stored = obstore.get(from_url(f"s3://{bucket}"), "daily/latest").bytes().to_bytes()
    assert (ended.code, stored.decode()) == (0, ended.document["checkpoint"])


def test_what_is_in_a_store_is_replaced_only_by_a_ledger_that_goes_on_from_it(
    sora: Sora, denied: str, bucket: str, folder: Path
) -> None:
    target = f"s3://{bucket}/weekly/latest"
    sora("checkpoint", "--publish", target)
    grow(sora)
    assert sora("checkpoint", "--publish", target).code == 0
    (folder / "ledger.db").unlink()
    sora("create", "--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox")
    assert sora("checkpoint", "--publish", target).code == 10


def test_a_bucket_that_is_not_there_is_an_error_with_the_next_step(
    sora: Sora, denied: str, bucket: str
) -> None:
    ended = sora("checkpoint", "--publish", "s3://elsewhere/latest")
    assert (ended.code, "check bucket, permissions and credentials" in ended.error) == (1, True)


@pytest.mark.parametrize("target", ["ftp://host/x", "s3://bucket", "file://host/x"])
def test_a_place_that_is_no_place_is_refused(sora: Sora, denied: str, target: str) -> None:
    ended = sora("checkpoint", "--publish", target)
    assert (ended.code, "expected a path" in ended.error) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [["--check", "c", "--publish", "d"], ["--check", "c", "--key", "k"], ["--verifier", "v"]],
)
def test_options_that_exclude_each_other_are_refused(sora: Sora, arguments: list[str]) -> None:
    assert sora("checkpoint", *arguments).code == 2


def test_a_publication_is_recorded_when_asked_with_its_place_and_its_signatures(
    sora: Sora, published: Path, key: str, folder: Path
) -> None:
    size = len(sora("log").document["records"])
    witness = Signer.generate("witness.example")
    head = Checkpoint.parse(Note.parse(published.read_bytes()).text)
    published.write_bytes(published.read_bytes() + head.sign(witness).signatures[0].line().encode())
    sora("checkpoint", "--key", key, "--publish", str(published))
    assert len(sora("log").document["records"]) == size
    shown = sora("checkpoint", "--key", key, "--publish", str(published), "--record").document
    [record] = sora("log", "--stream", "checks").document["records"]
    payload = record["payload"]
    assert (record["type"], payload["size"], payload["root"]) == (
        "checkpoint.published",
        shown["size"],
        shown["root"],
    )
    assert (payload["signed_by"], payload["cosigned_by"]) == (["ledger.example"], ["witness.example"])
    assert payload["target"]["text"] == published.as_uri()
    sora("verify", "--against", str(published))


def test_only_a_publication_is_recorded(sora: Sora, published: Path) -> None:
    refused = sora("checkpoint", "--record")
    assert (refused.code, "--record is for --publish" in refused.err) == (2, True)
