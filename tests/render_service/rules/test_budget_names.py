"""What budgets are called."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from render_service.rules.budget_names import (
    BudgetName,
    Period,
    Scope,
    actor_word,
    parse_name,
    read_name,
)
from render_service.runtime.errors import BadInput

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("all", BudgetName()),
        ("all__month", BudgetName(period=Period.MONTH)),
        ("team_film", BudgetName(team="film")),
        ("team_film_unit", BudgetName(team="film_unit")),
        ("project_spring__purpose_final", BudgetName(project="spring", purpose="final")),
        ("team_film__2026_11", BudgetName(team="film", period=Period.MONTH, dated="2026_11")),
        ("team_film__2026_11_21", BudgetName(team="film", period=Period.DAY, dated="2026_11_21")),
        ("team_film_2026_11", BudgetName(team="film_2026_11")),
        ("actor_alice", BudgetName(actor="alice")),
        ("actor_alice__month", BudgetName(actor="alice", period=Period.MONTH)),
    ],
)
def test_a_name_is_read_in_its_parts_and_printed_the_same(text: str, name: BudgetName) -> None:
    assert parse_name(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    "text",
    [
        "studio",
        "team_",
        "team",
        "purpose_doodle",
        "purpose_final__team_film",
        "team_a__team_b",
        "all__all",
        "team_film__actor_alice",
        "",
    ],
)
def test_what_is_no_name_applies_to_nothing(text: str) -> None:
    assert parse_name(text) is None


@pytest.mark.parametrize("text", ["studio", "team_Film", "team_film__month", "team_film__2026_11", "all day"])
def test_a_wrong_name_is_refused_with_how_they_are_called(text: str) -> None:
    with pytest.raises(BadInput, match="expected all, team_film"):
        read_name(text, Period.NONE)


def test_a_name_too_long_for_a_record_is_refused() -> None:
    with pytest.raises(BadInput, match="more than 64 characters"):
        read_name(f"team_{'a' * 50}", Period.DAY)


def test_a_month_and_a_day_are_those_of_utc() -> None:
    late = NOON.astimezone(timezone(timedelta(hours=13)))
    month, day = (
        BudgetName(team="film", period=period).resolve(late) for period in (Period.MONTH, Period.DAY)
    )
    assert (str(month), str(day)) == ("team_film__2026_11", "team_film__2026_11_21")


def test_a_render_is_paid_from_every_budget_that_fits_it() -> None:
    names = {str(name) for name in Scope("film", None, "final").names() if name.period is Period.NONE}
    assert names == {"all", "team_film", "purpose_final", "team_film__purpose_final"}


def test_a_render_is_paid_from_the_budget_of_its_actor_too() -> None:
    names = {str(name) for name in Scope(None, None, "draft", "alice").names()}
    assert {"actor_alice", "actor_alice__month", "actor_alice__day"} <= names
    assert "purpose_draft__actor_alice" not in names


@pytest.mark.parametrize("actor", ["alice@example.org", "Alice", "", "a" * 50, "\u00fc\u00df", "alice__film"])
def test_the_name_of_an_actor_can_be_any_text(actor: str) -> None:
    word = actor_word(actor)
    day = str(BudgetName(actor=word, period=Period.DAY).resolve(NOON))
    assert len(day) <= 64
    assert parse_name(f"actor_{word}") == BudgetName(actor=word)
    assert actor_word(word) == word
    assert word != actor_word(actor + ".")


def test_the_budget_of_an_actor_is_set_by_their_name() -> None:
    assert read_name("actor_alice@example.org", Period.NONE).actor == actor_word("alice@example.org")
