"""Two videos compared: what was changed, what differs, and both played in step in a browser."""

import time
from typing import Any

import pytest
from playwright.sync_api import Page

from render_service.server.console.views.review import diff
from tests.console.conftest import Console
from tests.console.test_pages import violations
from tests.console.test_video import until

BOTH = "[...document.querySelectorAll('[data-compare] video')]"


def test_a_remix_is_compared_with_its_source_and_the_one_change_is_named(shared: Console) -> None:
    jobs = shared.studio.jobs
    with shared.reader("ana") as ana:
        view = ana.get(f"/compare.json?right={jobs['crimson']}").json()
        assert (view["left"]["job_id"], view["right"]["job_id"]) == (jobs["coupe"], jobs["crimson"])
        (change,) = view["changes"]
        assert (change["operation"], change["aspects"]) == ("remix", ["palette"])
        assert change["words"] == "shift the color palette to crimson and sand"
        html = ana.get(f"/compare?right={jobs['crimson']}").text
        assert "The one change" in html
        assert html.count("<video controls") == 2


def test_any_two_videos_are_compared_by_what_differs(shared: Console) -> None:
    jobs = shared.studio.jobs
    with shared.reader("olga") as olga:
        view = olga.get(f"/compare.json?left={jobs['coupe']}&right={jobs['fox']}").json()
        assert view["changes"] == []
        differing = {row["name"]: (row["left"], row["right"]) for row in view["rows"] if row["differs"]}
        assert differing == {"Length": ("4 s", "8 s")}
        assert view["left"]["cost"]["settled_usd_micros"] != view["right"]["cost"]["settled_usd_micros"]
        text = "".join(piece["text"] for piece in view["prompt_diff"] if piece["of"] != "right")
        assert text == view["left"]["prompt"]["text"]
        without = olga.get(f"/compare?left={jobs['coupe']}&right={jobs['denied']}").text
        assert "There is no video to play." in without


def test_another_teams_video_cannot_be_compared(shared: Console) -> None:
    jobs = shared.studio.jobs
    with shared.reader("ana") as ana:
        for query in (f"right={jobs['bottle']}", f"left={jobs['bottle']}&right={jobs['coupe']}"):
            assert ana.get(f"/compare?{query}").status_code == 404
            assert ana.get(f"/compare.json?{query}").status_code == 404


def test_without_names_or_a_source_the_page_asks_for_two_videos(shared: Console) -> None:
    with shared.reader("ana") as ana:
        assert "Enter two videos" in ana.get("/compare").text
        assert "no source of this video" in ana.get(f"/compare?right={shared.studio.jobs['fox']}").text


@pytest.mark.parametrize(
    ("left", "right", "pieces"),
    [
        ("a red fox", "a blue fox", [("both", "a "), ("left", "red"), ("right", "blue"), ("both", " fox")]),
        ("a", "a b", [("both", "a"), ("right", " b")]),
        ("a b", "b", [("left", "a "), ("both", "b")]),
        ("same", "same", None),
        (None, "erased", None),
    ],
)
def test_prompts_are_compared_word_by_word(left: Any, right: Any, pieces: Any) -> None:
    found = diff(left, right)
    assert (None if found is None else [(piece.of, piece.text) for piece in found]) == pieces


def test_long_prompts_that_have_nothing_in_common_are_not_compared_word_by_word() -> None:
    began = time.monotonic()
    assert diff("a " * 16_000, " b" * 16_000) is None
    assert diff("x " * 16_000 + "red", "x " * 16_000 + "blue") is not None
    assert time.monotonic() - began < 10


@pytest.fixture
def compared(shared: Console, page: Page) -> Page:
    """Return the page of a remix beside its source, when both videos can be played."""
    shared.sign_in(page, "ana", f"/compare?right={shared.studio.jobs['crimson']}")
    until(page, f"{BOTH}.every(video => video.readyState > 2)")
    return page


def times(page: Page) -> list[float]:
    """Return where both videos are, in seconds."""
    found: list[float] = page.evaluate(f"{BOTH}.map(video => video.currentTime)")
    return found


def test_two_videos_are_played_in_step_from_one_control(compared: Page) -> None:
    compared.get_by_role("button", name="Play both").click()
    apart = f"Math.abs({BOTH}[0].currentTime - {BOTH}[1].currentTime)"
    until(compared, f"{BOTH}.every(video => video.currentTime > 0.5) && {apart} < 0.1")
    compared.get_by_role("button", name="Pause both").click()
    left, right = times(compared)
    assert left == pytest.approx(right, abs=0.001)
    assert compared.evaluate(f"{BOTH}.every(video => video.paused)")


def test_seeking_moves_both_and_keys_step_through_frames(compared: Page) -> None:
    seek = compared.get_by_label("Position")
    seek.fill("500")
    until(compared, f"{BOTH}.every(video => !video.seeking && Math.abs(video.currentTime - 2) < 0.01)")
    compared.get_by_role("button", name="+ frame").press("Shift+ArrowRight")
    assert times(compared) == pytest.approx([3.0, 3.0], abs=0.01)
    compared.locator("[data-do=back]").click()
    assert times(compared) == pytest.approx([3 - 1 / 24] * 2, abs=0.01)
    assert "2.96 s / 4.00 s" in compared.locator("[data-clock]").inner_text()
    compared.locator("[data-side=left] video").click()
    assert compared.locator("[data-compare]").get_attribute("data-playing") == "yes"
    compared.keyboard.press("Escape")
    until(compared, "document.querySelector('[data-compare]').dataset.playing === 'no'")
    assert times(compared) == pytest.approx([4.0, 4.0], abs=0.1)


def test_the_wipe_shows_the_left_video_up_to_the_line(compared: Page) -> None:
    compared.get_by_label("Wipe", exact=True).check()
    compared.get_by_label("Where the left video ends").fill("30")
    right = "getComputedStyle(document.querySelector('[data-side=right] .player')).clipPath"
    assert compared.evaluate(right) == "inset(0px 0px 0px 30%)"
    boxes = [compared.locator(f"[data-side={side}] video").bounding_box()["x"] for side in ("left", "right")]
    assert boxes[0] == boxes[1]
    compared.get_by_role("button", name="+ frame").press("]")
    assert compared.get_by_label("Where the left video ends").input_value() == "35"
    assert violations(compared) == []
    compared.get_by_role("button", name="+ frame").press("w")
    assert compared.evaluate(right) == "none"


def test_the_comparison_is_accessible_and_fits_a_phone(compared: Page) -> None:
    for scheme, width in (("light", 1280), ("dark", 360)):
        compared.emulate_media(color_scheme=scheme)
        compared.set_viewport_size({"width": width, "height": 800})
        assert violations(compared) == []
        assert compared.evaluate("document.documentElement.scrollWidth") <= width
