"""The page Spend: its sums are those of the command, and each person's are of the jobs they see."""

from datetime import UTC, datetime

import pytest

from render_service.reports.spending import SpentMoney
from render_service.server.console.charts import Bar, bars
from render_service.server.console.views.spend import forecast, pace_of
from tests.console.conftest import Console


def test_the_page_shows_the_sums_of_the_command(shared: Console) -> None:
    for by in ("model", "purpose", "actor", "team"):
        command = shared.studio("spend", "--by", by)
        with shared.reader("olga") as olga:
            view = olga.get(f"/spend.json?by={by}&period=all").json()
        shown = [(group["name"], group["jobs"], group["settled_usd_micros"]) for group in view["groups"]]
        assert shown == [
            (part["name"] or "none", part["jobs"], part["settled_usd_micros"]) for part in command["parts"]
        ]
        assert view["total"]["reserved_usd_micros"] == command["total"]["reserved_usd_micros"]
    assert [budget["budget"] for budget in view["budgets"]] == ["all", "team_film"]
    assert view["budgets"][0]["left_usd_micros"] == command["budgets"][0]["left_usd_micros"]


def test_a_requester_of_a_team_sees_what_the_team_spent(shared: Console) -> None:
    with shared.reader("tom") as tom, shared.reader("olga") as olga:
        view, everything = tom.get("/spend.json?by=team").json(), olga.get("/spend.json?by=team").json()
        assert [group["name"] for group in view["groups"]] == ["ads"]
        assert view["groups"][0] == next(each for each in everything["groups"] if each["name"] == "ads")
        assert (view["total"]["jobs"], view["budgets"]) == (2, [])
        page = tom.get("/spend").text
        assert ("team_film" in page, 'role="img"' in page) == (False, True)


@pytest.mark.parametrize("query", ["period=never", "by=prompt", "period=&by=", "by=model'--"])
def test_what_the_page_does_not_know_is_the_usual(shared: Console, query: str) -> None:
    with shared.reader("olga") as olga:
        view = olga.get(f"/spend.json?{query}").json()
        assert (view["period"], view["by"]) == ("month", "model")


def test_theforecast_continues_thepace_of_of_the_last_days() -> None:
    today = datetime(2026, 11, 21, tzinfo=UTC)
    days = [SpentMoney(f"2026-11-{day}", 1, 0, micros) for day, micros in ((11, 6_000_000), (20, 4_000_000))]
    assert (pace_of(days, today), pace_of([], today)) == (1_000_000, None)
    assert forecast([*days, SpentMoney("2026-11-21", 1, 3_000_000, 0)], today, 1_000_000) == 22_000_000
    assert forecast(days, today, 1_000_000) == 20_000_000


def test_bars_have_round_marks_and_the_whole_amount_as_a_tooltip() -> None:
    drawing = bars([Bar("2026-11-01", (400_000, 0)), Bar("2026-11-02", (1_200_000, 300_000))], "Money")
    assert [mark in drawing for mark in (">$0.50<", ">$1.00<", ">$1.50<")] == [True, True, True]
    assert "<title>2026-11-02: $1.20</title>" in drawing
    assert (bars([], "Money"), bars([Bar("2026-11-01", (0, 0))], "Money")) == ("", "")
