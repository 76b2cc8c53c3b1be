"""The form for a new request: the decision before it is sent, and one video however often it is sent."""

import io
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.console.conftest import Console
from tests.outside.conftest import Outside

FOX = {"prompt": "A red fox crosses a frozen lake", "purpose": "draft"}
SHAPE = {"model": "auto", "size": "1280x720", "seconds": "4", "profile": "sandbox"}


def fields_of(client: Any, path: str = "/new") -> dict[str, str]:
    """Return the hidden fields of the form."""
    text = client.get(path).text
    return {name: re.search(f'name="{name}" value="([^"]+)"', text)[1] for name in ("csrf", "key")}


def submitted(client: Any, job_id: str) -> dict[str, Any]:
    """Return the page of a video once its server has answered, which is after the form was."""
    until = time.monotonic() + 30
    while (view := client.get(f"/videos/{job_id}.json").json())["video_id"] is None:
        assert time.monotonic() < until, view["standing"]
    return dict(view)


def job_in(answer: Any) -> str:
    """Return the job that an answer leads to."""
    assert answer.status_code == 303, text_of(answer)
    return str(answer.headers["location"].rpartition("/")[2])


def text_of(answer: Any) -> str:
    """Return what a page says in its decision."""
    part = answer.text.partition('id="decision"')[2].partition("</section>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", part).split())


@pytest.fixture
def billed(outside: Callable[..., Outside], consoles: Callable[..., Console]) -> tuple[Console, Outside]:
    """Start a console whose server is a billing server of the tests."""
    server = outside()
    return consoles("--no-work", **at(server)), server


def at(server: Any) -> dict[str, str]:
    """Return the variables with which a console uses a billing server."""
    return {
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": "sk-test",
        "SORA_LEDGER_PROFILE": "custom",
    }


def test_the_decision_is_shown_and_nothing_recorded(shared: Console) -> None:
    with shared.client("ana") as ana:
        size = shared.studio("verify")["size"]
        checked = ana.post("/new/check", data={**fields_of(ana), **SHAPE, **FOX})
        assert checked.status_code == 200
        text = text_of(checked)
        assert "Allowed" in text
        assert "Model sora-2" in text
        assert "Cost $0.40" in text
        assert "Ready in unknown" in text
        assert FOX["prompt"] in checked.text
    assert shared.studio("verify")["size"] == size


def test_a_denied_request_says_why_and_what_would_be_allowed(shared: Console) -> None:
    with shared.client("ana") as ana:
        dear = {**fields_of(ana), **SHAPE, **FOX, "max_cost": "0.10"}
        text = text_of(ana.post("/new/check", data=dear))
    assert "Denied" in text
    assert "What now" in text


def test_a_remix_shows_whether_it_asks_for_one_change(shared: Console) -> None:
    coupe = shared.studio.jobs["coupe"]
    with shared.client("ana") as ana:
        form = fields_of(ana, f"/new?remix={coupe}") | {"remix_of": coupe, "purpose": "draft"}
        one = text_of(ana.post("/new/check", data={**form, "prompt": "Make the sky purple"}))
        several = text_of(
            ana.post("/new/check", data={**form, "prompt": "Make the sky purple and remove the trees"})
        )
        assert "Changes one change" in one
        assert "Changes several changes" in several
        assert several.count("ask for only this") == 2
        assert "sora-ledger remix" not in several
        assert "Wide tracking shot of a teal coupe" in ana.get(f"/new?remix={coupe}").text


def test_an_unclear_remix_is_allowed_once_the_form_declares_its_change(shared: Console) -> None:
    with shared.client("ana") as ana:
        coupe = shared.studio.jobs["coupe"]
        form = fields_of(ana, f"/new?remix={coupe}") | {"remix_of": coupe, "purpose": "draft"}
        unclear = form | {"prompt": "Make it night or make it rain"}
        denied = text_of(ana.post("/new/check", data=unclear))
        assert ("Denied" in denied, "choose which under Declared change: " in denied) == (True, True)
        declared = text_of(ana.post("/new/check", data=unclear | {"declared_change": "style"}))
        assert ("Allowed" in declared, "--" in denied) == (True, False)


