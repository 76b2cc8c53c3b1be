from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import MAX_SAFE_INTEGER, NotCanonicalError, canonical_json, digest

KEYS = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=12)
TEXTS = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_gives_the_same_bytes_as_the_rfc8785_package(document: dict[str, Any]) -> None:
    assert canonical_json(document) == rfc8785.dumps(document)


@pytest.mark.parametrize("code_point", [*range(0x20), 0x7F, 0x2028, 0xE000, 0x1F600])
def test_escapes_each_character_as_rfc8785_does(code_point: int) -> None:
    document = {"k": chr(code_point)}
    assert canonical_json(document) == rfc8785.dumps(document)


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        float("nan"),
        MAX_SAFE_INTEGER + 1,
        -MAX_SAFE_INTEGER - 1,
        b"bytes",
        (1, 2),
        {1, 2},
        object(),
        "\ud800",
        {"Upper": 1},
        {"dash-ed": 1},
        {"": 1},
        {1: 1},
        {"line\n": 1},
    ],
    ids=lambda value: type(value).__name__,
)
def test_refuses_what_is_outside_the_subset(value: Any) -> None:
    with pytest.raises(NotCanonicalError):
        canonical_json({"k": [value]})


def test_names_the_path_of_what_it_refuses() -> None:
    with pytest.raises(NotCanonicalError, match=r"\$\.a\[1\]\.b: .* found float"):
        canonical_json({"a": [0, {"b": 0.5}]})


def test_a_nested_change_changes_the_digest() -> None:
    assert digest({"a": {"b": {"c": "x"}}}) != digest({"a": {"b": {"c": "y"}}})


@pytest.mark.parametrize("value", [9007199254740991, -9007199254740991])
def test_the_largest_integer_that_every_reader_keeps_exact_is_written(value: int) -> None:
    assert canonical_json({"k": value}) == b'{"k":%d}' % value


@pytest.mark.parametrize("value", [9007199254740992, -9007199254740992])
def test_an_integer_that_a_reader_may_round_is_refused(value: int) -> None:
    with pytest.raises(NotCanonicalError, match="integers are within"):
        canonical_json({"k": value})
