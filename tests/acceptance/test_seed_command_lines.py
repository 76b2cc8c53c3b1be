"""Every command line of seeds 000 and 004 runs as it is written and ends as the table says.

`seeds/` holds the fenced blocks of the seeds with their line numbers. Bash runs each block, and so expands
loops, variables, heredocs and continuation lines. `python`, `uv` and `./image2video.py` are stubs there: they
hand their arguments to this process, where `sora-ledger` runs them: only the script's name is replaced. The
server is one sandbox that takes no time; the profile is OpenAI's, for which these lines were written.
"""

import io
import json
import os
import re
import select
import subprocess
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from cli.main import run
from ledger.log.opening import open_ledger
from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.verify import verify
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings

SEEDS = Path(__file__).parent / "seeds"
FENCE = re.compile(r"^line (\d+)\n\n```(?:bash)?\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"<< '(\w+)'$")
GRAMMAR = re.compile(r"(for\b.*\bdo|done)$")
IMAGE = re.compile(r'["=,]([\w/*]+\.(?:jpg|png))\b')
OFFERED = {(1280, 720), (720, 1280), (1920, 1080), (1080, 1920)}


@dataclass(frozen=True)
class Runs:
    """A line that is ours: how it ends, what it says, which model is chosen, what it leaves behind."""

    code: int = 0
    says: str = ""
    model: str = ""
    leaves: str = ""
    times: int = 1


@dataclass(frozen=True)
class Shell:
    """A line about the surroundings, which bash runs as it is."""

    because: str


IS_KEY = Shell("sets or shows the key; ours reads the same variable and the same .env")
IS_PLACE = Shell("says where the skill's script is; ours is on the path")
IS_FILE = Shell("makes or removes a file that its neighbours read")
NO_5 = Runs(2, "seconds 5 is offered by no model")
NO_10 = Runs(2, "seconds 10 is offered by no model")
NO_15 = Runs(2, "seconds 15 is offered by no model")
NO_SEED = Runs(3, "the profile openai does not take --seed")
NO_4K = Runs(2, "size 3840x2160 is offered by no model")
DRAFT, FINE = Runs(model="sora-2"), Runs(model="sora-2-pro")
FIRST_OF = Runs(says="recorded with the request and not sent", model="sora-2")

ROWS: dict[str, dict[int, Runs | Shell]] = {
    "000": {
        22: IS_PLACE,
        23: IS_PLACE,
        30: IS_PLACE,
        38: Shell("moves the cache of uv, which ours does not need"),
        44: Runs(),
        50: Runs(leaves="out/request.json"),
        56: DRAFT,
        66: IS_FILE,
        75: DRAFT,
        84: DRAFT,
        94: Runs(model="sora-2-pro", leaves="coffee.mp4"),
        107: Runs(leaves="out/coffee-job.json"),
        115: DRAFT,
        123: Runs(leaves="thumb.webp"),
        124: Runs(leaves="sheet.jpg"),
        154: Shell("installs openai; ours comes with it"),
        178: DRAFT,
        190: Runs(model="sora-2", leaves="output.mp4"),
        195: DRAFT,
        200: Runs(model="sora-2", leaves="remix.mp4"),
        207: Runs(leaves="out.mp4"),
        213: Runs(leaves="out/status.json"),
        219: IS_FILE,
        220: IS_FILE,
        226: Runs(leaves="out/001-*.json"),
        229: IS_FILE,
    },
    "004": {
        36: IS_KEY,
        39: IS_KEY,
        40: IS_KEY,
        47: IS_KEY,
        53: DRAFT,
        60: Runs(says="sora-2-pro"),
        75: DRAFT,
        88: FINE,
        102: DRAFT,
        105: DRAFT,
        108: FINE,
        130: DRAFT,
        140: DRAFT,
        145: FIRST_OF,
        154: DRAFT,
        158: FINE,
        170: NO_5,
        173: NO_10,
        176: DRAFT,
        191: FINE,
        195: NO_4K,
        199: FINE,
        203: Runs(2, "size 1080x1080 is offered by no model"),
        207: Runs(2, "size 2048x858 is offered by no model"),
        227: NO_SEED,
        231: NO_SEED,
        246: DRAFT,
        260: FIRST_OF,
        275: FIRST_OF,
        280: FIRST_OF,
        285: FIRST_OF,
        298: DRAFT,
        302: DRAFT,
        306: DRAFT,
        310: DRAFT,
        314: DRAFT,
        323: NO_15,
        336: DRAFT,
        340: DRAFT,
        344: DRAFT,
        348: DRAFT,
        358: DRAFT,
        363: DRAFT,
        368: DRAFT,
        380: Runs(3, "the profile openai does not take --loop"),
        395: NO_4K,
        412: Shell("a variable of the loop"),
        413: Shell("a variable of the loop"),
        416: Runs(3, "the profile openai does not take --seed", times=5),
        449: IS_KEY,
        453: IS_KEY,
        459: IS_KEY,
        465: IS_KEY,
        544: DRAFT,
        557: NO_5,
        566: NO_SEED,
        569: NO_SEED,
        576: NO_4K,
        587: NO_10,
        600: NO_4K,
        615: NO_15,
        631: NO_5,
    },
}
"""What becomes of the command line that begins at a line of a seed."""


@dataclass(frozen=True)
class Block:
    """A fenced block; `fence` is the line of the seed that opens it."""

    seed: str
    fence: int
    text: str

    def lines(self) -> Iterator[range]:
        """Yield the lines of each command line: what is continued is one, what is a heredoc belongs to it."""
        texts = self.text.splitlines()
        at = 0
        while at < len(texts):
            began, line = at, texts[at]
            while line.endswith("\\"):
                at += 1
                line = line[:-1] + texts[at]
            if heredoc := HEREDOC.search(line):
                at = texts.index(heredoc[1], at)
            at += 1
            if line.strip() and not line.startswith("#") and not GRAMMAR.match(line):
                yield range(self.fence + 1 + began, self.fence + 1 + at)

    def expected(self) -> list[tuple[int, Runs]]:
        """Return the rows of the lines that are ours, as often as they run."""
        rows = [(lines[0], ROWS[self.seed].get(lines[0])) for lines in self.lines()]
        return [(line, row) for line, row in rows if isinstance(row, Runs) for _ in range(row.times)]


BLOCKS = [
    Block(seed, int(fence), text)
    for seed in ROWS
    for fence, text in FENCE.findall((SEEDS / f"{seed}.txt").read_text(encoding="utf-8"))
]

PIPES = ("asked", "answered")
HAND_OVER = """\
printf '%s\\0' "$@" > "$SEED_CALLS/arguments"
printf '%s\\n' "$SEED_LINE" > "$SEED_CALLS/asked"
read -r code < "$SEED_CALLS/answered"
exit "$code"
"""
STUBS = {
    "bin/python": f'#!/bin/sh\n[ "$1" = "$SORA_CLI" ] || exit 127\nshift\n{HAND_OVER}',
    "bin/uv": '#!/bin/sh\n[ "$1" = pip ] && exit 0\nshift 3\nexec "$@"\n',
    "image2video.py": f'#!/bin/sh\nset -- image2video "$@"\n{HAND_OVER}',
}
# Bash says in LINENO where it is; this is the first line of the script, and the block follows.
WATCH = """\
trap 'export SEED_LINE=$((LINENO - 1 + SEED_FENCE)); echo $SEED_LINE >> "$SEED_CALLS/ran"' DEBUG; \
trap 'echo end > "$SEED_CALLS/asked"' EXIT
"""


@dataclass(frozen=True)
class Ended:
    """How a command line that is ours ended; `model` is that of the newest job."""

    line: int
    code: int
    out: str
    err: str
    model: str | None

    @property
    def error(self) -> str:
        """What stderr says that is no log line."""
        return "\n".join(line for line in self.err.splitlines() if not line.startswith("{"))

    def falls_short_of(self, row: Runs, folder: Path) -> str | None:
        """Say what is not as the row says."""
        if self.code != row.code:
            return f"ended with {self.code}, not {row.code}: {self.error}"
        if row.says not in self.out + self.err:
            return f"does not say {row.says!r}: {self.error}"
        if row.model and self.model != row.model:
            return f"chose {self.model}, not {row.model}"
        if row.leaves and not list(folder.glob(row.leaves)):
            return f"leaves no {row.leaves}"
        return None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Iterator[SandboxServer]:
    """Run one sandbox for all blocks."""
    folder = tmp_path_factory.mktemp("sandbox")
    (folder / "media").symlink_to(media)
    with SandboxServer(SandboxSettings(folder, render_seconds=0, media="cached")) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: SandboxServer) -> Path:
    """Work in a folder with the stubs, a ledger of its own and the sandbox as the server."""
    home = tmp_path / "work"
    for name, text in STUBS.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    calls = tmp_path / "calls"
    calls.mkdir()
    for pipe in PIPES:
        os.mkfifo(calls / pipe)
    for name in [name for name in os.environ if name.startswith(("SORA_", "OPENAI_", "TRACEPARENT"))]:
        monkeypatch.delenv(name)
    settings = {
        "HOME": str(home),
        "OPENAI_API_KEY": "sk-test-0123456789",
        "OPENAI_BASE_URL": server.base_url,
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "SEED_CALLS": str(calls),
        "SORA_CLI": "skills/sora/scripts/sora.py",
        "SORA_LEDGER_PROFILE": "openai",
        "SORA_LEDGER_URL": "sqlite:///ledger.db",
    }
    for name, text in settings.items():
        monkeypatch.setenv(name, text)
    monkeypatch.chdir(home)
    return home


