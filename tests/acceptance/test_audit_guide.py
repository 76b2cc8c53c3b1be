"""The audit guide's commands work as they are written, one after the other in one folder."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.verify import verify_bundle
from tests.acceptance.conftest import Place

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "audit-guide.md").read_text(encoding="utf-8")
FORMAT = (ROOT / "docs" / "FORMAT.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- tested -->\n```bash\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def ended(place: Place, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run all blocks as one script, `sora-ledger` on the path, as text for people."""
    script = tmp_path / "bin" / "sora-ledger"
    place.forks.install(script)
    environment = {name: text for name, text in place.environment.items() if not name.startswith("SORA_L")}
    environment["PATH"] = f"{script.parent}:{Path(sys.executable).parent}:{environment['PATH']}"
    return subprocess.run(
        ["/bin/sh", "-ec", "\n".join(BLOCKS)],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_the_guide_has_commands_that_are_tested() -> None:
    commands = re.findall(r"^sora-ledger ([a-z-]+)", "\n".join(BLOCKS), re.MULTILINE)
    wanted = {"key", "checkpoint", "verify", "export", "verify-bundle", "prove"}
    assert wanted <= set(commands)


def test_the_commands_of_the_guide_say_what_the_guide_says(
    ended: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    assert (ended.returncode, ended.stderr if ended.returncode else "") == (0, "")
    messages = ['"extends": true', '"clean": true', "nothing inside the file shows it", '"CHECKPOINT_SIZE"']
    messages += [
        "exit code 10",
        "The checkpoint is the one you hold.",
        '"proved": true',
        "Nothing is wrong with it.",
    ]
    assert [text for text in messages if text not in ended.stdout] == []


def test_every_code_the_guide_names_is_one_of_the_format() -> None:
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", GUIDE))
    assert {"LEAF_MISMATCH", "BODY_MISSING", "CHECKPOINT_ROOT"} <= named
    assert [code for code in named if f"`{code}`" not in FORMAT] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", GUIDE))))
def test_a_link_of_the_guide_leads_somewhere(path: str) -> None:
    assert (ROOT / "docs" / path).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\]\(#([^)]+)\)", GUIDE))))
def test_a_section_the_guide_points_to_is_there(name: str) -> None:
    titles = re.findall(r"^## (.*)$", GUIDE, re.MULTILINE)
    assert name in {title.lower().replace(" ", "-") for title in titles}


def test_the_program_it_points_to_is_the_one_in_bundles() -> None:
    assert Path(verify_bundle.__file__) == ROOT / "ledger" / "verify" / "verify_bundle.py"
