"""What a render may be given: several images, characters, options, sizes in two ways, the models."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.options.inputs import loop_as_flag, read_images
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

ASKED = ["create", "--prompt", "a fox", "--profile", "sandbox"]
DRY = [*ASKED, "--dry-run"]
CUSTOM = ["create", "--prompt", "a fox", "--profile", "custom", "--dry-run"]


@pytest.fixture
def shots(folder: Path, picture: Callable[..., bytes]) -> Path:
    for name in ("hero.jpg", "shots/2.jpg", "shots/1.jpg", "shots/10.png", "a,b.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(picture())
    (folder / "shots" / "small.webp").write_bytes(picture((300, 200), "WEBP"))
    (folder / "shots" / "notes.txt").write_text("no image")
    return folder


def names(given: str) -> list[str]:
    return [str(path) for path in read_images(given)]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("hero.jpg", ["hero.jpg"]),
        ("hero.jpg, shots/1.jpg", ["hero.jpg", "shots/1.jpg"]),
        ("shots/*.jpg", ["shots/1.jpg", "shots/2.jpg"]),
        ("shots/*.png,shots/?.jpg", ["shots/10.png", "shots/1.jpg", "shots/2.jpg"]),
        ("shots/2.jpg,shots/*.jpg", ["shots/2.jpg", "shots/1.jpg"]),
        ("**/1.jpg", ["shots/1.jpg"]),
        ("a,b.jpg", ["a,b.jpg"]),
        ("nowhere.jpg", ["nowhere.jpg"]),
    ],
)
def test_images_are_named_and_found_by_pattern(shots: Path, text: str, read: list[str]) -> None:
    assert names(text) == read


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("shots/*.gif", "'shots/*.gif': it matches no file; check the folder, and quote the pattern"),
        ("nowhere/*.jpg", "'nowhere/*.jpg': it matches no file"),
        ("hero.jpg,,shots/1.jpg", "there is nothing between two commas"),
        ("", "there is nothing between two commas"),
        ("shots", "'shots': it is a folder; name its images, such as shots/*.jpg"),
        ("a" * 5_000, "cannot be read (File name too long)"),
        ("nowhere.jpg", "nowhere.jpg: cannot be read (No such file or directory)"),
        ("hero.jpg,shots/*.txt", "shots/notes.txt: expected a JPEG, PNG or WebP"),
        ("shots/small.webp", "is 300x200, the video's size is 1280x720; use --fit cover"),
    ],
)
def test_images_that_cannot_be_used_are_refused(sora: Sora, shots: Path, images: str, message: str) -> None:
    ended = sora(*ASKED, "--images", images)
    assert (ended.code, message in ended.error, ended.data) == (2, True, "")
    assert not (shots / "ledger.db").exists()


def test_of_several_images_the_first_is_sent_and_all_are_recorded(
    sora: Sora, server: Callable[..., SandboxServer], shots: Path
) -> None:
    server()
    ended = sora("create", "--prompt", "a fox", "-i", "hero.jpg,shots/*.jpg,shots/small.webp")
    assert "hero.jpg is sent, 3 other images are recorded with the request and not sent" in ended.err
    asked = sora("show", ended.document["job_id"]).document["records"][0]["payload"]
    assert asked["input_reference"]["name"]["text"] == "hero.jpg"
    assert [image["name"]["text"] for image in asked["further_images"]] == ["1.jpg", "2.jpg", "small.webp"]
    assert sora("verify").code == 0


@pytest.mark.parametrize("fit", ["cover", "contain", "pad"])
def test_fit_makes_an_image_match_and_keeps_both(
    sora: Sora, server: Callable[..., SandboxServer], shots: Path, fit: str
) -> None:
    server()
    ended = sora("create", "--prompt", "a fox", "--input-reference", "shots/small.webp", "--fit", fit)
    kept = sora("show", ended.document["job_id"]).document["records"][0]["payload"]["input_reference"]
    assert (kept["width"], kept["height"], kept["media_type"]) == (1280, 720, "image/png")
    stored = {path.stem for path in (shots / "assets" / "sha256").rglob("*.*")}
    assert {kept["sha256"], kept["original_sha256"]} <= stored


def test_fit_takes_the_size_from_width_and_height(sora: Sora, shots: Path) -> None:
    ended = sora(*DRY, "-i", "shots/small.webp", "--fit", "pad", "--width", "720", "--height", "1280")
    assert ended.document["request"]["body"]["size"] == "720x1280"


WRONG = [
    (["--fit", "cover"], "--fit is about an image file"),
    (["--fit", "stretch", "-i", "hero.jpg"], "fit stretch: expected one of cover, contain, pad"),
    (["-i", "hero.jpg", "--input-reference", "hero.jpg"], "--images and --input-reference both name"),
    (["-i", "hero.jpg", "--input-reference-url", "https://host/a.png"], "a video has one first frame"),
    (["--input-reference-url", "file.png"], "reference_url must begin with https://"),
    (["--input-reference-url", "https://a/b.png", "--input-reference-file-id", "f"], "one first frame"),
    (
        ["--character-id", "a", "--character-id", "b", "--character-id", "c"],
        "3 characters are named, at most 2",
    ),
    (["--character-id", "a", "--character-id", "a"], "a character is named twice"),
    (["--seconds", "4", "--duration", "8"], "--seconds 4 and --duration 8 mean the same; give one"),
    (["--duration", "5"], "seconds 5 is offered by no model"),
    (["--width", "1280"], "width and height belong together"),
    (["--width", "a", "--height", "720"], "width must be a whole number"),
    (["--width", "3840", "--height", "2160"], "size 3840x2160 is offered by no model"),
    (["--size", "1280x720", "--width", "720", "--height", "1280"], "mean the same; give one"),
    (["--seed", "lucky"], "seed must be a whole number"),
    (["--loop", "maybe"], "the first word, and one of these, were given"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_what_cannot_be_is_refused_before_it_costs(
    sora: Sora, shots: Path, arguments: list[str], message: str
) -> None:
    ended = sora(*ASKED, *arguments)
    assert (ended.code, message in ended.error, ended.data) == (2, True, "")
    assert not (shots / "ledger.db").exists()


def test_duration_and_width_and_height_are_other_words(sora: Sora) -> None:
    body = sora(*DRY, "--duration", "8", "--width", "720", "--height", "1280").document["request"]["body"]
    assert (body["seconds"], body["size"]) == ("8", "720x1280")


def test_seed_and_loop_go_to_a_server_that_takes_them(sora: Sora) -> None:
    body = sora(*CUSTOM, "--seed", "42", "--loop").document["request"]["body"]
    assert (body["seed"], body["loop"]) == ("42", "true")


@pytest.mark.parametrize("loop", [["--no-loop"], ["--loop", "false"], []])
def test_no_loop_asks_for_nothing(sora: Sora, loop: list[str]) -> None:
    assert "loop" not in sora(*CUSTOM, *loop).document["request"]["body"]


@pytest.mark.parametrize("option", [["--seed", "42"], ["--loop"], ["--loop", "true"], ["--loop=true"]])
def test_seed_and_loop_are_denied_where_no_server_takes_them(sora: Sora, option: list[str]) -> None:
    ended = sora(*ASKED, *option)
    assert ended.code == 3
    assert re.search(r"profile sandbox does not take --(seed|loop).*leave out --(seed|loop)", ended.error)


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (["--loop", "true", "p"], ["--loop", "p"]),
        (["--loop", "False", "p"], ["--no-loop", "p"]),
        (["--loop=true"], ["--loop"]),
        (["--loop=false"], ["--no-loop"]),
        (["--loop", "p"], ["--loop", "p"]),
        (["true"], ["true"]),
        (["--loop=maybe"], ["--loop=maybe"]),
    ],
)
def test_the_value_of_loop_is_read_as_its_flag(words: list[str], read: list[str]) -> None:
    assert loop_as_flag(words) == read


def test_an_image_url_and_characters_are_sent(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path, clip: bytes
) -> None:
    server()
    (folder / "clip.mp4").write_bytes(clip)
    made = sora("create-character", "--name", "Mossy", "--video-file", "clip.mp4").document["id"]
    ended = sora("create", "--prompt", "Mossy runs", "--character-id", made)
    assert (ended.code, ended.document["state"]) == (0, "running")
    asked = sora("show", ended.document["job_id"]).document["records"][0]["payload"]
    assert asked["character_ids"] == [made]


def test_a_file_id_is_sent_as_an_object(sora: Sora) -> None:
    body = sora(*DRY, "--input-reference-file-id", "file_1").document["request"]["body"]
    assert body["input_reference"] == {"file_id": "file_1"}


@pytest.mark.parametrize("command", ["create", "create-and-poll", "image2video"])
def test_the_models_are_listed_as_image2video_lists_them(sora: Sora, folder: Path, command: str) -> None:
    ended = sora(command, "--list-models")
    lines = ended.out.splitlines()
    assert lines[:3] == ["Available models for backend 'sora2':", "  - sora-2 (default)", "  - sora-2-pro"]
    assert "  1920x1080  0.70 USD a second" in lines
    assert list(folder.iterdir()) == []


def test_the_models_are_listed_as_json_where_that_is_asked_for(sora: Sora) -> None:
    models = sora("create", "--list-models", "--json").document["models"]
    assert [model["name"] for model in models] == ["sora-2", "sora-2-pro"]


def test_an_image_does_not_betray_where_it_was_taken(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    from PIL import Image  # noqa: PLC0415

    server()
    where = Image.Exif()
    where[0x010F] = "a camera"
    Image.new("RGB", (1280, 720)).save(folder / "there.jpg", exif=where)
    ended = sora("create", "--prompt", "a fox", "--input-reference", "there.jpg")
    kept = sora("show", ended.document["job_id"]).document["records"][0]["payload"]["input_reference"]
    assert kept["original_sha256"] != kept["sha256"]
    path = folder / "assets" / kept["storage_uri"].removeprefix("asset:")
    assert b"a camera" not in path.read_bytes()
