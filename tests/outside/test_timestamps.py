"""Checkpoints that a real time-stamping authority dated: `openssl ts` answers, and `openssl ts` checks."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger.tree.checkpoint import Checkpoint, Signer
from ledger.tree.head import TreeHead
from render_service.evidence import publishing
from render_service.evidence.timestamps import read_chain
from render_service.runtime.errors import NotStamped
from tests.outside.authority import Authority
from tests.outside.conftest import Person

PUBLISH = ("checkpoint", "--key", "signing.key", "--publish", "checkpoint.txt")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """Start an authority."""
    with Authority(tmp_path_factory.mktemp("tsa") / "clock") as running:
        yield running


@pytest.fixture
def publish(person: Person, authority: Authority) -> tuple[str, ...]:
    """Return the command that publishes with a timestamp, of a ledger with one record."""
    authority.lie = ""
    assert person("record", "elsewhere", "--video-id", "video_1").code == 0
    assert person("key", "new", "signing.key").code == 0
    return (*PUBLISH, "--timestamp", authority.url, "--tsa-chain", str(authority.root))


def verify(person: Person, chain: Path) -> Any:
    return person(
        "verify", "--against", "checkpoint.txt", "--verifier", "signing.key", "--tsa-chain", str(chain)
    )


def test_a_dated_checkpoint_is_believed_by_openssl_by_verify_and_in_a_bundle(
    person: Person, publish: tuple[str, ...], authority: Authority
) -> None:
    done = person(*publish)
    assert (done.code, "by CN=clock.example" in done.err) == (0, True)
    theirs = ["openssl", "ts", "-verify", "-data", "checkpoint.txt", "-in", "checkpoint.txt.tsr"]
    ran = subprocess.run(
        [*theirs, "-CAfile", str(authority.root)],
        cwd=person.folder,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    checked = verify(person, authority.root)
    stamped_at = f"{done.document['stamped_at']} by CN=clock.example"
    assert (checked.code, checked.document["stamped_at"]) == (0, stamped_at)
    [record] = person("log", "--stream", "checks").document["records"]
    assert (record["type"], record["payload"]["stamped_at"]) == (
        "checkpoint.timestamped",
        done.document["stamped_at"],
    )
    exported = person("export", "--all", "--out", "evidence.zip", "--checkpoint", "checkpoint.txt")
    assert exported.code == 0, exported.err
    bundle = person("verify-bundle", "evidence.zip", "--verifier", "signing.key").document
    assert bundle["timestamps"] == [f"{done.document['stamped_at'][:19].replace('T', ' ')}Z"]
    assert any("openssl ts -verify -data checkpoint" in words for words in bundle["shows_not"])


def test_a_signature_added_after_the_timestamp_leaves_it_valid(
    person: Person, publish: tuple[str, ...], authority: Authority
) -> None:
    person(*publish)
    with (person.folder / "checkpoint.txt").open("a", encoding="utf-8") as file:
        file.write("\N{EM DASH} another.example AAAAAAAA\n")
    assert verify(person, authority.root).code == 0


def test_a_timestamp_of_another_checkpoint_is_a_finding(
    person: Person, publish: tuple[str, ...], authority: Authority
) -> None:
    person(*publish)
    person("checkpoint", "--key", "signing.key", "--publish", "checkpoint.txt")  # longer, not dated
    checked = verify(person, authority.root)
    assert (checked.code, [each["code"] for each in checked.document["findings"]]) == (
        10,
        ["CHECKPOINT_TIMESTAMP"],
    )
    compared = person("checkpoint", "--check", "checkpoint.txt", "--tsa-chain", str(authority.root))
    assert (compared.code, "it is of another checkpoint" in compared.document["trouble"][0]) == (10, True)
    refused = person("export", "--all", "--out", "evidence.zip", "--checkpoint", "checkpoint.txt")
    assert (refused.code, (person.folder / "evidence.zip").exists()) == (2, False)


def test_an_authority_that_the_reader_does_not_trust_dates_nothing(
    person: Person, publish: tuple[str, ...], tmp_path: Path
) -> None:
    person(*publish)
    with Authority(tmp_path / "other") as other:
        assert verify(person, other.root).code == 10


def test_an_answer_that_does_not_count_publishes_and_records_nothing(
    person: Person, publish: tuple[str, ...], authority: Authority, tmp_path: Path
) -> None:
    cases = {
        "digest": "it is of another checkpoint",
        "nonce": "nonce mismatch",
        "refuse": "",
        "garbage": "not a timestamp of RFC 3161",
        "status": "the authority answered 503",
        "endless": "has more than 65536 bytes",
    }
    for lie, words in cases.items():
        authority.lie = lie
        ended = person(*publish)
        assert (ended.code, words in ended.err) == (8, True), (lie, ended.err)
    with Authority(tmp_path / "expired", valid_days=-1) as expired:
        options = ("--timestamp", expired.url, "--tsa-chain", str(expired.root))
        ended = person(*PUBLISH, *options)
        assert (ended.code, "expired" in ended.err) == (8, True), ended.err
    ended = person(*PUBLISH, "--timestamp", expired.url, "--tsa-chain", str(expired.root))
    assert (ended.code, "cannot be asked" in ended.err) == (8, True)
    assert list(person.folder.glob("checkpoint.txt*")) == []
    assert person("log", "--stream", "checks").document["records"] == []


def test_without_certificates_no_authority_is_asked(person: Person, publish: tuple[str, ...]) -> None:
    ended = person(*publish[:-2])
    assert (ended.code, "add --tsa-chain FILE" in ended.err) == (2, True)
    (person.folder / "chain.pem").write_text("none")
    ended = person(*publish[:-1], "chain.pem")
    assert (ended.code, "expected PEM" in ended.err) == (2, True)


def test_a_reader_without_this_program_reads_the_time_and_what_was_not_checked(
    person: Person, publish: tuple[str, ...], tmp_path: Path
) -> None:
    person(*publish)
    person("export", "--all", "--out", "evidence.zip", "--checkpoint", "checkpoint.txt")
    program = Path(__file__).parents[2] / "ledger" / "verify" / "verify_bundle.py"
    command = [sys.executable, "-I", "-S", str(program), str(person.folder / "evidence.zip")]
    ran = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (ran.returncode, "(X.509, CMS) is not checked here" in ran.stdout) == (0, True)


def test_a_time_that_is_not_ours_or_an_answer_that_does_not_come_is_an_error(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = Checkpoint("log.example", 1, bytes(32))
    signed = TreeHead(head, head.sign(Signer.generate("log.example")))
    chain = read_chain(authority.root)
    ask = publishing._stamp  # the clock is an argument only here
    authority.lie = ""
    with pytest.raises(NotStamped, match="check both clocks"):
        asyncio.run(ask(authority.url, signed, chain, datetime.now(UTC) - timedelta(hours=1)))
    authority.lie = "slow"
    monkeypatch.setattr(publishing, "LONGEST_S", 0.2)
    with pytest.raises(NotStamped, match=r"no answer within 0\.2 s"):
        asyncio.run(ask(authority.url, signed, chain, datetime.now(UTC)))
