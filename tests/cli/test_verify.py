"""``verify`` with everything it can be asked: an old checkpoint, what is new, stored files."""

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.canonical import canonical_json, leaf_hash
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora


@pytest.fixture
def signed_checkpoint(sora: Sora, denied: str) -> str:
    """Return a signed checkpoint of a ledger with one denied job, which has grown since."""
    sora("key", "new", "signing.key", "--name", "ledger.example")
    sora("checkpoint", "--key", "signing.key", "--publish", "held")
    sora("record", "elsewhere", "--video-id", "video_9")
    return "held"


def findings_of(ended: Any) -> list[str]:
    return [finding["code"] for finding in ended.document["findings"]]


def keep_first_record() -> None:
    """Cut everything after position 1, with the tools to leave the rest in order."""
    db = sqlite3.connect("ledger.db", isolation_level=None)
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    db.execute("DELETE FROM events WHERE position > 1")
    db.execute("UPDATE head SET size = 1, frontier = (SELECT leaf FROM events)")
    for table in ("private_bodies", "jobs", "holds", "work", "documents", "listing", "counts"):
        db.execute(f"DELETE FROM {table}")
    db.execute("INSERT INTO search (search) VALUES ('delete-all')")
    db.close()


def test_a_ledger_that_grew_is_as_the_checkpoint_says(sora: Sora, signed_checkpoint: str) -> None:
    ended = sora("verify", "--against", signed_checkpoint, "--verifier", "signing.key")
    assert (ended.code, ended.document["clean"], ended.document["signed_by"]) == (0, True, ["ledger.example"])


def test_a_person_reads_what_else_was_checked(sora: Sora, signed_checkpoint: str) -> None:
    text = sora(
        "verify",
        "--against",
        signed_checkpoint,
        "--verifier",
        "signing.key",
        "--with-assets",
        "--format=text",
    ).out
    assert "signed by ledger.example" in text
    assert "0 stored files checked: each as recorded" in text


def test_without_a_verifier_it_says_that_the_signature_was_not_checked(
    sora: Sora, signed_checkpoint: str
) -> None:
    assert "signature not checked" in sora("verify", "--against", signed_checkpoint).error


def test_a_cut_tail_is_found_though_the_ledger_is_intact(
    sora: Sora, signed_checkpoint: str, folder: Path
) -> None:
    keep_first_record()
    assert findings_of(sora("verify")) == []
    ended = sora("verify", "--against", signed_checkpoint)
    assert (ended.code, findings_of(ended)) == (10, ["CHECKPOINT_SIZE"])


def test_a_rewritten_tail_is_found_though_the_ledger_is_intact(sora: Sora, signed_checkpoint: str) -> None:
    keep_first_record()
    sora("create", "--prompt", "another fox", "--max-cost", "0.01", "--profile", "sandbox")
    assert findings_of(sora("verify")) == []
    ended = sora("verify", "--against", signed_checkpoint)
    assert (ended.code, findings_of(ended)) == (10, ["CHECKPOINT_ROOT"])


def test_another_ledger_is_found(sora: Sora, signed_checkpoint: str, folder: Path) -> None:
    (folder / "ledger.db").unlink()
    sora("create", "--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox")
    ended = sora("verify", "--against", signed_checkpoint)
    assert (ended.code, findings_of(ended)) == (10, ["CHECKPOINT_ORIGIN", "CHECKPOINT_ROOT"])


def test_a_checkpoint_that_was_changed_is_found(sora: Sora, signed_checkpoint: str, folder: Path) -> None:
    text = (folder / signed_checkpoint).read_text().split("\n")
    (folder / signed_checkpoint).write_text("\n".join([text[0], "1", *text[2:]]))
    ended = sora("verify", "--against", signed_checkpoint, "--verifier", "signing.key")
    assert findings_of(ended) == ["CHECKPOINT_ROOT", "CHECKPOINT_SIGNATURE"]


def test_a_checkpoint_that_another_person_signed_is_found(sora: Sora, signed_checkpoint: str) -> None:
    sora("key", "new", "other.key", "--name", "other.example")
    assert findings_of(sora("verify", "--against", signed_checkpoint, "--verifier", "other.key")) == [
        "CHECKPOINT_SIGNATURE"
    ]