def provide(block: Block, folder: Path) -> None:
    """Make the files a block mentions: a prompt, and images of the size it asks for, else 1280x720."""
    if "<< 'EOF'" not in block.text:
        (folder / "prompt.txt").write_text(
            "Use case: landing page hero\nPrimary request: a matte black camera\n"
        )
    requests = [
        (int(width), int(height)) for width, height in re.findall(r"--width (\d+) --height (\d+)", block.text)
    ]
    size = requests[-1] if requests and requests[-1] in OFFERED else (1280, 720)
    for pattern in IMAGE.findall(block.text):
        for name in {pattern.replace("*", word) for word in ("first", "second")}:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, "teal").save(folder / name)


def ask(arguments: list[str]) -> tuple[int, str, str]:
    """Run `sora-ledger` with these arguments in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = int(run(arguments))
    return code, out.getvalue(), err.getvalue()


def model_of_newest(folder: Path) -> str | None:
    """Return the model of the newest job, if there is one."""
    if not (folder / "ledger.db").exists():
        return None
    with open_ledger(str(folder / "ledger.db")) as ledger:
        return next((job.model for job in ledger.jobs()), None)


@pytest.fixture
def pasted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Ended]]:
    """Paste a block into bash and return how each line that is ours ended."""
    calls = Path(os.environ["SEED_CALLS"])
    ids: dict[str, str] = {}
    further: list[str] = []

    def remember(arguments: list[str], out: str) -> None:
        """Let the seed's placeholders stand for the last video made, and the last remix."""
        if "--dry-run" in arguments or arguments[0] not in ("create-and-poll", "remix"):
            return
        document = json.loads(out)
        name = "video_def456" if arguments[0] == "remix" else "video_abc123"
        ids[name] = document.get("final", document)["id"]

    def answer(line: int) -> Ended:
        typed = (calls / "arguments").read_text(encoding="utf-8").split("\0")[:-1]
        arguments = [ids.get(word, word) for word in typed]
        arguments[1:1] = further if arguments[0] == "image2video" else []
        code, out, err = ask(arguments)
        if code == 0:
            remember(arguments, out)
        return Ended(line, code, out, err, model_of_newest(folder))

    def paste(block: Block, *more: str) -> list[Ended]:
        further.extend(more)
        provide(block, folder)
        if "video_abc123" in block.text:
            remember(["create-and-poll"], ask(["create-and-poll", "--prompt", "a mug"])[1])
        monkeypatch.setenv("SEED_FENCE", str(block.fence))
        script = folder / "block.sh"
        script.write_text(WATCH + block.text + "\n", encoding="utf-8")
        requests, answered = (os.open(calls / pipe, os.O_RDWR) for pipe in PIPES)  # neither ever ends
        ended: list[Ended] = []
        with subprocess.Popen(
            ["bash", script.name],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ):
            while (entry := _line(requests)) != "end":
                ended.append(answer(int(entry)))
                os.write(answered, f"{ended[-1].code}\n".encode())
        os.close(requests)
        os.close(answered)
        return ended

    return paste


