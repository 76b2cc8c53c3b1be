"""Edits, extensions and characters, from the command line to the bytes."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora
from tests.conftest import Faults

ASKED = ["--prompt", "make it dusk"]


@pytest.fixture
def made(server: Callable[..., SandboxServer], sora: Sora) -> str:
    """Return the id of a completed video of four seconds."""
    server()
    ended = sora("create-and-poll", "--prompt", "a teal coupe on a desert highway", "--poll-interval", "0.05")
    assert ended.code == 0
    return str(ended.document["final"]["job_id"])


@pytest.fixture
def film(folder: Path, clip: bytes) -> Path:
    path = folder / "clip.mp4"
    path.write_bytes(clip)
    return path


def settled(sora: Sora, job_id: str) -> Any:
    ended = sora("poll", job_id, "--poll-interval", "0.05")
    assert ended.code == 0
    return ended.document


def test_an_edit_of_a_video_is_rendered_and_stored(sora: Sora, made: str) -> None:
    ended = sora("edit", "--id", made, *ASKED)
    final = settled(sora, ended.document["job_id"])
    assert (final["operation"], final["state"], final["source_job"]) == ("edit", "stored", made)


def test_an_edit_may_change_several_things(sora: Sora, made: str) -> None:
    ended = sora("edit", made, "--prompt", "make it dusk, and replace the car by a bus")
    assert (ended.code, "EDIT_OF_SEVERAL_CHANGES" in ended.document["decision"]["reason_codes"]) == (0, True)


def test_an_edit_of_a_file_keeps_the_file_and_its_shape(
    sora: Sora, server: Callable[..., SandboxServer], film: Path
) -> None:
    server()
    document = sora("edit", "--video", str(film), *ASKED).document
    final = settled(sora, document["job_id"])
    assert (final["state"], final["size"], final["seconds"]) == ("stored", "1280x720", "4")
    records = sora("show", document["job_id"]).document["records"]
    kept = records[0]["payload"]["source_file"]
    assert kept["media_type"] == "video/mp4"
    assert (
        film.parent / "assets" / kept["storage_uri"].removeprefix("asset:")
    ).read_bytes() == film.read_bytes()


def test_a_dry_edit_of_a_file_needs_no_ledger(sora: Sora, folder: Path, film: Path) -> None:
    ended = sora("edit", "--video", str(film), *ASKED, "--dry-run", "--profile", "sandbox")
    assert ended.document["request"]["files"]["video"]["bytes"] == film.stat().st_size
    assert not (folder / "ledger.db").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a video with --id, or give its file with --video; neither was given"),
        (["--id", "job_1", "--video", "clip.mp4"], "both were given"),
        (["--video", "nowhere.mp4"], "video nowhere.mp4: cannot be read (No such file or directory)"),
        (["--video", "."], "video .: cannot be read (Is a directory)"),
        (["--video", "pipe.mp4"], "video pipe.mp4: expected a regular file"),
        (["--video", "text.mp4"], "video text.mp4: expected an MP4 file with a video track"),
        (["--video", "sound.wav"], "video sound.wav: expected an MP4 file with a video track"),
    ],
)
def test_an_edit_of_nothing_usable_is_refused(
    sora: Sora, folder: Path, arguments: list[str], message: str
) -> None:
    (folder / "text.mp4").write_text("this is text")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "sound.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
    ended = sora("edit", *arguments, *ASKED, "--profile", "sandbox")
    assert (ended.code, message in ended.error) == (2, True)


def test_an_extension_is_as_long_as_both_together(sora: Sora, made: str) -> None:
    ended = sora("extend", "--id", made, "--seconds", "4", "--prompt", "it drives on")
    final = settled(sora, ended.document["job_id"])
    assert (final["operation"], final["state"], final["seconds"]) == ("extend", "stored", "8")
    stored = [r for r in sora("show", final["job_id"]).document["records"] if r["type"] == "asset.stored"]
    assert stored[0]["payload"]["probe"]["duration_ms"] == 8_000
    assert stored[0]["payload"]["mismatches"] == []


def test_an_extension_says_how_long_it_may_be(sora: Sora, made: str) -> None:
    ended = sora("extend", made, "--seconds", "5", "--prompt", "on")
    assert (ended.code, "offered: 4, 8, 12, 16, 20" in ended.error) == (2, True)
    ended = sora("extend", made, "--prompt", "on")
    assert (ended.code, "an extension needs its length" in ended.error) == (2, True)


def test_a_character_is_made_recorded_and_seen_again(
    sora: Sora, server: Callable[..., SandboxServer], film: Path
) -> None:
    server()
    made = sora("create-character", "--name", "Mossy", "--video-file", str(film)).document
    assert (made["id"][:5], made["name"], made["recorded"]["profile"]) == ("char_", "Mossy", "custom")
    document = sora("character", "--id", made["id"]).document
    assert document == made
    assert sora("verify").code == 0


def test_the_characters_of_a_server_have_a_stream(
    sora: Sora, server: Callable[..., SandboxServer], film: Path
) -> None:
    server()
    made = sora("create-character", "--name", "Mossy", "--video-file", str(film)).document
    records = sora("log", "--stream", "characters_custom").out
    assert made["id"] in records


def test_a_character_of_the_ledger_needs_no_server(
    sora: Sora, server: Callable[..., SandboxServer], film: Path
) -> None:
    server()
    made = sora("create-character", "--name", "Mossy", "--video-file", str(film)).document
    known = sora("character", "--id", made["id"], "--offline").document
    assert known == made | {"created_at": None}
    ended = sora("character", "--id", "char_other", "--offline")
    assert (ended.code, "is no character of this ledger" in ended.error) == (2, True)


def test_a_name_that_is_too_long_for_a_character_is_refused_here(sora: Sora, film: Path) -> None:
    ended = sora("create-character", "--name", "M" * 81, "--video-file", str(film), "--profile", "sandbox")
    assert (ended.code, "name must be 1 to 80 printable characters" in ended.error) == (2, True)


def test_a_character_nobody_knows_ends_with_1(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    assert sora("character", "--id", "char_nowhere").code == 1
    assert not (folder / "ledger.db").exists()


@pytest.mark.parametrize(
    "arguments",
    [["create-character", "--name", "Mossy", "--video-file", "clip.mp4"], ["character", "--id", "c"]],
)
def test_a_dry_run_about_characters_calls_nobody(sora: Sora, film: Path, arguments: list[str]) -> None:
    ended = sora(*arguments, "--dry-run", "--profile", "sandbox")
    assert "/videos/characters" in ended.document["request"]["url"]


def test_a_server_without_characters_is_not_asked(sora: Sora, film: Path, faulty: Faults) -> None:
    ended = sora("create-character", "--name", "M", "--video-file", str(film), "--profile", "sglang")
    assert (ended.code, "does not offer characters" in ended.error) == (2, True)
    assert faulty.asked == []


def test_a_lost_answer_about_a_character_says_what_it_means(
    sora: Sora, server: Callable[..., SandboxServer], film: Path
) -> None:
    server(faults=("character=kept-but-answer-lost",))
    ended = sora("create-character", "--name", "Mossy", "--video-file", str(film))
    assert (ended.code, "creating it again costs nothing" in ended.error) == (8, True)


def test_the_result_of_an_edit_can_be_written_to_a_file(sora: Sora, made: str, folder: Path) -> None:
    ended = sora("edit", made, *ASKED, "--json-out", "out/edit")
    assert json.loads((folder / "out" / "edit.json").read_text()) == ended.document
