"""`key certificate`, `publish` and `verify-provenance`, as they are typed."""

import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import obstore
import pytest
from obstore.store import from_url

from sora_adapter.sandbox.server import SandboxServer
from tests import c2pa_peer as peer
from tests.cli.conftest import Sora


@pytest.fixture
def job_id(server: Callable[..., SandboxServer], sora: Sora) -> str:
    server()
    ended = sora("create-and-poll", "--prompt", "a fox", "--poll-interval", "0.05")
    return str(ended.document["final"]["job_id"])


@pytest.fixture
def certificate(sora: Sora, folder: Path) -> Path:
    made = sora("key", "certificate", "studio.pem", "--test-ca", "--name", "Studio")
    assert (made.code, made.document["signer"]) == (0, "Studio")
    assert "PRIVATE KEY" not in made.out + made.err
    return folder / "studio.pem"


def test_a_published_film_is_checked_under_another_name_back_to_its_record(
    job_id: str, sora: Sora, certificate: Path, folder: Path
) -> None:
    sora("key", "new", "log.key", "--name", "log.example")
    options = ["--to", "film.mp4", "--certificate", str(certificate), "--key", "log.key"]
    published = sora("publish", job_id, *options)
    assert (published.code, published.document["marking"]) == (0, "signed")
    shutil.move(folder / "film.mp4", folder / "other.mp4")
    authority = f"{certificate}.authority.pem"
    checked = sora("verify-provenance", "other.mp4", "--trust", authority, "--verifier", "log.key")
    found = checked.document
    assert (checked.code, found["holds"], found["manifest"]["validity"]) == (0, True, "trusted")
    assert (found["record"]["job"], found["record_found"], found["signed_by"]) == (
        job_id,
        True,
        ["log.example"],
    )
    assert sora("verify").code == 0


def test_a_changed_film_ends_with_10_and_says_what_changed(
    job_id: str, sora: Sora, certificate: Path, folder: Path
) -> None:
    sora("publish", job_id, "--to", "film.mp4", "--certificate", str(certificate))
    content = bytearray((folder / "film.mp4").read_bytes())
    content[-200] ^= 1
    (folder / "film.mp4").write_bytes(content)
    checked = sora("verify-provenance", "film.mp4", "--format", "text")
    assert checked.code == 10
    assert "pictures, sound or other content differ from what was signed" in checked.out


def test_a_film_can_be_checked_where_there_is_no_ledger(
    job_id: str, sora: Sora, certificate: Path, tmp_path: Path
) -> None:
    sora("publish", job_id, "--to", "film.mp4", "--certificate", str(certificate))
    checked = sora("verify-provenance", "film.mp4", "--ledger", str(tmp_path / "none" / "ledger.db"))
    assert (checked.code, checked.document["record_found"]) == (0, None)


def test_explain_shows_what_was_signed_and_where_it_was_published(
    job_id: str, sora: Sora, certificate: Path
) -> None:
    sora("publish", job_id, "--to", "film.mp4", "--certificate", str(certificate))
    text = sora("explain", job_id, "--format", "text").out
    assert "What shows where the video is from?" in text
    assert "signed: video by Studio (es256), source type trainedAlgorithmicMedia" in text


def test_a_label_is_printed_reported_and_explained(job_id: str, sora: Sora, certificate: Path) -> None:
    options = ["--to", "film.mp4", "--certificate", str(certificate), "--eu-icon", "--corner", "top-right"]
    published = sora("publish", job_id, *options, "--format", "text")
    assert (published.code, "the EU icon is in the top-right corner" in published.out) == (0, True)
    assert "with the EU icon" in sora("explain", job_id, "--format", "text").out
    (row,) = sora("report", "article-50").document["files"]
    assert row["label"] == "with the EU icon"


