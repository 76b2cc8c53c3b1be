"""What an attacker can send, plant or frame: other sites, other hosts, hostile text, and odd requests."""

import http.client
import re
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Page

from render_service.server.console_routes import PAGES
from tests.console.conftest import Console
from tests.console.test_pages import place

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
BIDI = "\u202e\u2066\u200f"
HOSTILE = (
    "<script>window.pwned=1</script><img src=x onerror='window.pwned=1'>\"><svg onload=window.pwned=1>"
    f"</textarea></title>{{{{7919*7907}}}}${{7919*7907}}&lt;b&gt;javascript:window.pwned=1 {BIDI}"
)


def raw(
    console: Console, path: str, *headers: tuple[str, str], method: str = "GET"
) -> tuple[int, Any, bytes]:
    """Send a request as it is written, without a client that would mend it."""
    connection = http.client.HTTPConnection("127.0.0.1", console.port, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


@pytest.mark.parametrize(
    "path", ["/access", "/access.json", "/sign-in", "/static/console.css", "/nowhere", "/static/nothing.js"]
)
def test_every_answer_forbids_frames_inline_scripts_and_other_hosts(shared: Console, path: str) -> None:
    with shared.client("ada") as ada:
        headers = ada.get(path).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        is_file = path == "/static/console.css"
        assert headers["cache-control"] == ("public, max-age=31536000, immutable" if is_file else "no-store")


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "0.0.0.0",
        "10.0.0.1",
        "user@localhost",
        "localhost:port",
        "localhost/x",
        "[::2]",
        "",
    ],
)
def test_a_request_for_another_host_is_refused(shared: Console, host: str) -> None:
    status, headers, body = raw(shared, "/console/sign-in", ("Host", host))
    assert status in {400, 421}, body
    if status == 421:
        assert b"SORA_LEDGER_CONSOLE_URL" in body
        assert headers["content-security-policy"] == POLICY


def test_the_names_of_this_machine_are_known_whatever_a_proxy_adds(shared: Console) -> None:
    for host in ("localhost", f"LOCALHOST:{shared.port}", f"127.0.0.1:{shared.port}", f"[::1]:{shared.port}"):
        other = (("X-Forwarded-Host", "example.org"), ("Forwarded", "host=example.org"))
        status, _, body = raw(shared, "/console/sign-in?next=/console/access", ("Host", host), *other)
        assert (status, b"example.org" in body) == (200, False)


def test_two_hosts_or_none_are_refused(shared: Console) -> None:
    assert raw(shared, "/console/sign-in", ("Host", "localhost"), ("Host", "example.org"))[0] in {400, 421}
    assert raw(shared, "/console/sign-in")[0] in {400, 421}


@pytest.mark.parametrize(
    "path",
    [
        "../console_routes.py",
        "..%2f..%2fapp.py",
        "%2e%2e/templates/layout.html",
        "....//pages.py",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "console.css%00.js",
        "..\\pages.py",
        "console.css/",
        "",
    ],
)
def test_no_other_file_can_be_asked_for(shared: Console, path: str) -> None:
    status, _, body = raw(shared, f"/console/static/{path}", ("Host", "localhost"))
    assert status in {303, 404}
    assert b"import" not in body
    assert b"root:" not in body


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://example.org"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "", "sec-fetch-site": "cross-site"},
        {"origin": "", "sec-fetch-site": "same-site"},
    ],
)
def test_a_form_of_another_site_is_refused_even_with_the_right_token(
    shared: Console, headers: dict[str, str]
) -> None:
    with shared.client("ada") as ada:
        fields = {**ada.form("/access", "/access/grant"), "name": "eve", "roles": "requester"}
        if not headers["origin"]:
            del ada.headers["origin"]
            headers = {name: value for name, value in headers.items() if value}
        assert ada.post("/access/grant", data=fields, headers=headers).status_code == 403
        assert "eve" not in ada.get("/access?all=yes").text


def test_the_token_of_another_session_is_refused(shared: Console) -> None:
    with shared.client("ada") as ada, shared.client("sol") as sol:
        fields = {**sol.form("/access", "/access/grant"), "name": "eve", "roles": "requester"}
        assert ada.post("/access/grant", data=fields).status_code == 409
        del fields["csrf"]
        assert ada.post("/access/grant", data=fields).status_code == 409
        assert ada.get("/access/grant", params=fields).status_code == 404


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"csrf=" + b"a" * 600_000, "application/x-www-form-urlencoded", 400),
        (b"a=1&" * 5_000, "application/x-www-form-urlencoded", 400),
        (b"{}", "application/json", 409),
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x", 409),
        (b"\xff\xfe%zz&&==&", "application/x-www-form-urlencoded", 409),
    ],
)
def test_a_form_that_is_none_is_refused(shared: Console, body: bytes, kind: str, status: int) -> None:
    with shared.client("ada") as ada:
        answer = ada.post("/access/grant", content=body, headers={"content-type": kind})
        assert answer.status_code == status
        assert ada.get("/access").status_code == 200


def test_a_form_that_is_sent_twice_grants_one_key(console: Console) -> None:
    with console.client("ada") as ada:
        fields = {**ada.form("/access", "/access/grant"), "name": "eve", "roles": "requester"}
        first, second = (ada.post("/access/grant", data=fields) for _ in range(2))
        assert (first.status_code, second.status_code) == (200, 409)
        assert "was made already" in second.text
        assert [key["name"] for key in ada.get("/access.json").json()["keys"]].count("eve") == 1


