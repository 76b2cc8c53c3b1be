"""What is said of a server can be looked up: each section cited is one of docs/servers.md."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTIONS = set(re.findall(r"^#+ (\d(?:\.\d)?)[. ]", (ROOT / "docs" / "servers.md").read_text(), re.MULTILINE))
PROFILES = ROOT / "sora_adapter" / "profiles.toml"
CODE = [path for path in sorted((ROOT / "sora_adapter").rglob("*.py")) if "servers.md" in path.read_text()]


def cited_in_profiles() -> set[str]:
    """Return the sections in brackets, and those that a quirk begins with."""
    text = PROFILES.read_text(encoding="utf-8")
    return set(re.findall(r"(?:\[|^\w+ = \")(\d(?:\.\d)?)(?=\]|[,:])", text, re.MULTILINE))


def test_the_profiles_cite_sections_that_are_there() -> None:
    assert cited_in_profiles() == {"1.1", "1.2", "1.3", "1.4", "1.6", "2", "3"}
    assert cited_in_profiles() <= SECTIONS


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_code_cites_sections_that_are_there(path: Path) -> None:
    assert set(re.findall(r"docs/servers\.md (\d\.\d)", path.read_text(encoding="utf-8"))) <= SECTIONS