def _line(pipe: int) -> str:
    """Read a line that a stub or bash writes; nothing for a minute means that bash hangs."""
    ready, _, _ = select.select([pipe], [], [], 60)
    assert ready, "bash neither asked for anything nor ended"
    return os.read(pipe, 64).decode().strip()


def not_run(block: Block) -> list[int]:
    """Return the command lines of a block that bash has not come to."""
    ran = {int(line) for line in Path(os.environ["SEED_CALLS"], "ran").read_text().split()}
    return [lines[0] for lines in block.lines() if ran.isdisjoint(lines)]


def is_intact(folder: Path) -> bool:
    """Say whether the ledger verifies, if there is one."""
    if not (folder / "ledger.db").exists():
        return True
    with SqliteSnapshot(folder / "ledger.db") as snapshot:
        return verify(snapshot).clean


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.seed}-line-{block.fence}")
def test_a_block_of_a_seed_ends_as_the_table_says(
    pasted: Callable[..., list[Ended]], folder: Path, block: Block
) -> None:
    ended, expected = pasted(block), block.expected()
    assert [one.line for one in ended] == [line for line, _ in expected]
    compared = [(one, one.falls_short_of(row, folder)) for one, (_, row) in zip(ended, expected, strict=True)]
    assert {one.line: short for one, short in compared if short} == {}
    assert not_run(block) == []
    assert is_intact(folder)


