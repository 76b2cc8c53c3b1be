"""`report article-50` lists everything that was published, gaps first, in forms that others read."""

import csv
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

from ledger.tree.checkpoint import Verifier
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora


@pytest.fixture
def published(server: Callable[..., SandboxServer], sora: Sora) -> dict[str, str]:
    """Publish an unmarked film and one that is signed, and approved by somebody else; return their jobs."""
    server()
    jobs = {}
    for name in ("plain", "signed"):
        ended = sora("create-and-poll", "--prompt", f"a {name} fox", "--poll-interval", "0.05")
        jobs[name] = ended.document["final"]["job_id"]
    sora("key", "certificate", "studio.pem", "--test-ca", "--name", "Studio")
    review = ["--verdict", "approved", "--actor", "maria", "--notes", "fine"]
    assert sora("review", jobs["signed"], *review).code == 0
    signed = sora("publish", jobs["signed"], "--to", "signed.mp4", "--certificate", "studio.pem")
    plain = sora("publish", jobs["plain"], "--to", "plain.mp4", "--as-stored")
    assert (signed.code, plain.code) == (0, 0)
    return jobs


def test_gaps_come_first_and_name_what_is_missing(
    published: dict[str, str], sora: Sora, folder: Path
) -> None:
    report = sora("report", "article-50").document
    first, second = report["files"]
    assert (report["published"], report["marked"], report["with_gaps"]) == (2, 1, 1)
    assert (first["job_id"], first["gaps"]) == (published["plain"], ["NOT_MARKED", "NOT_APPROVED"])
    assert (second["job_id"], second["gaps"], second["signer"]) == (published["signed"], [], "Studio")
    assert [(one["by"], one["verdict"]) for one in second["reviewed_by"]] == [("maria", "approved")]
    assert second["sha256"] == hashlib.sha256((folder / "signed.mp4").read_bytes()).hexdigest()
    assert (second["model"], second["purpose"]) == ("sora-2", "draft")


def test_a_review_after_the_publication_closes_no_gap(published: dict[str, str], sora: Sora) -> None:
    sora("review", published["plain"], "--verdict", "approved", "--actor", "maria")
    assert "NOT_APPROVED" in sora("report", "article-50").document["files"][0]["gaps"]


def test_only_the_period_that_was_asked_for_is_reported(published: dict[str, str], sora: Sora) -> None:
    assert sora("report", "article-50", "--until", "2020-01-01").document["files"] == []
    assert sora("report", "article-50", "--since", "2099-01-01").document["published"] == 0
    assert sora("report", "article-50", "--since", "2020-01-01").document["published"] == 2


def test_the_table_and_the_page_have_the_same_files(published: dict[str, str], sora: Sora) -> None:
    rows = list(csv.DictReader(io.StringIO(sora("report", "article-50", "--csv").out)))
    page = sora("report", "article-50", "--html").out
    assert [row["job_id"] for row in rows] == [published["plain"], published["signed"]]
    assert rows[0]["gaps"] == "NOT_MARKED NOT_APPROVED"
    assert page.startswith("<!doctype html>")
    assert all(job in page for job in published.values())
    assert "<script" not in page


def test_the_envelope_is_verified_by_software_that_shares_no_code(
    published: dict[str, str], sora: Sora, folder: Path
) -> None:
    verifier = Verifier.parse(sora("key", "new", "log.key", "--name", "log.example").document["verifier"])
    written = sora("report", "article-50", "--envelope", "report.json", "--key", "log.key")
    assert written.code == 0
    key_id = verifier.key_id.hex()
    public = {"public": verifier.public_key.hex()}
    key = SSlibKey(key_id, "ed25519", "ed25519", public)
    envelope = Envelope.from_dict(json.loads((folder / "report.json").read_text()))
    assert set(envelope.verify([key], 1)) == {key_id}
    statement = json.loads(envelope.payload)
    assert (statement["_type"], envelope.payload_type) == (
        "https://in-toto.io/Statement/v1",
        "application/vnd.in-toto+json",
    )
    digests = {one["digest"]["sha256"] for one in statement["subject"]}
    assert {row["sha256"] for row in statement["predicate"]["files"]} < digests
    envelope.payload = envelope.payload.replace(b"Studio", b"Nobody")
    with pytest.raises(VerificationError):
        envelope.verify([key], 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--html", "--csv"], "exclude each other"),
        (["--envelope", "a.json"], "--key FILE"),
        (["--key", "log.key"], "--envelope FILE"),
        (["--since", "soon"], "2026-10"),
    ],
)
def test_options_that_do_not_fit_are_explained(sora: Sora, arguments: list[str], words: str) -> None:
    ended = sora("report", "article-50", *arguments)
    assert (ended.code, words in ended.err) == (2, True)