def test_publishing_unmarked_bytes_is_reported_and_can_be_forbidden(
    job_id: str, sora: Sora, folder: Path
) -> None:
    published = sora("publish", job_id, "--to", "plain.mp4", "--as-stored")
    assert (published.code, published.document["marking"]) == (0, "none")
    assert "no mark" in published.err
    packaged = files("decision").joinpath("policy.toml").read_text(encoding="utf-8")
    (folder / "strict.toml").write_text(packaged.replace("# require_marking = ", "require_marking = "))
    assert sora("policy", "activate", "strict.toml", "--reason", "the law").code == 0
    options = ["--prompt", "a fox", "--purpose", "final", "--poll-interval", "0.05"]
    final = sora("create-and-poll", *options).document["final"]["job_id"]
    refused = sora("publish", final, "--to", "final.mp4", "--as-stored")
    assert (refused.code, "sign it (--certificate FILE" in refused.err) == (3, True)


def test_a_bucket_gets_the_signed_copy_once(
    job_id: str, sora: Sora, certificate: Path, bucket: str, folder: Path
) -> None:
    target = f"s3://{bucket}/films/{job_id}.mp4"
    command = ["publish", job_id, "--to", target, "--certificate", str(certificate)]
    first, second = sora(*command), sora(*command)
    stored = obstore.get(from_url(f"s3://{bucket}"), f"films/{job_id}.mp4").bytes().to_bytes()
    assert (first.code, first.document["target"], peer.read(stored)[0]) == (0, target, "Valid")
    assert (second.code, "it exists already" in second.err) == (2, True)
    assert not list((folder / "assets" / "tmp").iterdir())


def test_a_bucket_that_does_not_exist_is_named(
    job_id: str, sora: Sora, certificate: Path, bucket: str
) -> None:
    ended = sora("publish", job_id, "--to", "s3://elsewhere/film.mp4", "--certificate", str(certificate))
    assert (ended.code, "s3://elsewhere/film.mp4: cannot be written" in ended.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["publish", "job_nothing", "--to", "a.mp4", "--as-stored"], "job_nothing"),
        (["publish", "JOB", "--to", "a.mp4"], "--certificate FILE"),
        (["publish", "JOB", "--to", "none/a.mp4", "--as-stored"], "does not exist"),
        (["publish", "JOB", "--to", "ftp://a/b.mp4", "--as-stored"], "s3://bucket/key"),
        (["publish", "JOB", "--to", "a.mp4", "--as-stored", "--certificate", "x"], "leave out"),
        (["publish", "JOB", "--to", "a.mp4", "--certificate", "none.pem"], "cannot be read"),
        (["publish", "JOB", "--to", "a.mp4", "--as-stored", "--eu-icon"], "--as-stored changes nothing"),
        (["publish", "JOB", "--to", "a.mp4", "--as-stored", "--timestamp", "http://a"], "leave out"),
        (["publish", "JOB", "--to", "a.mp4", "--eu-icon", "--label", "AI"], "choose one of"),
        (["publish", "JOB", "--to", "a.mp4", "--eu-icon", "--font", "a.ttf"], "--font is for --label"),
        (["publish", "JOB", "--to", "a.mp4", "--corner", "top-left"], "--corner is for"),
        (["publish", "JOB", "--to", "a.mp4", "--icon", "none.png"], "--certificate FILE"),
        (["key", "certificate", "a.pem"], "--test-ca"),
        (["key", "certificate", "a.pem", "--chain", "none", "--private-key", "none"], "cannot be read"),
        (["verify-provenance", "none.mp4"], "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_explained_and_writes_nothing(
    job_id: str, sora: Sora, folder: Path, arguments: list[str], words: str
) -> None:
    ended = sora(*[job_id if word == "JOB" else word for word in arguments])
    assert (ended.code, words in ended.err) == (2, True)
    assert not [*folder.glob("a.*"), *folder.glob(".a.*")]


def test_without_the_extra_every_command_names_it(
    job_id: str, sora: Sora, certificate: Path, monkeypatch: pytest.MonkeyPatch, folder: Path, clip: bytes
) -> None:
    (folder / "theirs.mp4").write_bytes(peer.signed(clip, peer.credentials()))
    monkeypatch.setattr("render_service.provenance.manifest.is_installed", lambda: False)
    for arguments in (
        ["publish", job_id, "--to", "film.mp4", "--certificate", str(certificate)],
        ["verify-provenance", "theirs.mp4"],
    ):
        ended = sora(*arguments)
        assert (ended.code, "pip install 'sora-ledger[c2pa]'" in ended.err) == (2, True)
