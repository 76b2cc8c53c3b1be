"""What is taken out of a server's text before a person or a record sees it."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_adapter.untrusted import MESSAGE_CHARACTERS, excerpt, redactor, storable


@given(
    key=st.text(string.ascii_letters + string.digits + "-_./+", min_size=8),
    before=st.text(),
    after=st.text(),
)
def test_a_key_is_gone_wherever_it_stands(key: str, before: str, after: str) -> None:
    assert key not in redactor(key)(before + key + after).replace("[key removed]", "")


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-********wxyz. You can find your API key at https://…",
        "Incorrect API key provided: acme12*****wxyz.",
        "Received API Key = sk-...wxyz, Key Hash (Token) = 9f",
        'header "Authorization: Bearer eyJhbGciOi.wxyz" was refused',
    ],
)
def test_what_looks_like_a_key_is_taken_out(text: str) -> None:
    assert "wxyz" not in redactor(None)(text)


@pytest.mark.parametrize("text", ["a risk-averse, task-force fox", "Bearer of bad news", "no key provided"])
def test_words_that_only_resemble_a_key_stay(text: str) -> None:
    assert redactor("sk-0123456789")(text) == text


def test_a_placeholder_key_is_taken_out_only_as_a_word() -> None:
    assert redactor("x")("x is no key for max") == "[key removed] is no key for max"


@given(st.text(st.characters(), max_size=50))
def test_storable_text_survives_utf8_and_has_no_nul(text: str) -> None:
    assert "\0" not in storable(text).encode().decode()


def test_an_endless_message_is_cut() -> None:
    assert len(storable("a" * 10**6)) == MESSAGE_CHARACTERS


def test_an_excerpt_is_one_short_line() -> None:
    assert excerpt("<html>\n  <p>no</p>\n" + "x" * 10**4).startswith("<html> <p>no</p> xxx")
