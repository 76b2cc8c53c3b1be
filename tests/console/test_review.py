"""Review: a queue of clips, verdicts with notes about moments, several reviewers, and the keyboard alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.console.conftest import Console, Studio, serving
from tests.console.test_inbox import send
from tests.console.test_pages import violations

APPROVED = {"verdict": "approved", "notes": "", "at": "", "note": ""}


@pytest.fixture(scope="module")
def desk(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """Serve a studio whose clips are judged here."""
    copy = studio.copy(tmp_path_factory.mktemp("review") / "work")
    copy.grant("rolf", "--role=reviewer")
    copy.grant("film-eye", "--role=reviewer", "--team=film")
    with serving(copy) as console:
        yield console


def review(console: Console, name: str, path: str = "/review") -> dict[str, Any]:
    with console.reader(name) as reader:
        answer = reader.get(path + ".json" if "?" not in path else path.replace("?", ".json?"))
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document


def reviews(console: Console, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = console.studio("explain", job)["reviews"]["given"]
    return found


def test_the_queue_has_the_newest_clip_that_nobody_reviewed_and_only_what_the_team_may_see(
    shared: Console, desk: Console
) -> None:
    page = review(shared, "rita")
    jobs = shared.studio.jobs
    assert (page["clip"]["job_id"], page["waiting"]) == (jobs["bottle"], 4)
    assert [one["job_id"] for one in page["queue"]] == [jobs["fox"], jobs["crimson"], jobs["coupe"]]
    assert (page["newer"], page["older"]) == (None, jobs["fox"])
    assert review(shared, "rita", f"/review/{jobs['fox']}")["newer"] == jobs["bottle"]
    assert review(shared, "rita", "/review?which=finals")["clip"] is None
    assert review(desk, "film-eye")["clip"]["job_id"] == jobs["fox"]
    with desk.client("film-eye") as eye, desk.client("ana") as ana:
        assert eye.get(f"/review/{jobs['bottle']}").status_code == 404
        assert send(eye, f"/review/{jobs['bottle']}", APPROVED).status_code == 404
        assert ana.get("/review").status_code == 403
        assert "do not permit reviews" in ana.get(f"/review/{jobs['fox']}").text


def test_reviews_of_several_people_are_recorded_and_shown_with_their_agreement(desk: Console) -> None:
    job = desk.studio.jobs["coupe"]
    fields = {
        "verdict": "changes_requested",
        "clarity": "40",
        "continuity": "",
        "notes": "too fast",
        "at": ["2.5", "0:01", ""],
        "note": ["hands", "the logo", ""],
    }
    with desk.client("rita") as rita, desk.client("rolf") as rolf:
        shown = str(review(desk, "rita", f"/review/{job}")["clip"]["as_shown"])
        sent = send(rita, f"/review/{job}", fields | {"as_shown": shown})
        assert sent.status_code == 303, sent.text
        assert sent.headers["location"].startswith("/console/review/job_")
        page = rolf.get(f"/review/{job}").text
        assert "One reviewer: changes requested." in page
        assert f"/console/videos/{job}/files/video#t=2.5" in page
        assert (
            send(rolf, f"/review/{job}", APPROVED | {"clarity": "80", "as_shown": shown}).status_code == 303
        )
    clip = review(desk, "rita", f"/review/{job}")["clip"]
    assert clip["agreement"] == "2 reviewers do not agree: 1 changes_requested, 1 approved"
    assert clip["ranges"] == [{"name": "clarity", "low": 40, "mean": 60, "high": 80}]
    recorded = reviews(desk, job)[0]
    assert (recorded["reviewer"], recorded["notes"]) == ("rita", "too fast")
    assert recorded["timed_notes"] == [
        {"at_ms": 1_000, "text": "the logo"},
        {"at_ms": 2_500, "text": "hands"},
    ]
    desk.studio("verify")


def test_a_form_that_is_sent_twice_is_one_review(desk: Console) -> None:
    job = desk.studio.jobs["crimson"]
    with desk.client("rita") as rita:
        shown = str(review(desk, "rita", f"/review/{job}")["clip"]["as_shown"])
        fields = APPROVED | {"as_shown": shown, "csrf": rita.csrf()}
        with ThreadPoolExecutor() as threads:
            sent = list(threads.map(lambda _: rita.post(f"/review/{job}", data=fields), range(3)))
        assert [answer.status_code for answer in sent] == [303, 303, 303]
        assert len(reviews(desk, job)) == 1
        later = {
            "verdict": "rejected",
            "as_shown": str(review(desk, "rita", f"/review/{job}")["clip"]["as_shown"]),
        }
        assert send(rita, f"/review/{job}", later).status_code == 303
    assert [one["verdict"] for one in reviews(desk, job)] == ["approved", "rejected"]
    assert [one["is_last"] for one in review(desk, "rita", f"/review/{job}")["clip"]["reviews"]] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "Choose a verdict"),
        ({"verdict": "splendid"}, "Choose a verdict"),
        (APPROVED | {"clarity": "101"}, "expected a number from 0 to 100"),
        (APPROVED | {"at": "2.5"}, "expected a time in the clip and a text"),
        (APPROVED | {"note": "hands"}, "expected a time in the clip and a text"),
        (APPROVED | {"at": "99", "note": "hands"}, "s long"),
    ],
)
def test_a_review_that_is_wrong_is_not_recorded_and_keeps_what_was_typed(
    desk: Console, fields: dict[str, str], message: str
) -> None:
    job = desk.studio.jobs["fox"]
    with desk.client("rita") as rita:
        refused = send(rita, f"/review/{job}", fields | {"notes": "the owl blinks"})
        assert (refused.status_code, message in refused.text) == (400, True), refused.text
        assert "\nthe owl blinks</textarea>" in refused.text
    assert reviews(desk, job) == []


def test_erased_notes_are_shown_as_erased(desk: Console) -> None:
    job = desk.studio.jobs["bottle"]
    with desk.client("rita") as rita:
        fields = APPROVED | {"notes": "her face", "at": "1", "note": "her name"}
        assert send(rita, f"/review/{job}", fields).status_code == 303
        desk.studio("erase", job, "--reason", "subject_request", "--yes")
        page = rita.get(f"/review/{job}").text
    assert "her face" not in page
    assert page.count('<span class="erased">erased</span>') >= 3


def test_a_clip_is_judged_with_the_keyboard_alone(console: Console, page: Page) -> None:
    fox = console.studio.jobs["fox"]
    console.sign_in(page, "rita", "/review")
    page.keyboard.press("]")
    page.wait_for_url(f"**/review/{fox}?which=all")
    page.wait_for_function("document.getElementById('player').readyState >= 1")
    page.keyboard.press("?")
    page.get_by_text("One frame back or ahead").wait_for()
    assert violations(page) == []
    page.keyboard.press("?")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("n")
    page.keyboard.type("its tail ] 2")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    page.keyboard.press("w")
    page.keyboard.type("else good")
    page.keyboard.press("Control+Enter")
    page.get_by_text(f"Your review of {fox} is recorded: changes requested.").wait_for()
    [review] = reviews(console, fox)
    assert (review["reviewer"], review["verdict"], review["notes"]) == (
        "rita",
        "changes_requested",
        "else good",
    )
    assert review["timed_notes"] == [{"at_ms": 1_000, "text": "its tail ] 2"}]


def test_the_keys_can_be_switched_off(shared: Console, page: Page) -> None:
    shared.sign_in(page, "rita", "/review")
    page.keyboard.press("?")
    page.get_by_label("Use these keys").uncheck()
    page.reload()
    page.keyboard.press("2")
    assert not page.get_by_label("Changes requested").is_checked()
    page.keyboard.press("?")
    page.get_by_label("Use these keys").check()
    page.locator("h1").click()
    page.keyboard.press("2")
    assert page.get_by_label("Changes requested").is_checked()
