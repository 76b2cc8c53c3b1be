"""The Python and curl examples of seeds 002 and 003 do against the sandbox what their text says.

Replaced is only what must be: the host in an address, the placeholder of a video id, and the number of
seconds between two looks. The TypeScript examples need openai from npm: `tests/conformance/run node`.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings
from tests.forks import CODE, Forks

SEEDS = Path(__file__).parent / "seeds"
FENCE = re.compile(r"^line (\d+)\n\n```(\w+)\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
PLACEHOLDER = re.compile(
    r"\{video_id\}|video_abc123|video_123|<previous_video_id>|\[REPLACE_WITH_YOUR_VIDEO_ID\]"
)
HOST = "https://api.openai.com/v1"
MP4, WEBP, JPEG = b"ftyp", b"WEBP", b"JFIF"
KEY = "sk-test-0123456789"


@dataclass(frozen=True)
class Script:
    """A Python example; `then` are the fences that go on where it stops."""

    says: str
    leaves: str = ""
    then: tuple[int, ...] = ()


@dataclass(frozen=True)
class Curl:
    """curl commands; `answers` are fields of the JSON on stdout, `leaves` are files and how they begin."""

    answers: dict[str, Any] = field(default_factory=dict)
    leaves: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Requests:
    """Request lines without a program; the type of content each is answered with."""

    types: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What a server answers; the sandbox's own answer has these fields."""

    path: str


@dataclass(frozen=True)
class Elsewhere:
    """An example that another test runs, or that goes on from another."""

    where: str


NODE = Elsewhere("tests/conformance/run node")
UNPUBLISHED = Elsewhere("a package that is not published; RenderDesk has these functions, docs/migration.md")
CONTINUED = Elsewhere("continues the script that begins at line 30")
IMAGE = {"image.jpeg": (720, 1280), "sample_720p.jpeg": (1280, 720)}
SOURCE = "the id of a completed video"

ROWS: dict[tuple[str, int], Script | Curl | Requests | Answer | Elsewhere] = {
    ("002", 30): Script("Status: queued", leaves="video.mp4", then=(49, 63)),
    ("002", 49): CONTINUED,
    ("002", 63): CONTINUED,
    ("002", 89): Curl({"object": "video", "model": "sora-2-pro", "size": "720x1280"}),
    ("002", 99): Curl({"object": "video", "remixed_from_video_id": SOURCE}),
    ("002", 106): Requests(("video/mp4", "image/webp", "image/jpeg")),
    ("002", 132): Requests(("application/json",)),
    ("002", 137): Requests(("application/json",)),
    ("003", 63): UNPUBLISHED,
    ("003", 116): NODE,
    ("003", 129): Script("Video generation started:"),
    ("003", 142): Curl({"object": "video", "model": "sora-2-pro", "size": "1280x720", "seconds": "8"}),
    ("003", 154): Answer("/videos/{video_id}"),
    ("003", 193): NODE,
    ("003", 214): Script("Video successfully completed:"),
    ("003", 237): Answer("/videos/{video_id}"),
    ("003", 256): Elsewhere("tests/sora_adapter/sandbox/webhooks/test_sender.py"),
    ("003", 274): NODE,
    ("003", 320): Curl(leaves={"video.mp4": MP4}),
    ("003", 326): Script("Wrote video.mp4", leaves="video.mp4"),
    ("003", 379): Curl(leaves={"thumbnail.webp": WEBP, "spritesheet.jpg": JPEG}),
    ("003", 397): Curl({"object": "video", "size": "1280x720"}),
    ("003", 414): Curl({"object": "video", "remixed_from_video_id": SOURCE}),
    ("003", 427): Curl({"object": "list"}),
    ("003", 433): Curl({"object": "list"}),
    ("003", 441): Curl({"object": "video.deleted", "id": SOURCE, "deleted": True}),
}
"""What becomes of the fenced block that opens at a line of a seed."""

BLOCKS = {
    (seed, int(line)): text
    for seed in ("002", "003")
    for line, _, text in FENCE.findall((SEEDS / f"{seed}.txt").read_text(encoding="utf-8"))
}


