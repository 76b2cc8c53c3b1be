"""Several images, seed and loop: what arrives at a server that takes them, and the denial if it does not."""

import json
import re
import urllib.request
from collections.abc import Callable
from email.parser import BytesParser
from email.policy import HTTP

import pytest

from tests.outside.conftest import Gateway, Outside, Person

Start = Callable[..., Outside]
IMAGES = ("--images", "hero.png,side.png,back.png")


@pytest.fixture
def omni(outside: Start, person: Person, picture: Callable[..., bytes]) -> tuple[Outside, Person]:
    """Return a billing server, and a person who takes it for vLLM-Omni and has three images."""
    server = outside()
    for name, width in (("hero", 1280), ("side", 1000), ("back", 800)):
        (person.folder / f"{name}.png").write_bytes(picture((width, 720)))
    return server, person.at(server).with_(SORA_LEDGER_PROFILE="vllm-omni")


def files(server: Outside) -> list[tuple[str, str, bytes]]:
    """Return the files of the last POST, as field, name and bytes, read by the standard library's parser."""
    post = server.requests("POST")[-1]
    kind = next(value for name, value in post["headers"].items() if name.lower() == "content-type")
    whole = f"Content-Type: {kind}\r\n\r\n".encode() + bytes.fromhex(post["body"])
    parts = BytesParser(policy=HTTP).parsebytes(whole).iter_parts()
    return [
        (str(part.get_param("name", header="content-disposition")), str(part.get_filename()), content)
        for part in parts
        if part.get_filename() and isinstance(content := part.get_payload(decode=True), bytes)
    ]


def sent_names(server: Outside) -> list[tuple[str, str]]:
    return [(field, name) for field, name, _ in files(server)]


def test_every_image_arrives_in_order_under_the_name_that_the_server_reads(
    omni: tuple[Outside, Person],
) -> None:
    server, person = omni
    ended = person("create", "a fox", *IMAGES, "--seed", "7")
    assert ended.code == 0, ended.err
    names = ["hero.png", "side.png", "back.png"]
    contents = [(person.folder / name).read_bytes() for name in names]
    assert person("create", "a fox", *IMAGES, "--seed", "7", "--dry-run").code == 0
    assert files(server) == [("input_references", *pair) for pair in zip(names, contents, strict=True)]
    assert b'name="seed"' in bytes.fromhex(server.requests("POST")[-1]["body"])
    assert len(server.bills()) == 1
    assert person("verify", "--with-assets").code == 0
    assert person("replay", "--decisions").code == 0


def test_a_queued_request_is_sent_from_its_record_when_the_images_are_gone(
    omni: tuple[Outside, Person],
) -> None:
    server, person = omni
    job = person("create", "a fox", *IMAGES, "--queue").document["job_id"]
    for image in person.folder.glob("*.png"):
        image.unlink()
    assert person("resume", job).code == 0
    assert [name for _, name, _ in files(server)] == ["hero.png", "side.png", "back.png"]


def test_an_entry_of_a_batch_sends_all_images_it_lists(omni: tuple[Outside, Person]) -> None:
    server, person = omni
    entries = [
        {"prompt": "a fox", "input_references": ["hero.png", "side.png"]},
        {"prompt": "an owl", "input_references": ["back.png"]},
    ]
    (person.folder / "batch.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    batch = ("create-batch", "--input", "batch.jsonl", "--out-dir", "out", "--size", "1280x720")
    refused = person(*batch)
    assert "back.png" in refused.err + refused.out  # 800x720: the first image is the first frame
    assert server.requests("POST") == []
    ended = person(*batch, "--fit", "cover")
    assert ended.code == 0, ended.err
    posts = [bytes.fromhex(post["body"]) for post in server.requests("POST")]
    names = [re.findall(rb'name="(input_references?)"; filename="(.*?)"', body) for body in posts]
    assert sorted(names) == [
        [(b"input_reference", b"back.png")],
        [(b"input_references", b"hero.png"), (b"input_references", b"side.png")],
    ]


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        ({"input_references": "hero.png"}, "expected a list of image files"),
        ({"input_references": []}, "expected a list of image files"),
        ({"input_references": ["hero.png", 7]}, "input_references: expected text"),
        ({"input_references": ["hero.png"], "input_reference": "side.png"}, "list all in input_references"),
        ({"input_references": ["hero.png", "gone.png"]}, "gone.png"),
    ],
)
def test_images_of_an_entry_that_cannot_be_sent_are_named_with_the_line(
    omni: tuple[Outside, Person], images: dict[str, object], problem: str
) -> None:
    server, person = omni
    (person.folder / "batch.jsonl").write_text(json.dumps({"prompt": "a fox"} | images) + "\n")
    refused = person("create-batch", "--input", "batch.jsonl", "--out-dir", "out")
    assert refused.code == 2
    assert "line 1" in refused.err + refused.out
    assert problem in refused.err + refused.out
    assert server.requests("POST") == []