def test_only_what_is_new_is_checked_and_it_says_so(sora: Sora, signed_checkpoint: str) -> None:
    size = sora("verify").document["size"]
    ended = sora("verify", "--since", str(size - 1), "--against", signed_checkpoint)
    assert (ended.code, ended.document["size"], "taken as they are" in ended.error) == (0, size, True)


def test_a_person_reads_from_where_on_it_is_intact(sora: Sora, signed_checkpoint: str) -> None:
    assert sora("verify", "--since", "2", "--format=text").out.startswith("intact after position 2: ")


@pytest.mark.parametrize("since", ["0", "-1", "99"])
def test_a_position_that_is_not_there_is_refused(sora: Sora, signed_checkpoint: str, since: str) -> None:
    assert sora("verify", "--since", since).code == 2


@pytest.mark.parametrize("content", [b"", b"\xff", b"a note\n\nhello\n", b"x" * 2_000_000])
def test_a_file_that_is_no_checkpoint_is_refused(
    sora: Sora, denied: str, folder: Path, content: bytes
) -> None:
    (folder / "other").write_bytes(content)
    ended = sora("verify", "--against", "other")
    assert (ended.code, "checkpoint other: " in ended.error) == (2, True)


def test_a_verifier_alone_checks_nothing(sora: Sora, denied: str) -> None:
    assert sora("verify", "--verifier", "k").code == 2


def test_stored_files_are_digested(sora: Sora, server: Callable[..., SandboxServer], folder: Path) -> None:
    server()
    sora("create-and-poll", "--prompt", "a fox", "--poll-interval", "0.05")
    clean = sora("verify", "--with-assets")
    assert (clean.code, clean.document["files"]) == (0, 1)
    video = next((folder / "assets" / "sha256").rglob("*.mp4"))
    video.write_bytes(video.read_bytes() + b"!")
    changed = sora("verify", "--with-assets")
    video.unlink()
    missing = sora("verify", "--with-assets")
    assert (changed.code, findings_of(changed), missing.code, findings_of(missing)) == (
        10,
        ["ASSET_CHANGED"],
        10,
        ["ASSET_MISSING"],
    )


def tamper(*statements: str) -> None:
    """Change what lies beside the log, which no trigger guards."""
    db = sqlite3.connect("ledger.db", isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


@pytest.mark.parametrize("since", [[], ["--since", "2"]], ids=["all", "since"])
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM head", ["HEAD_SIZE", "HEAD_ROOT"]),
        ("UPDATE head SET frontier = x''", ["HEAD_ROOT"]),
        ("UPDATE head SET size = 1", ["HEAD_SIZE"]),
    ],
)
def test_a_head_that_cannot_be_read_is_a_finding_like_others(
    sora: Sora, denied: str, since: list[str], statement: str, expected: list[str]
) -> None:
    tamper(statement)
    ended = sora("verify", *since)
    assert (ended.code, findings_of(ended)) == (10, expected)


def test_a_tail_cut_below_the_position_is_found_by_the_checkpoint(sora: Sora, signed_checkpoint: str) -> None:
    keep_first_record()
    ended = sora("verify", "--since", "2", "--against", signed_checkpoint)
    assert (ended.code, findings_of(ended), ended.document["since"]) == (10, ["CHECKPOINT_SIZE"], None)


def claim_format_2(*, rewritten: bool) -> None:
    """Let position 1 say that the ledger is of a newer format; `rewritten` with record and leaf to match."""
    record, payload = first_record()
    edited = canonical_json(payload | {"format": 2})
    tamper_first("payload", edited)
    if rewritten:
        forged = canonical_json(record | {"payload_sha256": hashlib.sha256(edited).hexdigest()})
        tamper_first("record", forged)
        tamper_first("leaf", leaf_hash(forged))


def first_record() -> list[dict[str, Any]]:
    db = sqlite3.connect("ledger.db")
    row = db.execute("SELECT record, payload FROM events WHERE position = 1").fetchone()
    db.close()
    return [json.loads(stored) for stored in row]


def tamper_first(column: str, value: bytes) -> None:
    db = sqlite3.connect("ledger.db", isolation_level=None)
    db.execute("DROP TRIGGER IF EXISTS events_no_update")
    db.execute(f"UPDATE events SET {column} = ? WHERE position = 1", (value,))
    db.close()


