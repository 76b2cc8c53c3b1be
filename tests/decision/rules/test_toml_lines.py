"""Lines of keys in TOML, for messages that name the place."""

import tomllib
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.errors import BadDocument
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from decision.rules.toml import Path, key_lines, line_of, load_document

POLICY = files("decision").joinpath("policy.toml").read_text(encoding="utf-8")
CATALOG = files("decision").joinpath("catalog.toml").read_text(encoding="utf-8")
TEMPLATES = files("decision").joinpath("templates.toml").read_text(encoding="utf-8")
ALL_KINDS = '''# a comment with [brackets] and = signs
version = 1
"quoted key" = """
two lines, ] } # no comment
"""
[a.b]
c = [1, # one
  2, { d = "}", e = ['x', 'y'] },
]
[[f]]
g = 2026-01-01
[[f]]
g = true
[f.h]
i.j = 0.5
'''


def paths(value: object, path: Path = ()) -> set[Path]:
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return {path}.union(*(paths(child, (*path, key)) for key, child in children))


@pytest.mark.parametrize(
    "toml", [POLICY, CATALOG, TEMPLATES, ALL_KINDS], ids=["policy", "catalog", "templates", "all"]
)
def test_every_key_that_tomllib_finds_has_a_line(toml: str) -> None:
    lines = key_lines(toml)
    assert {path for path in paths(tomllib.loads(toml)) if line_of(lines, path) is None} == {()}
    assert set(lines) <= paths(tomllib.loads(toml))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("version",), 2),
        (("quoted key",), 3),
        (("a", "b", "c"), 7),
        (("a", "b", "c", 1), 8),
        (("a", "b", "c", 2, "e", 1), 8),
        (("f", 0, "g"), 11),
        (("f", 1, "g"), 13),
        (("f", 1, "h", "i", "j"), 15),
        (("f", 1, "missing"), 12),
    ],
)
def test_a_key_is_found_on_its_line_and_a_missing_one_on_that_of_its_table(path: Path, line: int) -> None:
    assert line_of(key_lines(ALL_KINDS), path) == line


@given(st.text(st.sampled_from("ab=[]{}\"'#\n., 1"), max_size=40))
def test_a_scan_ends_whatever_it_is_given(toml: str) -> None:
    assert len(key_lines(toml)) <= 2 * len(toml) + 1


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("fit_weight = 10", 'fit_weight = "ten"'),
        ("fit = 90", "fit = -1"),
        ("[weights]", "[weights]\nmood = 1"),
    ],
)
def test_a_policy_that_is_wrong_is_refused_with_the_line(text: str, instead: str) -> None:
    wrong = POLICY.replace(text, instead, 1)
    line = wrong[: wrong.index(instead.splitlines()[-1])].count("\n") + 1
    with pytest.raises(BadDocument, match=f"line {line}, "):
        load_document(Policy, wrong.encode())


def test_a_negative_price_is_refused_with_the_line() -> None:
    wrong = CATALOG.replace("usd_micros_per_second = 300000", "usd_micros_per_second = -300000", 1)
    line = wrong[: wrong.index("-300000")].count("\n") + 1
    with pytest.raises(BadDocument, match=rf"line {line}, models\.1\.prices"):
        load_document(Catalog, wrong.encode())