@pytest.mark.parametrize("seed", ROWS)
def test_every_command_line_has_a_row_and_every_row_a_command_line(seed: str) -> None:
    assert [lines[0] for block in BLOCKS if block.seed == seed for lines in block.lines()] == list(ROWS[seed])


@pytest.mark.parametrize("seed", ROWS)
def test_every_fenced_block_is_one_for_the_shell(seed: str) -> None:
    fences = re.findall(r"^line (\d+)$", (SEEDS / f"{seed}.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert [str(block.fence) for block in BLOCKS if block.seed == seed] == fences


REFUSED = [block for block in BLOCKS if block.seed == "004" and any(row.code for _, row in block.expected())]


@pytest.mark.parametrize("block", REFUSED, ids=lambda block: f"{block.seed}-line-{block.fence}")
def test_with_nearest_no_line_is_refused_for_its_size_or_length(
    pasted: Callable[..., list[Ended]], folder: Path, block: Block
) -> None:
    ended = pasted(block, "--nearest")
    others = [one for one in ended if one.code]  # with a seed or a loop, which this profile does not take
    assert [one.line for one in others if one.code != 3 or "does not take --" not in one.err] == []
    refused = {line for line, row in block.expected() if row.code == 2}
    assert {one.line for one in ended if "--nearest: " in one.err} >= refused
    assert is_intact(folder)


def test_nineteen_lines_are_refused_without_nearest() -> None:
    rows = [row for block in REFUSED for _, row in block.expected()]
    assert sum(row.code != 0 for row in rows) == 19 + 4  # one line of them runs five times
