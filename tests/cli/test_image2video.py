"""image2video's command lines, as they are."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

QUICK = ["--poll-interval", "0.05"]


def test_a_prompt_alone_becomes_a_file_named_by_its_video(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    ended = sora("image2video", "--backend", "sora2", *QUICK, "A serene lake at sunset")
    final = ended.document["final"]
    assert (ended.code, final["state"]) == (0, "stored")
    assert final["files"] == [f"{final['id']}.mp4"]
    assert (folder / final["files"][0]).stat().st_size == final["assets"]["video"]["bytes"]


def test_images_size_and_length_are_taken_in_its_own_words(
    sora: Sora, folder: Path, picture: Callable[..., bytes]
) -> None:
    for name in ("front.jpg", "side.jpg"):
        (folder / name).write_bytes(picture((800, 800), "JPEG"))
    flags = [
        "--model",
        "sora-2-pro",
        "--width",
        "1920",
        "--height",
        "1080",
        "--duration",
        "8",
        "--fit",
        "cover",
    ]
    ended = sora(
        "image2video", *flags, "-i", "front.jpg,side.jpg", "Turn", "--dry-run", "--profile", "sandbox"
    )
    body = ended.document["request"]["body"]
    assert (body["size"], body["seconds"], body["model"]) == ("1920x1080", "8", "sora-2-pro")
    assert body["prompt"] == "Turn"


@pytest.mark.parametrize("loop", [["--loop", "true"], ["--loop=true"], ["--loop"]])
def test_loop_is_taken_before_the_prompt(sora: Sora, loop: list[str]) -> None:
    ended = sora("image2video", *loop, "Gentle waves", "--dry-run", "--profile", "custom")
    body = ended.document["request"]["body"]
    assert (body["loop"], body["prompt"]) == ("true", "Gentle waves")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "veo3", "A lake"], "veo3 is a backend of image2video that has no Videos API"),
        (["--backend", "sora2"], "the prompt is missing; it is the last word, in quotes"),
        (["--backend", "sora2", "--duration", "5", "A lake"], "seconds 5 is offered by no model"),
        (["--width", "3840", "--height", "2160", "A lake"], "size 3840x2160 is offered by no model"),
        (["A lake", "--out", "nowhere/lake.mp4"], "the folder nowhere does not exist"),
    ],
)
def test_what_it_never_had_is_refused(sora: Sora, folder: Path, arguments: list[str], message: str) -> None:
    ended = sora("image2video", *arguments, "--profile", "sandbox")
    assert (ended.code, message in ended.error) == (2, True)
    assert not (folder / "ledger.db").exists()


def test_a_seed_is_denied_where_the_server_has_none(sora: Sora) -> None:
    ended = sora("image2video", "--seed", "42", "A lake", "--profile", "sandbox")
    assert (ended.code, "does not take --seed" in ended.error) == (3, True)


def test_a_prompt_of_two_lines_is_one_prompt(sora: Sora) -> None:
    ended = sora("image2video", "Open on the hall. \\\n   Hold.", "--dry-run", "--profile", "sandbox")
    assert ended.document["request"]["body"]["prompt"] == "Open on the hall. \\\n   Hold."