def hostile(console: Console) -> None:
    """Plant hostile text in everything that stores text, and have every page show that job."""
    prompt = HOSTILE + "\x1b]0;title\x07" * 3
    long = "a <b>" * 6_399
    studio = console.studio
    client = {"authorization": f"Bearer {studio.keys['ana']}", "idempotency-key": "<b>'key"}
    with httpx2.Client(base_url=console.origin, headers=client, timeout=60) as ana:
        made = [ana.post("/v1/videos", json={"prompt": text}) for text in (prompt, f"{BIDI}{long}")]
    assert [answer.status_code for answer in made] == [200, 409], made[0].text
    planted = made[0].json()["id"].replace("video_", "job_")
    studio("cancel", studio.jobs["queued"], f"--reason={HOSTILE}")
    studio("poll", planted, "--poll-interval=0.1")
    studio(
        "review",
        planted,
        "--verdict=approved",
        "--actor=<i>rita</i>",
        f"--notes={HOSTILE}",
        f"--note=1.5={HOSTILE}",
    )
    studio("budget", "set", "team_film", "--limit=30", f"--reason={HOSTILE}")
    studio("access", "grant", "<script>window.pwned=1</script>", "--role=requester")
    studio.jobs = dict.fromkeys(studio.jobs, planted)


def test_hostile_text_in_every_stored_field_is_shown_and_does_nothing(console: Console, page: Page) -> None:
    hostile(console)
    console.sign_in(page, "sol")
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    for each in PAGES:
        path = place(each.path, console.studio)
        answer = page.goto(console.url + path)
        assert answer.status == 200, path
        assert page.evaluate("window.pwned") is None, path
        text = answer.text()
        assert not re.search("<script>|<img src=x|<svg onload|<i>|62615533", text), path
        assert not any(letter in text for letter in f"{BIDI}\x1b\x07"), path
    console.studio("verify")


def test_two_people_act_at_once_each_in_their_own_name(console: Console, browser: Browser) -> None:
    contexts = [browser.new_context() for _ in range(2)]
    pages = [context.new_page() for context in contexts]
    for page, name in zip(pages, ("ada", "sol"), strict=True):
        console.sign_in(page, name)
        page.get_by_label("Person or program").fill(f"by-{name}")
        page.get_by_label("requester").check()
    for page in pages:
        page.get_by_role("button", name="Grant the key").click()
    for page in pages:
        page.get_by_text("Copy this now").wait_for()
    with console.reader("ada") as ada:
        keys = {key["name"]: key["granted_by"] for key in ada.get("/access.json").json()["keys"]}
    assert (keys["by-ada"], keys["by-sol"]) == ("ada", "sol")
    for context in contexts:
        context.close()


def test_a_double_click_sends_a_form_once(console: Console, page: Page) -> None:
    console.sign_in(page, "ada")
    page.get_by_label("Person or program").fill("eve")
    page.get_by_label("requester").check()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.get_by_role("button", name="Grant the key").dblclick()
    page.get_by_text("Copy this now").wait_for()
    assert sent == [f"{console.url}/access/grant"]


PART = (
    "htmx.ajax('GET', location.pathname, {target: '#main', select: '#main', swap: 'outerHTML'})"
    ".catch(() => {})"
)
"""What a page does that replaces a part of itself."""


def test_a_session_that_ends_while_a_page_is_open_leads_to_signing_in_and_back(
    console: Console, page: Page
) -> None:
    console.sign_in(page, "ada")
    console.studio("access", "revoke", "ada")
    with console.reader("ada") as revoked:
        while revoked.get("/access.json").status_code != 401:  # the gatekeeper reads the grants now and then
            page.wait_for_timeout(50)
    page.evaluate(PART)
    page.wait_for_url(f"{console.url}/sign-in?next=*access*")
    console.studio.grant("ada", "--role=administrator")
    page.get_by_label("Access key").fill(console.studio.keys["ada"])
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"{console.url}/access")


def test_what_was_typed_is_not_lost_when_the_session_has_ended(console: Console, page: Page) -> None:
    console.sign_in(page, "ada")
    page.get_by_label("Person or program").fill("eve, from the studio in the south")
    page.get_by_label("requester").check()
    page.context.clear_cookies()
    page.get_by_role("button", name="Grant the key").click()
    page.get_by_text("Nothing was sent").wait_for()
    assert page.get_by_label("name").input_value() == "eve, from the studio in the south"
    assert page.locator("main label").all_inner_texts() == ["name", "roles"]  # nothing hidden or empty


def test_a_page_says_when_the_server_is_gone_or_fails(console: Console, page: Page) -> None:
    console.sign_in(page, "ada")
    page.evaluate("htmx.ajax('GET', '/console/nowhere', {target: '#main'}).catch(() => {})")
    page.get_by_role("alert").get_by_text("There is no such page").wait_for()
    console.end()
    page.evaluate(PART)
    page.get_by_role("alert").get_by_text("The server does not answer").wait_for()
    assert page.get_by_role("heading", name="Access").is_visible()
