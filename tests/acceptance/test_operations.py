"""The drill of the operations page works as it is written, and ends as the page says."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import COMMANDS
from tests.acceptance.conftest import Place

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
DRILL = re.compile(r"<!-- tested(?:, ends with (\d+))? -->\n```bash\n(.*?)```", re.DOTALL)


@pytest.fixture
def ended(place: Place, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run commands of the page, `sora-ledger` on the path, as text for people."""
    script = tmp_path / "bin" / "sora-ledger"
    place.forks.install(script, "--format", "text")
    environment = place.environment | {
        "PATH": f"{script.parent}:{place.environment['PATH']}",
        "SORA_SANDBOX_SECONDS": "0",
        "SORA_LEDGER_URL": "sqlite:///drill.db",
        "SORA_LEDGER_PROFILE": "sandbox",
    }

    def run(commands: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-ec", commands],
            check=False,
            cwd=place.folder,
            env=environment,
            capture_output=True,
            text=True,
        )

    return run


def without_numbers(text: str) -> str:
    """Replace numbers: how often a render is observed depends on how busy the machine is."""
    return re.sub(r"\d+", "N", text)


def test_the_drill_of_the_operations_page_ends_as_the_page_says(
    ended: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    drill = DRILL.findall(PAGE)
    runs = [ended(commands) for _, commands in drill]
    assert [run.returncode for run in runs] == [int(code or 0) for code, _ in drill] == [0, 10, 11]
    assert runs[0].stdout.count("1 submitted, 1 closed") == 2
    quoted = re.search(r"```\n(CHECKPOINT_SIZE.*?)```", PAGE, re.DOTALL)
    assert quoted
    assert without_numbers(quoted[1]) in without_numbers(runs[1].stdout)
    assert "VIDEO_UNCLAIMED video_" in runs[2].stdout


def test_every_command_the_page_names_is_one_there_is() -> None:
    named = set(re.findall(r"sora-ledger ([a-z][a-z-]+)", PAGE))
    assert named - {"worker.service", "environment"} <= set(COMMANDS) | {"worker"}


def test_every_metric_the_page_names_is_measured() -> None:
    sources = ("server/metrics.py", "runtime/durations.py")
    measured = "".join((ROOT / "render_service" / one).read_text(encoding="utf-8") for one in sources)
    for name in set(re.findall(r"sora_ledger_([a-z_]+?)(?:_total)?[{[ `]", PAGE)):
        assert f"{name}" in measured
