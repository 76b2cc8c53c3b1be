"""Every relative link, section and path named in the documentation exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        ROOT / "llms.txt",
        *(path for folder in ("docs", "skills", "examples") for path in (ROOT / folder).rglob("*.md")),
    ]
)
DECISIONS = ROOT / "docs" / "decisions"
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TOP_FOLDERS = "ledger|decision|sora_adapter|render_service|cli|tests|benchmarks|tools"
PATH = re.compile(rf"`((?:{TOP_FOLDERS}|docs|\.ci)/[\w./*-]*)`")
MODULE = re.compile(rf"`((?:{TOP_FOLDERS})(?:\.\w+){{2,}})`")
"""A dotted name of three parts or more: two parts may be the name of an event."""
HISTORY = {"CHANGELOG.md"}
"""Names paths of earlier versions."""


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_of_a_page_leads_to_a_file_and_a_section(page: Path) -> None:
    broken = []
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(f"{path}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in HISTORY], ids=name)
def test_every_path_a_page_names_exists(page: Path) -> None:
    paths = PATH.findall(page.read_text(encoding="utf-8"))
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []


def exists(dotted: str) -> bool:
    """Say whether a module exists, and has the name that may follow it."""
    path, _, last = dotted.replace(".", "/").rpartition("/")
    if (ROOT / path / last).is_dir() or (ROOT / path / f"{last}.py").is_file():
        return True
    sources = [ROOT / f"{path}.py", ROOT / path / "__init__.py"]
    return any(last in source.read_text(encoding="utf-8") for source in sources if source.is_file())


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in HISTORY], ids=name)
def test_every_module_a_page_names_exists(page: Path) -> None:
    modules = set(MODULE.findall(page.read_text(encoding="utf-8"))) - {
        "ledger.created",
        "ledger.db",
        "ledger.example",
    }
    assert [module for module in modules if not exists(module)] == []


def test_every_decision_is_listed_once_under_its_number() -> None:
    text = (DECISIONS / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^(\d+)\. \[.+\]\((\d{4})-[\w-]+\.md\)$", text, re.MULTILINE)
    assert [int(number) for number, _ in listed] == [int(file) for _, file in listed]
    assert [file for _, file in listed] == sorted(path.name[:4] for path in DECISIONS.glob("0*.md"))