def rows(kind: type) -> list[Any]:
    """Return the parameters of the tests of one kind of row."""
    return [
        pytest.param(place, row, id=f"{place[0]}-line-{place[1]}")
        for place, row in ROWS.items()
        if isinstance(row, kind)
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Iterator[SandboxServer]:
    """Run one sandbox for all examples."""
    folder = tmp_path_factory.mktemp("sandbox")
    (folder / "media").symlink_to(media)
    with SandboxServer(SandboxSettings(folder, render_seconds=0, media="cached")) as running:
        yield running


@pytest.fixture
def source(server: SandboxServer) -> str:
    """Return the id of a completed video."""
    values = {"prompt": "a mug", "size": "1280x720"}
    video = httpx2.post(f"{server.base_url}/videos", json=values, headers=bearer()).json()
    return str(video["id"])


@pytest.fixture
def perform(
    tmp_path: Path, server: SandboxServer, source: str, forks: Forks
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run an example in a folder with the images it names: by a program, or as Python."""
    for name, size in IMAGE.items():
        Image.new("RGB", size, "teal").save(tmp_path / name)
    variables = {name: text for name, text in os.environ.items() if not name.startswith("OPENAI_")}
    environment = variables | {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.base_url}

    def run(text: str, *program: str) -> subprocess.CompletedProcess[str]:
        text = PLACEHOLDER.sub(source, text.replace(HOST, server.base_url))
        command = [*program, re.sub(r"time\.sleep\(\d+\)", "time.sleep(0.01)", text)]
        if not program:
            ended = forks.run(command, tmp_path, environment, program=CODE)
            return subprocess.CompletedProcess(command, *ended)
        return subprocess.run(
            command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )

    return run


def bearer() -> dict[str, str]:
    """Return the header that names a key."""
    return {"authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize(("place", "row"), rows(Script))
def test_a_python_example_says_what_it_would_have_said(
    perform: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    place: tuple[str, int],
    row: Script,
) -> None:
    text = "\n".join(BLOCKS[place[0], line] for line in (place[1], *row.then))
    ended = perform(text)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert row.says in ended.stdout
    assert not row.leaves or MP4 in (tmp_path / row.leaves).read_bytes()[:12]


def programs_of(text: str) -> list[str]:
    return ["curl", "jq"] if "| jq" in text else ["curl"]


@pytest.mark.parametrize(("place", "row"), rows(Curl))
def test_a_curl_example_is_answered(
    perform: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    source: str,
    place: tuple[str, int],
    row: Curl,
) -> None:
    if missing := [name for name in programs_of(BLOCKS[place]) if not shutil.which(name)]:
        pytest.skip(f"not installed here: {', '.join(missing)}")
    ended = perform(BLOCKS[place], "bash", "-c")
    answer = json.loads(ended.stdout or "{}")
    expected = {name: source if value is SOURCE else value for name, value in row.answers.items()}
    assert {name: answer.get(name) for name in expected} == expected
    assert {
        name: begins in (tmp_path / name).read_bytes()[:12] for name, begins in row.leaves.items()
    } == dict.fromkeys(row.leaves, True)


@pytest.mark.parametrize(("place", "row"), rows(Requests))
def test_a_request_line_is_answered(
    server: SandboxServer, source: str, place: tuple[str, int], row: Requests
) -> None:
    lines = [
        PLACEHOLDER.sub(source, line).split()
        for line in BLOCKS[place].splitlines()
        if line[:1] not in ("", "#")
    ]
    with httpx2.Client(headers=bearer()) as client:
        answers = [client.request(method, server.base_url + path) for method, path in lines]
    assert [(one.status_code, one.headers["content-type"]) for one in answers] == [
        (200, name) for name in row.types
    ]


@pytest.mark.parametrize(("place", "row"), rows(Answer))
def test_an_answer_shown_has_no_field_the_sandbox_leaves_out(
    server: SandboxServer, source: str, place: tuple[str, int], row: Answer
) -> None:
    shown = json.loads(BLOCKS[place])
    answer = httpx2.get(server.base_url + row.path.format(video_id=source), headers=bearer()).json()
    assert {name: type(answer.get(name)) for name in shown} == {
        name: type(text) for name, text in shown.items()
    }


def test_every_fenced_block_has_a_row_and_every_row_a_block() -> None:
    assert list(ROWS) == list(BLOCKS)
