"""docs/promises.md names what exists, and README.md promises the same and no more."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
SECTIONS = [part.partition("\n") for part in PAGE.split("\n## ")[1:]]


@pytest.mark.parametrize(("title", "text"), [(title, text) for title, _, text in SECTIONS])
def test_a_promise_says_what_it_assumes_what_shows_it_and_who_could_cheat(title: str, text: str) -> None:
    parts = re.findall(r"^\*\*(Says|Assumes|Shown by|Out of scope|Who could cheat)", text, re.MULTILINE)
    assert sorted(set(parts)) == ["Assumes", "Out of scope", "Says", "Shown by", "Who could cheat"], title


def test_every_test_named_on_the_page_exists() -> None:
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE))
    names = set(re.findall(r"`(test_\w+)`", PAGE))
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert files
    assert all((ROOT / name).is_file() for name in files)
    assert all(f"def {name}(" in source for name in names)


def test_every_promise_of_the_table_has_a_section() -> None:
    rows = re.findall(r"^\| \d+ \|.*\[(.+?)\]\(#", PAGE, re.MULTILINE)
    assert rows == [title for title, _, _ in SECTIONS]


def test_the_readme_promises_what_the_page_promises() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(.+?)\]\(docs/promises\.md#(.+?)\) \|", readme, re.MULTILINE)
    assert rows == [(title, title.lower().replace(" ", "-")) for title, _, _ in SECTIONS]
