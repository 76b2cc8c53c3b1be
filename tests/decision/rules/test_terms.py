"""Terms are found as exact words, in any script and however their characters are encoded."""

# ruff: noqa: RUF001 - letters that look alike are what is tested

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.rules.terms import find, fold, fold_term


def is_found(text: str, term: str) -> list[str]:
    return [text[start:end] for start, end in find(fold(text), fold_term(term))]


FOUND = [
    ("Emma Watson walks", "emma watson", "Emma Watson"),
    ("by EMMA  \n WATSON's side", "Emma Watson", "EMMA  \n WATSON"),
    ("an emma-watson look", "Emma Watson", "emma-watson"),
    ("spider_man", "Spider-Man", "spider_man"),
    ("ＭＩＣＫＥＹ　ＭＯＵＳＥ", "Mickey Mouse", "ＭＩＣＫＥＹ　ＭＯＵＳＥ"),
    ("Mic\u200bkey Mou\u00adse", "mickey mouse", "Mic\u200bkey Mou\u00adse"),
    ("a cafe\u0301", "café", "cafe\u0301"),
    ("a café", "cafe\u0301", "café"),
    ("der STRASSE nach", "straße", "STRASSE"),
    ("a ﬁlm", "film", "ﬁlm"),
    ("ΣΊΣΥΦΟΣ", "σίσυφος", "ΣΊΣΥΦΟΣ"),
    ("L’Oréal", "l'oréal", "L’Oréal"),
    ("ﾐｯｷｰ･ﾏｳｽが踊る", "ミッキーマウス", "ﾐｯｷｰ･ﾏｳｽ"),
    ("ここでミッキー・マウスが踊る", "ミッキーマウス", "ミッキー・マウス"),
    ("可爱的米老鼠跳舞", "米老鼠", "米老鼠"),
    ("我喜欢Disney电影", "disney", "Disney"),
    ("มิกกี้เมาส์เต้นรำ", "มิกกี้เมาส์", "มิกกี้เมาส์"),
    ("미키마우스가 춤춘다", "미키마우스", "미키마우스"),
    ("эмма уотсон идёт", "Эмма Уотсон", "эмма уотсон"),
]


@pytest.mark.parametrize(("text", "term", "words"), FOUND, ids=[words for _, _, words in FOUND])
def test_a_term_is_found_where_it_stands(text: str, term: str, words: str) -> None:
    assert is_found(text, term) == [words]


OTHER_WORDS = [
    ("Gemma Watson walks", "emma watson"),
    ("Emma Watsonova walks", "emma watson"),
    ("thrillers", "thriller"),
    ("spiderman", "Spider-Man"),
    ("a café", "cafe"),
    ("a cafe", "café"),
    ("ガ", "カ"),
    ("각", "가"),
    ("새미키마우스", "미키마우스"),
    ("Мickey Mouse", "Mickey Mouse"),  # the first letter is Cyrillic
    ("sora22", "sora2"),
    ("", "a"),
]


@pytest.mark.parametrize(("text", "term"), OTHER_WORDS)
def test_parts_of_other_words_and_look_alikes_are_not_found(text: str, term: str) -> None:
    assert is_found(text, term) == []


def test_every_place_is_found_in_order() -> None:
    assert list(find(fold("ana, Ana and ANA"), "ana")) == [(0, 3), (5, 8), (13, 16)]


@given(st.text(), st.text(), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_a_term_is_found_between_any_texts_in_any_normal_form(before: str, after: str, form: str) -> None:
    text = unicodedata.normalize(form, f"{before}. Zoë Ångström ,{after}")
    places = [unicodedata.normalize("NFC", words) for words in is_found(text, "zoë ångström")]
    assert "Zoë Ångström" in places


@given(st.text())
def test_each_character_of_a_folded_text_has_a_place_in_the_original(text: str) -> None:
    result = fold(text)
    assert len(result.text) == len(result.starts) == len(result.ends)
    assert all(0 <= one < other <= len(text) for one, other in zip(result.starts, result.ends, strict=True))
    assert list(result.starts) == sorted(result.starts)