def test_a_retry_sends_the_same_images(omni: tuple[Outside, Person]) -> None:
    server, person = omni
    server.behave(creates=["400"])
    job = person("create", "a fox", *IMAGES).document["job_id"]
    again = person("retry", job)
    assert again.code == 0, again.err
    assert [name for _, name, _ in files(server)] == ["hero.png", "side.png", "back.png"]


def test_a_stored_image_that_was_changed_is_not_sent(omni: tuple[Outside, Person]) -> None:
    server, person = omni
    job = person("create", "a fox", *IMAGES, "--queue").document["job_id"]
    requested = person("show", job, "--json").document["records"][0]["payload"]
    digest = requested["further_images"][1]["sha256"]
    [stored] = (person.folder / "assets" / "sha256").rglob(f"{digest}*")
    stored.chmod(0o600)
    stored.write_bytes(b"another picture")
    ended = person("resume", job)
    assert (ended.code != 0, "differs from that of its request" in ended.err) == (True, True)
    assert server.requests("POST") == []


def test_only_the_first_image_is_sent_where_that_is_asked_for(omni: tuple[Outside, Person]) -> None:
    server, person = omni
    assert person("create", "a fox", *IMAGES, "--first-image").code == 0
    assert sent_names(server) == [("input_reference", "hero.png")]


def test_several_images_are_denied_where_the_profile_takes_one_and_the_way_out_works(
    omni: tuple[Outside, Person],
) -> None:
    server, person = omni
    other = person.with_(SORA_LEDGER_PROFILE="sglang")
    denied = other("create", "a fox", *IMAGES, "--all-images")
    assert denied.code == 3
    assert "does not take --all-images (it takes --seed" in denied.err + denied.out
    assert "--first-image" in other("whynot", denied.document["job_id"], "--format=text").out
    assert server.requests("POST") == []
    assert other("create", "a fox", *IMAGES).code == 0
    assert sent_names(server) == [("input_reference", "hero.png")]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--images", "hero.png", "--all-images"), "input_references is about several images"),
        (("--images", "hero.png,notes.png"), "notes.png"),
        (("--images", "hero.png,empty.png"), "empty.png"),
    ],
)
def test_images_that_cannot_be_sent_are_refused_and_nothing_is_recorded(
    omni: tuple[Outside, Person], more: tuple[str, ...], words: str
) -> None:
    server, person = omni
    (person.folder / "notes.png").write_text("no image")
    (person.folder / "empty.png").write_bytes(b"")
    ended = person("create", "a fox", *more)
    assert (ended.code, words in ended.err) == (2, True), ended.err
    assert (server.requests("POST"), (person.folder / "ledger.db").exists()) == ([], False)


def test_loop_is_denied_by_name_where_the_server_has_none(omni: tuple[Outside, Person]) -> None:
    server, person = omni
    denied = person("create", "a fox", "--loop")
    assert (denied.code, "does not take --loop" in denied.err + denied.out) == (3, True)
    assert server.requests("POST") == []


def form(fields: dict[str, str], images: list[tuple[str, str, bytes]]) -> tuple[bytes, str]:
    """Return a multipart body, written by hand, and its content type."""
    head = "--b\r\nContent-Disposition: form-data; name="
    body = b"".join(f'{head}"{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items())
    for field, name, content in images:
        more = f'{head}"{field}"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
        body += more.encode() + content + b"\r\n"
    return body + b"--b--\r\n", "multipart/form-data; boundary=b"


@pytest.mark.parametrize("field", ["input_references", "input_references[]"])
def test_the_gateway_passes_several_images_on(
    omni: tuple[Outside, Person], gateway: Callable[..., Gateway], field: str
) -> None:
    server, person = omni
    serving = gateway(server, SORA_LEDGER_PROFILE="vllm-omni")
    images = [
        (field, path.name, path.read_bytes())
        for path in [person.folder / "hero.png", person.folder / "side.png"]
    ]
    body, kind = form({"prompt": "a fox", "size": "1280x720", "seed": "7"}, images)
    request = urllib.request.Request(f"{serving.base_url}/videos", body, {"Content-Type": kind})
    request.add_header("Authorization", f"Bearer {serving.grant('app', 'requester')}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200
    assert sent_names(server) == [("input_references", name) for _, name, _ in images]
    assert re.search(rb'name="seed"\r\n(.+\r\n)?\r\n7', bytes.fromhex(server.requests("POST")[-1]["body"]))
