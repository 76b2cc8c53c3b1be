"""The demo, run as a newcomer runs it."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.verify import verify
from tests.forks import Forks


@pytest.fixture(scope="module")
def demo(
    tmp_path_factory: pytest.TempPathFactory, forks: Forks
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run the demo once for all of these tests."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {
        name: text for name, text in os.environ.items() if not name.startswith(("SORA_", "OPENAI_"))
    }
    command = ["demo", "--out", "demo output"]
    ended = subprocess.CompletedProcess(command, *forks.run(command, folder, environment))
    return ended, folder / "demo output"


Demo = tuple[subprocess.CompletedProcess[str], Path]


def test_the_demo_ends_well(demo: Demo) -> None:
    assert (demo[0].returncode, "Traceback" in demo[0].stderr) == (0, False)


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


def test_the_transcript_is_what_was_shown(demo: Demo) -> None:
    assert (demo[1] / "demo.txt").read_text(encoding="utf-8") == demo[0].stdout


def test_the_transcript_has_no_colours(demo: Demo) -> None:
    assert "\x1b" not in (demo[1] / "demo.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "said",
    [
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
        "Next steps",
    ],
)
def test_the_demo_shows_the_main_job(demo: Demo, said: str) -> None:
    assert said in demo[0].stdout


def test_the_demo_can_be_repeated_into_its_folder(demo: Demo, place: Any) -> None:
    assert place.run("jobs", SORA_LEDGER_URL=str(demo[1] / "ledger.db")).returncode == 0
