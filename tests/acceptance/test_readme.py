"""The commands of the README work as they are written."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Place

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- tested[^>]*-->\n```(?:bash|console)\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def shell(place: Place, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run shell lines with `sora-ledger` on the path and nothing of ours in the environment."""
    folder = tmp_path / "bin"
    place.forks.install(folder / "sora-ledger")
    environment = {name: text for name, text in place.environment.items() if not name.startswith("SORA_L")}
    environment["PATH"] = f"{folder}:{environment['PATH']}"

    def run(lines: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-ec", lines],
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )

    return run


def test_the_readme_has_commands_that_are_tested() -> None:
    assert any("sora-ledger" in block for block in BLOCKS)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_the_readme_works_as_written(
    shell: Callable[[str], subprocess.CompletedProcess[str]], block: str
) -> None:
    ended = shell(block)
    assert (ended.returncode, ended.stderr if ended.returncode else "") == (0, "")


def test_every_command_of_the_readme_exists(place: Place) -> None:
    code = "\n".join(re.findall(r"```(?:bash|console)\n(.*?)```", README, re.DOTALL))
    named = set(re.findall(r"^(?:\$ )?sora-ledger ([a-z-]+)", code, re.MULTILINE))
    text = place.run("--help").stdout
    assert [name for name in named if f"\n  {name} " not in text] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_a_link_of_the_readme_leads_somewhere(path: str) -> None:
    assert path.startswith("http") or (ROOT / path).exists()
