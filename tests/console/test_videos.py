"""The page Videos: a grid that words and filters restrict, kept in the address, of what a person may see."""

import csv
import io
import re
from types import ModuleType
from typing import Any

from playwright.sync_api import Page, expect

from ledger.log.ledger import Ledger
from ledger.log.opening import open_store
from ledger.record import new_job_id
from ledger.store.filters import JobFilter
from tests.console.conftest import COUPE, CRIMSON, FOX, Console
from tests.ledger.scribe import Scribe


def ids(view: dict[str, Any]) -> list[str]:
    return [video["job_id"] for video in view["videos"]]


def test_everyone_sees_the_videos_of_their_team_and_operators_all(shared: Console) -> None:
    jobs = shared.studio.jobs
    with shared.reader("ana") as ana, shared.reader("tom") as tom, shared.reader("sol") as sol:
        film = [jobs[name] for name in ("queued", "fox", "crimson", "coupe")]
        ads = [jobs[name] for name in ("denied", "bottle")]
        assert ids(ana.get("/videos.json").json()) == film
        assert ids(tom.get("/videos.json").json()) == ads
        assert set(ids(sol.get("/videos.json").json())) == {*film, *ads}
        assert ana.get("/videos.json?q=neon").json()["total"] == 0
        assert ids(ana.get("/videos.json?team=ads").json()) == []
        counted = {one["name"]: one["choices"] for one in ana.get("/videos.json").json()["filters"]}
        assert [choice["value"] for choice in counted["team"]] == ["film"]
        assert "neon city" not in ana.get("/videos").text


def test_words_and_filters_restrict_the_list(shared: Console) -> None:
    jobs = shared.studio.jobs
    with shared.reader("sol") as sol:

        def found(query: str) -> list[str]:
            return ids(sol.get(f"/videos.json?{query}").json())

        assert found("q=FOX+snow") == [jobs["fox"]]
        assert found("q=%22teal+coupe%22+-%28") == [jobs["coupe"]]
        assert found("state=denied") == [jobs["denied"]]
        assert found("actor=tom&state=stored") == [jobs["bottle"]]
        assert found("q=a&purpose=final") == []
        assert sol.get("/videos?q=%22%28*").text.count("no letter or digit") == 1
        refused = sol.get("/videos.json?state=odd")
        assert (refused.status_code, "expected one of" in refused.json()["error"]) == (400, True)
        assert sol.get("/videos.json?before=x").status_code == 400


def test_each_filter_counts_what_matches_the_others(shared: Console) -> None:
    with shared.reader("sol") as sol:
        for query, where in (("state=stored", ""), ("state=stored&q=a", "&q=a")):
            view = sol.get(f"/videos.json?{query}").json()
            filters = {one["name"]: one for one in view["filters"]}
            for name, one in filters.items():
                for choice in one["choices"]:
                    kept = "" if name == "state" else "state=stored&"
                    listed = sol.get(f"/videos.json?{kept}{name}={choice['value']}{where}").json()
                    assert choice["jobs"] == listed["total"] == len(listed["videos"]), (name, choice)
            assert filters["state"]["chosen"] == "stored"


def test_a_card_shows_the_words_that_were_searched_for(shared: Console) -> None:
    with shared.reader("ana") as ana:
        shown = ana.get("/videos?q=fox+gold").text
    assert "A <mark>fox</mark> runs through fresh snow, tracking shot, <mark>gold</mark>en hour" in shown


def test_the_poster_of_a_card_is_served_to_those_who_see_it(console: Console) -> None:
    console.studio("download", "--id", console.studio.jobs["fox"], "--variant", "thumbnail")
    with console.reader("ana") as ana, console.reader("tom") as tom:
        [card] = ana.get("/videos.json?q=fox").json()["videos"]
        assert f'<img src="{card["poster"]}" alt=""' in ana.get("/videos").text
        where = f"{console.origin}{card['poster']}"
        image = ana.get(where)
        assert (image.status_code, image.headers["content-type"]) == (200, "image/webp")
        assert "private" in image.headers["cache-control"]
        assert ana.get(where, headers={"if-none-match": image.headers["etag"]}).status_code == 304
        assert ana.get(where, headers={"range": "bytes=0-3"}).content == image.content[:4]
        assert tom.get(where).status_code == 404


def test_the_list_as_csv_opens_in_a_spreadsheet(shared: Console) -> None:
    with shared.reader("ana") as ana:
        rows = list(csv.DictReader(io.StringIO(ana.get("/videos.csv").text)))
    assert [row["prompt"] for row in rows] == ["An owl sleeps on a branch", FOX, CRIMSON, COUPE]


def test_an_erased_prompt_is_shown_as_erased_and_found_no_more(console: Console) -> None:
    console.studio("erase", console.studio.jobs["fox"], "--reason=subject_request", "--yes")
    with console.reader("ana") as ana:
        assert ana.get("/videos.json?q=fox").json()["total"] == 0
        shown = ana.get("/videos").text
        assert shown.count('<span class="erased">erased</span>') == 1
        assert "fresh snow" not in shown


def test_a_long_list_is_read_in_parts_forth_and_back(
    console: Console, scribe: Scribe, vocabulary: ModuleType
) -> None:
    with Ledger(open_store(str(console.studio.folder / "ledger.db"), read_only=False)) as ledger:
        requests = [vocabulary.requested(f"Number {number}") for number in range(30)]
        ledger.append([scribe.batch(new_job_id(), event) for event in requests])
        expected = [found.job.job_id for found in ledger.store.search("", JobFilter(of_team="film"), 99)]
    with console.reader("ana") as ana:
        first = ana.get("/videos.json").json()
        second = ana.get(f"/videos.json?{first['older']}").json()
        assert first["newer"] is None
        assert [*ids(first), *ids(second)] == expected
        assert ids(ana.get(f"/videos.json?{second['newer']}").json()) == ids(first)


def test_what_is_typed_and_chosen_changes_the_list_and_the_address(shared: Console, page: Page) -> None:
    shared.sign_in(page, "sol", "/videos")
    cards, words = page.locator(".poster"), page.get_by_label("Words of the prompt")
    expect(cards).to_have_count(6)
    words.press_sequentially("snow")
    expect(cards).to_have_count(1)
    expect(page).to_have_url(re.compile("q=snow"))
    expect(page.locator("#total")).to_have_text(re.compile("^1 video"))
    expect(words).to_be_focused()
    words.fill("")
    expect(cards).to_have_count(6)
    page.get_by_label("Requester").select_option("tom")
    expect(cards).to_have_count(2)
    page.reload()
    expect(cards).to_have_count(2)
    page.get_by_role("link", name="A bottle turns").click()
    page.wait_for_url("**/console/videos/job_*")


def test_a_video_without_a_poster_shows_its_first_frame(console: Console, page: Page) -> None:
    console.studio("download", "--id", console.studio.jobs["fox"], "--variant", "thumbnail")
    console.sign_in(page, "ana", "/videos")
    page.wait_for_function(
        """() => [...document.images].filter(one => one.complete && one.naturalWidth).length === 1
          && [...document.querySelectorAll("video")].filter(one => one.readyState > 1).length === 2"""
    )
