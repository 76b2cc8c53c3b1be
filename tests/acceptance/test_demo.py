"""The demo, run as a newcomer runs it."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.verify import verify
from tests.forks import Forks

MOST_LINES, WIDTH = 60, 80
SCENES = range(1, 12)
Demo = tuple[subprocess.CompletedProcess[str], Path]


def run_demo(forks: Forks, folder: Path, *options: str) -> Demo:
    """Run the demo in a folder, with none of the settings of these tests."""
    command = ["demo", "--out", "demo output", *options]
    return subprocess.CompletedProcess(command, *forks.run(command, folder, bare())), folder / "demo output"


def bare() -> dict[str, str]:
    """Return the environment of a newcomer."""
    return {name: text for name, text in os.environ.items() if not name.startswith(("SORA_", "OPENAI_"))}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Demo:
    """Run the demo once for all of these tests."""
    return run_demo(forks, tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def again(demo: Demo, tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Demo:
    """Run the verbose demo into a copy of the folder of the first one."""
    folder = tmp_path_factory.mktemp("again")
    shutil.copytree(demo[1], folder / demo[1].name, symlinks=True)
    return run_demo(forks, folder, "--verbose")


def transcript(demo: Demo) -> str:
    """Return the transcript of a demo."""
    return (demo[1] / "demo.txt").read_text(encoding="utf-8")


def printed_command(demo: Demo, name: str) -> list[str]:
    """Return the words of a command that the demo prints on a line of its own, without the program."""
    [line] = [line for line in demo[0].stdout.splitlines() if f"sora-ledger {name} " in line]
    return shlex.split(line)[1:]


def test_the_demo_ends_well(demo: Demo) -> None:
    assert (demo[0].returncode, demo[0].stderr) == (0, "")


def test_the_demo_prints_at_most_60_lines_of_80_columns(demo: Demo) -> None:
    lines = demo[0].stdout.splitlines()
    assert (len(lines) <= MOST_LINES, [line for line in lines if len(line) > WIDTH]) == (True, [])


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_has_a_heading_and_one_or_two_lines(demo: Demo, scene: int) -> None:
    [shown] = [part for part in demo[0].stdout.split("\n\n") if part.startswith(f"{scene}  ")]
    assert len(shown.splitlines()) in {2, 3}


@pytest.mark.parametrize(
    "message",
    [
        "allowed: sora-2 because the purpose is draft",
        "coupe.mp4: sora-2, 1280x720, 4 s, 0.40 USD",
        "denied, and nothing was sent: the prompt asks for 2 changes",
        "instead: make 2 remixes, one change each\n",
        " records: every request, decision, call",
        " records, 3 jobs\n",
        "no drift: ",
        "found again after the kill: coupe-rain.mp4",
        "videos created, by the server's own count: 1; audit: no findings",
        "was held by the policy's rule PRO_FINALS",
        "Maria signed; coupe-final.mp4: sora-2-pro, 1280x720, 4 s, 1.20 USD",
        "requests sent again: 1; videos created: 1\n",
        "2 of 5 decisions would come out differently",
        "(+1.60 USD)",
        "C2PA's own reader: Trusted, trainedAlgorithmicMedia (coupe-published.mp4)",
        "its manifest leads back to position ",
        " records; with other records refused, and not published",
    ],
)
def test_the_demo_says_what_each_scene_showed(demo: Demo, message: str) -> None:
    assert message in demo[0].stdout


def test_the_last_line_opens_the_film(demo: Demo, forks: Forks) -> None:
    assert "sora-ledger open " in demo[0].stdout.splitlines()[-1]
    words = [*printed_command(demo, "open"), "--print", "--format=text"]
    code, path, _ = forks.run(words, demo[1].parent, bare())
    assert (code, Path(path.strip()).read_bytes()) == (0, (demo[1] / "coupe-final.mp4").read_bytes())


def test_the_next_command_makes_a_clip(demo: Demo, forks: Forks, tmp_path: Path) -> None:
    words = [*printed_command(demo, "create-and-poll"), "--poll-interval=0.05"]
    assert forks.run(words, tmp_path, bare() | {"SORA_SANDBOX_SECONDS": "0.2"})[0] == 0


@pytest.mark.parametrize(
    "name",
    [
        "ledger.db",
        "coupe.mp4",
        "coupe-crimson.mp4",
        "coupe-rain.mp4",
        "coupe-final.mp4",
        "coupe-sdk.mp4",
        "demo.txt",
    ],
)
def test_the_demo_leaves_what_it_names(demo: Demo, name: str) -> None:
    assert (demo[1] / name).stat().st_size > 0
    assert name in demo[0].stdout


def test_the_ledger_of_the_demo_is_intact(demo: Demo) -> None:
    with SqliteSnapshot(demo[1] / "ledger.db") as snapshot:
        report = verify(snapshot)
    assert (report.clean, report.jobs) == (True, 6)


def test_the_transcript_has_no_colours(demo: Demo) -> None:
    assert "\x1b" not in transcript(demo)


@pytest.mark.parametrize(
    "message",
    [
        "$ sora-ledger create-and-poll --prompt",
        "allowed",
        "sora-2 because the purpose is draft",
        "0.40 USD",
        "denied",
        "a remix changes exactly one thing",
        "→ make 2 remixes",
        "intact: ",
        "no drift: ",
        "render.denied",
        "recovered  job_",
        "the server's own count of what it created for this: 1\n",
        "no findings",
        "held",
        "PRO_FINALS",
        "approval.granted",
        " is queued (requests sent again: ",
        "decisions would come out differently",
        "+0.80 USD",
        "decisions are made as recorded",
    ],
)
def test_the_transcript_has_every_command_with_its_output(demo: Demo, message: str) -> None:
    assert message in transcript(demo)


def test_the_demo_can_be_repeated_into_its_folder(again: Demo) -> None:
    assert (again[0].returncode, "Traceback" in again[0].stderr) == (0, False)


def test_the_verbose_demo_shows_its_whole_transcript(again: Demo) -> None:
    assert transcript(again) == again[0].stdout
    assert "\n$ sora-ledger replay --decisions\n" in again[0].stdout


def test_a_failing_command_is_shown_with_its_error(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "demo output").mkdir()
    (tmp_path / "demo output" / "ledger.db").write_text("no ledger")
    ended, _ = run_demo(forks, tmp_path)
    assert ended.returncode == 7
    assert "$ sora-ledger create-and-poll" in ended.stderr
    assert "demo: `create-and-poll` ended with 7, expected 0" in ended.stderr
    assert "sora-ledger create-and-poll" not in ended.stdout