def test_a_video_of_another_team_cannot_be_remixed(shared: Console) -> None:
    bottle = shared.studio.jobs["bottle"]
    with shared.client("ana") as ana:
        form = {**fields_of(ana), **FOX, "remix_of": bottle}
        checked = ana.post("/new/check", data=form)
        assert "There is no video" in text_of(checked)
        assert "bottle turns" not in checked.text
        assert ana.post("/new", data=form).status_code == 400


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("prompt", "", "Prompt is empty"),
        ("size", "1x1", "1x1"),
        ("seconds", "four", "expected whole seconds"),
        ("max_cost", "lots", "expected dollars"),
        ("promotes", "job_nowhere", "There is no video"),
        ("model", "sora-9", "sora-9"),
        ("purpose", "fun", "fun"),
    ],
)
def test_a_bad_field_is_named_and_what_was_typed_is_kept(
    shared: Console, field: str, value: str, says: str
) -> None:
    with shared.client("ana") as ana:
        refused = ana.post("/new", data={**fields_of(ana), **SHAPE, **FOX, field: value})
    assert refused.status_code == 400
    match = re.search(rf'id="e-{field}">([^<]+)<', refused.text)
    assert match, refused.text
    assert says in match[1]
    assert not re.search(r"(?<![\w-])--[a-z]", match[1])  # no option of the command line
    assert re.search(rf'name="{field}"[^>]* aria-invalid="true"', refused.text)
    if field != "prompt":
        assert FOX["prompt"] in refused.text


def test_a_request_is_recorded_as_the_person_and_leads_to_its_video(billed: tuple[Console, Outside]) -> None:
    console, server = billed
    with console.client("ana") as ana:
        sent = ana.post("/new", data={**fields_of(ana), **FOX, **SHAPE, "profile": "custom"})
        shown = submitted(ana, job_in(sent))
    assert (shown["actor"], shown["identified_by"], shown["team"]) == ("ana", "access_key", "film")
    assert shown["prompt"] == {"text": FOX["prompt"]}
    assert shown["sent_prompt"] is None
    console.studio("verify")
    assert len(server.bills()) == 1


def test_a_form_that_is_sent_many_times_at_once_makes_one_video(billed: tuple[Console, Outside]) -> None:
    console, server = billed
    with console.client("ana") as ana:
        form = {**fields_of(ana), **FOX, **SHAPE, "profile": "custom"}
        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(lambda _: ana.post("/new", data=form), range(6)))
        [job_id] = {job_in(answer) for answer in answers}
        submitted(ana, job_id)
        assert len(server.bills()) == 1
        changed = ana.post("/new", data=form | {"prompt": "An owl sleeps"})
        assert (changed.status_code, "already sent from this form" in changed.text) == (200, True)
        again = dict(
            form, key=re.search('name="key" value="([^"]+)"', changed.text)[1], prompt="An owl sleeps"
        )
        submitted(ana, job_in(ana.post("/new", data=again)))
    assert len(server.bills()) == 2
    console.studio("verify")


def test_a_form_that_reaches_two_servers_makes_one_video(
    outside: Callable[..., Outside], consoles: Callable[..., Console]
) -> None:
    server = outside()
    one, other = (consoles("--no-work", **at(server)) for _ in range(2))
    with one.client("ana") as here, other.client("ana") as there:
        form = fields_of(here) | FOX | SHAPE | {"profile": "custom"}
        with ThreadPoolExecutor(2) as threads:
            sent = [
                threads.submit(here.post, "/new", data=form),
                threads.submit(there.post, "/new", data=form | {"csrf": fields_of(there)["csrf"]}),
            ]
            [job_id] = {job_in(answer.result()) for answer in sent}
        submitted(here, job_id)
    assert len(server.bills()) == 1
    one.studio("verify")


def test_an_image_is_the_first_frame(billed: tuple[Console, Outside]) -> None:
    console, server = billed
    image = io.BytesIO()
    Image.new("RGB", (640, 360), "teal").save(image, "PNG")
    with console.client("ana") as ana:
        form = {**fields_of(ana), **FOX, **SHAPE, "profile": "custom"}
        file = {"input_reference": ("lake.png", image.getvalue(), "image/png")}
        refused = ana.post("/new", data=form, files=file)
        assert refused.status_code == 400
        assert re.search('id="e-input_reference">[^<]*640', refused.text), text_of(refused)
        broken = {"input_reference": ("lake.png", b"no image", "image/png")}
        assert "lake.png" in text_of(ana.post("/new/check", data=form, files=broken))
        sent = submitted(ana, job_in(ana.post("/new", data=form | {"fit": "cover"}, files=file)))
    assert [file["role"] for file in sent["files"]].count("reference") >= 1
    assert len(server.bills()) == 1


