"""The page of the jobs as of a position: the same as the command, with and without a script."""

import pytest
from playwright.sync_api import Page

from tests.console.conftest import Console


@pytest.mark.parametrize("part", [0, 3, 5, 8, 10])
def test_the_page_shows_what_the_command_shows(shared: Console, part: int) -> None:
    with shared.reader("olga") as olga:
        size = olga.get("/operations/as-of.json").json()["size"]
        position = size * part // 10
        expected = shared.studio("replay", "--as-of", str(position))["jobs"]
        view = olga.get(f"/operations/as-of.json?position={position}").json()
        assert {job["job_id"]: job["state"] for job in view["jobs"]} == {
            job["job_id"]: job["state"] for job in expected
        }
        assert sum(view["states"].values()) == len(expected)
        assert olga.get(f"/operations/as-of.csv?position={position}").text.count("\njob_") == len(expected)


def test_a_time_leads_to_the_last_position_recorded_by_then(shared: Console) -> None:
    with shared.reader("olga") as olga:
        records = olga.get("/log.json").json()["records"]
        record = records[len(records) // 2]
        view = olga.get("/operations/as-of.json", params={"time": record["recorded_at"]}).json()
        assert (view["position"], view["recorded_at"]) == (record["position"], record["recorded_at"])
        assert olga.get("/operations/as-of.json?time=2000-01-01").json()["states"] == {}


@pytest.mark.parametrize(
    "query", ["position=999999999", "position=-1", "position=x", "time=yesterday", "state=x", "position=1e3"]
)
def test_what_is_no_position_is_refused_with_a_sentence(shared: Console, query: str) -> None:
    with shared.reader("olga") as olga:
        answer = olga.get(f"/operations/as-of.json?{query}")
        assert (answer.status_code, query.partition("=")[0] in answer.json()["error"].lower()) == (400, True)


def test_people_with_a_team_see_the_jobs_of_the_team(shared: Console) -> None:
    jobs = shared.studio.jobs
    with shared.reader("tom") as tom:
        view = tom.get("/operations/as-of.json").json()
        assert {job["job_id"] for job in view["jobs"]} == {jobs["bottle"], jobs["denied"]}
        assert sum(view["states"].values()) == 2
        assert jobs["coupe"] not in tom.get("/operations/as-of").text


def test_what_became_of_a_job_is_shown_beside_what_it_was(shared: Console) -> None:
    queued = shared.studio.jobs["coupe"]
    with shared.reader("olga") as olga:
        records = olga.get(f"/log.json?job={queued}").json()["records"]
        position = next(each["position"] for each in records if each["type"] == "render.decided")
        (job,) = olga.get(f"/operations/as-of.json?position={position}").json()["jobs"]
        assert (job["state"], job["state_now"]) == ("decided", "stored")


def test_the_slider_moves_through_time_and_a_position_can_be_typed(shared: Console, page: Page) -> None:
    shared.sign_in(page, "olga", "/operations/as-of")
    size = int(page.locator("#slider").get_attribute("max"))
    page.locator("#slider").focus()
    page.keyboard.press("Home")
    page.get_by_text("0 jobs as of position 0").wait_for()
    assert page.get_by_label("Position", exact=True).input_value() == "0"
    page.get_by_label("Position", exact=True).fill(str(size))
    page.get_by_text(f"as of position {size}").wait_for()
    assert page.locator("#slider").input_value() == str(size)
    assert page.url.endswith(f"position={size}")
    page.reload()
    page.get_by_text(f"as of position {size}").wait_for()