def test_an_edited_first_payload_cannot_turn_verification_away(sora: Sora, signed_checkpoint: str) -> None:
    claim_format_2(rewritten=False)
    ended = sora("verify", "--against", signed_checkpoint)
    assert (ended.code, findings_of(ended)) == (10, ["PAYLOAD_DIGEST"])
    tamper_first("payload", b"[" * 100_000)
    ended = sora("verify")
    assert (ended.code, findings_of(ended)) == (10, ["PAYLOAD_DIGEST", "PAYLOAD_NOT_CANONICAL"])


def test_a_first_record_that_was_rewritten_cannot_either(sora: Sora, signed_checkpoint: str) -> None:
    claim_format_2(rewritten=True)
    ended = sora("verify")
    assert (ended.code, findings_of(ended)) == (10, ["HEAD_ROOT"])


def test_of_a_whole_that_was_rewritten_the_checkpoint_tells(sora: Sora, signed_checkpoint: str) -> None:
    keep_first_record()
    claim_format_2(rewritten=True)
    tamper("UPDATE head SET frontier = (SELECT leaf FROM events)")
    assert sora("verify").code == 7
    ended = sora("verify", "--against", signed_checkpoint)
    assert (ended.code, findings_of(ended)) == (10, ["CHECKPOINT_SIZE"])


def checks(sora: Sora) -> list[dict[str, Any]]:
    """Return the records of checks, oldest first."""
    records = sora("log", "--stream", "checks").document["records"]
    return sorted(records, key=lambda each: each["position"])


def test_a_verification_that_found_the_ledger_intact_is_recorded_when_asked(
    sora: Sora, signed_checkpoint: str
) -> None:
    sora("verify")
    assert checks(sora) == []
    verified = sora("verify", "--against", signed_checkpoint, "--with-assets", "--record", "--actor", "otto")
    [record] = checks(sora)
    assert (record["type"], record["actor"]) == ("ledger.verified", "otto")
    document = verified.document
    expected = {"size": document["size"], "root": document["root"], "jobs": 1, "files": 0}
    assert record["payload"] == expected | {"extends": document["against"]}
    assert sora("verify").document["size"] == document["size"] + 1


def test_a_verification_with_findings_leaves_the_ledger_as_it_is(sora: Sora, signed_checkpoint: str) -> None:
    with sqlite3.connect("ledger.db") as db:
        db.execute("UPDATE jobs SET version = version + 1")
    db.close()
    assert sora("verify", "--record").code == 10
    assert checks(sora) == []


def test_only_a_verification_of_everything_is_recorded(sora: Sora, signed_checkpoint: str) -> None:
    refused = sora("verify", "--since", "1", "--record")
    assert (refused.code, "leave out --since" in refused.err) == (2, True)


def digests(sora: Sora) -> list[dict[str, Any]]:
    return sora("log", "--stream", "projection").document["records"]


def test_the_digest_of_the_rows_is_recorded_when_asked_and_compared_from_then_on(
    sora: Sora, signed_checkpoint: str
) -> None:
    size = sora("verify").document["size"]
    recorded = sora("replay", "--record", "--actor", "otto")
    [record] = digests(sora)
    assert (recorded.code, record["actor"]) == (0, "otto")
    assert (record["payload"]["position"], record["payload"]["jobs"]) == (size, 1)
    again = sora("replay").document
    assert again["recorded_digests"] == {"compared": 1, "not_compared": 0, "drifted": []}


def test_rows_that_drifted_are_not_recorded_but_replayed_ones_are(sora: Sora, signed_checkpoint: str) -> None:
    sora("replay", "--record")
    with sqlite3.connect("ledger.db") as db:
        db.execute("UPDATE jobs SET body = CAST(replace(body, '\"attempts\":0', '\"attempts\":7') AS BLOB)")
    db.close()
    assert sora("replay", "--record").code == 10
    assert len(digests(sora)) == 1
    assert sora("replay", "--swap", "--record").code == 0
    assert len(digests(sora)) == 2
    assert sora("replay").code == 0


def test_a_digest_is_of_all_jobs_now(sora: Sora, signed_checkpoint: str) -> None:
    for option in (["--as-of", "2"], ["--decisions"]):
        refused = sora("replay", "--record", *option)
        assert (refused.code, "leave out --decisions and --as-of" in refused.err) == (2, True)