def test_several_images_are_sent_where_the_server_takes_them(
    consoles: Callable[..., Console], outside: Callable[..., Outside], page: Page, tmp_path: Path
) -> None:
    server = outside()
    console = consoles("--no-work", **(at(server) | {"SORA_LEDGER_PROFILE": "vllm-omni"}))
    names = ["hero.png", "side.png", "back.png"]
    for name, width in zip(names, (1280, 900, 700), strict=True):
        Image.new("RGB", (width, 720), "teal").save(tmp_path / name)
    console.sign_in(page, "ana", "/new")
    page.get_by_label("Prompt").fill(FOX["prompt"])
    page.get_by_text("First frame, or remix of another video").click()
    field = page.get_by_label("Image for the first frame")
    field.set_input_files([tmp_path / name for name in names])
    decision = page.locator("#decision")
    expect(decision).to_contain_text("hero.png then side.png, back.png")
    expect(decision).to_contain_text("Allowed")
    page.get_by_label("Server").select_option("sglang")
    expect(decision).to_contain_text("Denied")
    expect(decision).to_contain_text("does not take several images")
    expect(decision).to_contain_text("or choose a server that takes several")
    page.get_by_label("Server").select_option("vllm-omni")
    expect(decision).to_contain_text("Allowed")
    page.get_by_role("button", name="Send").click()
    page.wait_for_url("**/console/videos/job_*")
    with console.client("ana") as ana:
        submitted(ana, page.url.rpartition("/")[2])
    [sent] = [bytes.fromhex(post["body"]) for post in server.requests("POST")]
    places = [sent.index(f'filename="{name}"'.encode()) for name in names]
    assert (len(server.bills()), places) == (1, sorted(places))


def test_a_person_without_the_role_sees_no_form_and_sends_nothing(shared: Console) -> None:
    with shared.client("aud") as aud:
        assert aud.get("/new").status_code == 403
        csrf = aud.csrf()
        assert aud.post("/new", data={"csrf": csrf, "key": "k" * 32, **FOX, **SHAPE}).status_code == 403


def test_the_decision_follows_what_is_typed_and_two_clicks_make_one_video(
    billed: tuple[Console, Outside], page: Page
) -> None:
    console, server = billed
    console.sign_in(page, "ana", "/new")
    decision = page.locator("#decision")
    expect(decision).to_contain_text("Write a prompt")
    page.get_by_label("Prompt").press_sequentially("A red fox crosses a frozen lake")
    expect(decision).to_contain_text("Allowed")
    expect(decision).to_contain_text("$0.40")
    page.get_by_label("Seconds").select_option("8")
    expect(decision).to_contain_text("$0.80")
    page.get_by_label("Seconds").select_option("4")
    page.get_by_role("button", name="Send").dblclick()
    page.wait_for_url("**/console/videos/job_*")
    with console.reader("ana") as ana:
        submitted(ana, page.url.rpartition("/")[2])
    assert len(server.bills()) == 1
    console.studio("verify")


def test_a_form_that_is_sent_again_after_the_back_button_makes_one_video(
    billed: tuple[Console, Outside], page: Page
) -> None:
    console, server = billed
    console.sign_in(page, "ana", "/new")
    page.get_by_label("Prompt").fill(FOX["prompt"])
    page.get_by_role("button", name="Send").click()
    page.wait_for_url("**/console/videos/job_*")
    first = page.url
    page.go_back()
    prompt = page.get_by_label("Prompt")
    if prompt.input_value():  # a browser may bring back what was typed, and the decision follows it
        expect(page.locator("#decision")).to_contain_text("Allowed")
    prompt.fill(FOX["prompt"])  # also where the browser does not restore it
    page.get_by_role("button", name="Send").click()
    page.wait_for_url(first)
    page.go_back()
    prompt.fill("An owl instead")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("form .notice")).to_contain_text("Another request was already sent from this form")
    page.get_by_role("button", name="Send").click()
    page.wait_for_url("**/console/videos/job_*")
    with console.reader("ana") as ana:
        for url in (first, page.url):
            submitted(ana, url.rpartition("/")[2])
    assert sorted(bill["prompt"] for bill in server.bills()) == [FOX["prompt"], "An owl instead"]
