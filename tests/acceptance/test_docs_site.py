"""The pages of the documentation site are complete, and its check of links finds what is broken."""

import re
from pathlib import Path

import pytest

from cli.main import COMMANDS
from cli.schemas import DOCUMENTS
from ledger.events import EVENT_TYPES
from tools.docs import DOCS, broken, navigation, stage

PAGE = """<html><head><link rel="stylesheet" href="{style}"></head>
<body><h2 id="here">Here</h2><a href="{link}">there</a></body></html>"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    stage(folder)
    return folder


def test_every_page_of_the_documentation_can_be_found_in_the_navigation(pages: Path) -> None:
    listed = set(re.findall(r"'([\w./-]+\.md)'", str(navigation(pages))))
    assert {path.name for path in DOCS.glob("*.md")} <= listed


def test_the_reference_has_every_command_document_and_event(pages: Path) -> None:
    for name, words in (("cli", COMMANDS), ("documents", DOCUMENTS), ("events", EVENT_TYPES)):
        headings = re.findall(r"^##+ (.+)$", (pages / "reference" / f"{name}.md").read_text(), re.MULTILINE)
        assert set(words) <= set(headings)


def test_no_link_of_the_site_leaves_it_for_a_file_of_the_repository(pages: Path) -> None:
    for page in pages.rglob("*.md"):
        links = re.findall(
            r"\]\((?!https?:|mailto:)([^)#\s]+)",
            re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL),
        )
        assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    ("link", "style", "problem"),
    [
        ("#here", "style.css", None),
        ("other.html#here", "style.css", None),
        ("https://example.com/", "style.css", None),
        ("gone.html", "style.css", "index.html: gone.html leads nowhere"),
        ("other.html#gone", "style.css", "index.html: other.html#gone: that page has no such section"),
        (
            "#here",
            "https://example.com/x.css",
            "index.html: loads https://example.com/x.css from another host",
        ),
    ],
)
def test_a_link_that_leads_nowhere_is_found(
    tmp_path: Path, link: str, style: str, problem: str | None
) -> None:
    (tmp_path / "index.html").write_text(PAGE.format(link=link, style=style))
    (tmp_path / "other.html").write_text(PAGE.format(link="#here", style="style.css"))
    (tmp_path / "style.css").write_text("")
    assert broken(tmp_path) == ([problem] if problem else [])
