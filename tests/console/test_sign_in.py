"""Signing in and out: by key and by the link of `sora-ledger console`; who is not let in."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Page

from tests.console.conftest import START_S, Console, Studio

SESSION = re.compile(r"sora_ledger_session_\w+")


def session_cookie(client: httpx2.Client) -> tuple[str, str]:
    """Return name and value of the session's cookie."""
    return next((name, value) for name, value in client.cookies.items() if SESSION.fullmatch(name))


def is_signed_in(client: httpx2.Client) -> bool:
    return client.get("/access").status_code == 200


def with_cookie(console: Console, name: str, value: str) -> httpx2.Client:
    return httpx2.Client(base_url=console.url, cookies={name: value}, headers={"origin": console.origin})


def test_the_cookie_is_for_this_site_and_its_scripts_cannot_read_it(shared: Console) -> None:
    with shared.client() as client:
        answer = client.post("/sign-in", data={"key": shared.studio.keys["ana"]})
        cookie = answer.headers["set-cookie"].lower()
        assert all(word in cookie for word in ("httponly", "samesite=lax", "path=/console", "max-age=3600"))
        assert "secure" not in cookie  # http on this machine
        assert shared.studio.keys["ana"] not in answer.headers["set-cookie"]


def test_behind_tls_the_cookie_is_secure_and_bound_to_the_host(consoles: Callable[..., Console]) -> None:
    console = consoles("--no-work", SORA_LEDGER_CONSOLE_URL="https://renders.example.org")
    proxied = {"host": "renders.example.org", "origin": "https://renders.example.org"}
    with httpx2.Client(base_url=console.url, headers=proxied) as client:
        answer = client.post("/sign-in", data={"key": console.studio.keys["ana"]})
        cookie = answer.headers["set-cookie"]
        assert re.match(r"__Host-sora_ledger_session_\w+=.*; Path=/; .*Secure", cookie), cookie
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert client.post("/sign-in", headers={"origin": console.origin}).status_code == 403


@pytest.mark.parametrize("change", ["first", "last", "signature", "empty", "none"])
def test_a_changed_cookie_signs_nobody_in(shared: Console, change: str) -> None:
    with shared.client("ana") as ana:
        name, value = session_cookie(ana)
        assert is_signed_in(ana)
    body, signature = value.split(".")
    changed = {
        "first": "A" + value[1:] if value[0] != "A" else "B" + value[1:],
        "last": f"{value[:-2]}{'A' if value[-2] != 'A' else 'B'}{value[-1]}",
        "signature": f"{body}.{signature[::-1]}",
        "empty": f"{body}.",
        "none": body,
    }[change]
    with with_cookie(shared, name, changed) as forged:
        assert not is_signed_in(forged)
    with with_cookie(shared, name, value) as honest:
        assert is_signed_in(honest)


def test_signing_in_begins_a_new_session_whatever_cookie_came(shared: Console) -> None:
    with shared.client("ana") as ana:
        name, before = session_cookie(ana)
        csrf = ana.csrf() if "csrf" in ana.get("/access").text else ""
        ana.post("/sign-in", data={"key": shared.studio.keys["ada"]})
        assert session_cookie(ana)[1] != before
        assert ana.csrf() != csrf
    with with_cookie(shared, name, before) as planted:
        answer = planted.post("/sign-in", data={"key": shared.studio.keys["ana"]})
        assert before not in answer.headers["set-cookie"]


def test_a_copy_of_the_cookie_is_worthless_after_signing_out(console: Console) -> None:
    with console.client("ana") as ana:
        name, value = session_cookie(ana)
        answer = ana.post("/sign-out", data={"csrf": ana.csrf("/access")})
        assert answer.headers["location"] == "/console/sign-in"
        assert not is_signed_in(ana)
    with with_cookie(console, name, value) as thief:
        assert not is_signed_in(thief)
    console.end()
    console.start()
    with with_cookie(console, name, value) as thief:
        assert not is_signed_in(thief)


def test_another_site_cannot_sign_a_person_out(shared: Console) -> None:
    with shared.client("ana") as ana:
        assert ana.post("/sign-out", headers={"origin": "https://example.org"}).status_code == 403
        ana.post("/sign-out", data={"csrf": "guessed"})
        assert is_signed_in(ana)


def test_a_wrong_key_is_refused_and_too_many_are_not_looked_at(console: Console) -> None:
    right = console.studio.keys["ana"]
    wrong = right[:-3] + ("AAA" if not right.endswith("AAA") else "BBB")
    with console.client() as client:
        for key in (wrong, "slk_00000000_" + "a" * 43, "sk-upstream", "", *[wrong] * 6):
            answer = client.post("/sign-in", data={"key": key})
            assert answer.status_code == 401
            assert wrong not in answer.text
        refused = client.post("/sign-in", data={"key": right})
        assert (refused.status_code, int(refused.headers["retry-after"]) <= 60) == (429, True)
        assert client.get("/sign-in").status_code == 200
    with console.reader("ana") as ana:  # keys that are valid keep working
        assert ana.get("/access.json").status_code == 200


@pytest.mark.parametrize(
    "after",
    [
        "https://example.org/",
        "//example.org/console/",
        "/\\example.org/console/",
        "/console//example.org",
        "/console/../v1/videos",
        "javascript:alert(1)",
        "/console/\r\nSet-Cookie: a=b",
        "/consolefake",
        "/console/sign-in?next=/console/",
        "",
        "x" * 5000,
    ],
)
def test_signing_in_leads_nowhere_else(shared: Console, after: str) -> None:
    with shared.client() as client:
        form = client.get("/sign-in", params={"next": after})
        assert after[:20] not in form.text or not after
        answer = client.post("/sign-in", data={"key": shared.studio.keys["ana"], "next": after})
        assert answer.headers["location"] == "/console/"


def test_no_key_and_no_ticket_is_in_addresses_and_logs(console: Console) -> None:
    with console.client("ana") as ana:
        assert is_signed_in(ana)
        _, value = session_cookie(ana)
    link = console.studio("console", "--print")["link"]
    ticket = link.partition("#ticket=")[2]
    with console.client() as client:
        assert client.post("/sign-in/ticket", data={"ticket": ticket}).status_code == 303
    for secret in (console.studio.keys["ana"], value, ticket):
        assert secret not in console.log
    stored = [path for path in console.studio.folder.rglob("*") if path.is_file()]
    secrets = (console.studio.keys["ana"].encode(), value.encode(), ticket.encode())
    assert [path for path in stored if any(secret in path.read_bytes() for secret in secrets)] == []


def test_the_link_of_the_command_signs_in_once_as_the_person_at_the_terminal(console: Console) -> None:
    printed = console.studio("console", "--print", "--actor", "kim")
    assert (printed["console"], printed["actor"]) == (console.url, "kim")
    address, _, ticket = printed["link"].partition("#ticket=")
    assert address == f"{console.url}/sign-in"
    with console.client() as kim, console.client() as thief:
        assert kim.post("/sign-in/ticket", data={"ticket": ticket}).status_code == 303
        again = thief.post("/sign-in/ticket", data={"ticket": ticket})
        assert (again.status_code, "used already" in again.text) == (401, True)
        assert not is_signed_in(thief)
        granted = kim.act("/access/grant", {"name": "eve", "roles": "requester"})
        assert granted.status_code == 200
        newest = kim.get("/access.json").json()["keys"][0]
    assert (newest["granted_by"], newest["granted_by_source"]) == ("kim", "flag")


def test_a_ticket_of_another_ledger_or_an_old_one_is_not_believed(
    console: Console, studio: Studio, tmp_path: Path
) -> None:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    from ledger.record import ActorSource  # noqa: PLC0415
    from render_service.access.local import make_ticket  # noqa: PLC0415
    from render_service.access.signing import Signer  # noqa: PLC0415

    secret = (console.studio.folder / "ledger.db.console").read_bytes()
    ledger_id = console.studio("log", "--limit=1")["records"][0]["payload"]["ledger_id"]
    now = datetime.now(UTC)
    old = make_ticket(Signer(secret, ledger_id), "kim", ActorSource.FLAG, now - timedelta(seconds=61))
    other = make_ticket(Signer(secret, "another"), "kim", ActorSource.FLAG, now)
    session = Signer(secret, ledger_id).sign("session", {"once": "1", "name": "kim"}, now + timedelta(60))
    good = make_ticket(Signer(secret, ledger_id), "kim", ActorSource.FLAG, now)
    with console.client() as client:
        answers = [
            client.post("/sign-in/ticket", data={"ticket": ticket}).status_code
            for ticket in (old, other, session, "", "x", good)
        ]
    assert answers == [401, 401, 401, 401, 401, 303]


def test_the_command_serves_the_console_itself_where_none_is_served(studio: Studio, tmp_path: Path) -> None:
    copy = studio.copy(tmp_path / "work")
    with copy.forks.popen(["console", "--print", "--no-work"], copy.folder, copy.environment) as running:
        document = ""
        while not document.endswith("}\n"):
            document += running.stdout.readline()
        link = json.loads(document)["link"]
        address, _, ticket = link.partition("#ticket=")
        with httpx2.Client() as client:
            signed = client.post(f"{address}/ticket", data={"ticket": ticket})
            assert client.get(f"{address.removesuffix('sign-in')}access").status_code == 200
        assert signed.status_code == 303
        second = copy("console", "--print")  # finds the first
        assert second["link"].startswith(f"{address}#")
        running.terminate()
        running.wait()
    assert list(copy.folder.glob("*.at")) == []


def test_the_command_opens_a_browser_with_a_file_and_no_secret_in_its_arguments(
    console: Console, tmp_path: Path
) -> None:
    opened = tmp_path / "opened"
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\nprintf "%s" "$*" > {opened}.part && mv {opened}.part {opened}\n')
    program.chmod(0o755)
    console.studio.environment = console.studio.environment | {"BROWSER": str(program)}
    document = console.studio("console")
    assert "link" not in document
    until = time.monotonic() + START_S
    while not opened.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    arguments = opened.read_text()
    assert re.fullmatch(r"file:///\S+/ledger\.db\.console\.html", arguments), arguments
    file = Path(arguments.removeprefix("file://"))
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    assert f"{console.url}/sign-in#ticket=" in file.read_text()


def test_a_browser_follows_the_file_and_is_signed_in(console: Console, page: Page, tmp_path: Path) -> None:
    link = console.studio("console", "--print", "--actor", "kim")["link"]
    file = tmp_path / "open.html"
    file.write_text(f'<meta http-equiv="refresh" content="0;url={link}">')
    page.goto(file.as_uri())
    page.get_by_role("button", name="Sign out").wait_for()
    assert page.locator(".who").inner_text() == "kim"
    assert "ticket" not in page.url
    page.go_back()
    assert "ticket" not in page.url


def test_a_secret_of_its_own_lets_instances_share_their_sessions(consoles: Callable[..., Console]) -> None:
    shared = {"SORA_LEDGER_CONSOLE_SECRET": "0123456789abcdef" * 2}
    one, two, other = consoles(**shared), consoles(**shared), consoles()
    with one.client("ana") as ana:
        name, value = session_cookie(ana)
    with with_cookie(two, name, value) as at_two, with_cookie(other, name, value) as at_other:
        assert (is_signed_in(at_two), is_signed_in(at_other)) == (True, False)


@pytest.mark.parametrize(
    ("variables", "options", "says"),
    [
        ({"SORA_LEDGER_CONSOLE_SECRET": "short"}, (), "expected at least 32 random characters"),
        ({"SORA_LEDGER_CONSOLE_URL": "http://renders.example.org"}, (), "expected an address such as https"),
        ({}, ("--host=0.0.0.0",), "set SORA_LEDGER_CONSOLE_URL to the https address of the proxy"),
    ],
)
def test_what_would_be_unsafe_is_not_served(
    studio: Studio, tmp_path: Path, variables: dict[str, str], options: tuple[str, ...], says: str
) -> None:
    copy = studio.copy(tmp_path / "work")
    copy.environment = copy.environment | variables
    refused = copy("serve", "--port=0", *options, code=2)
    assert says in refused["error"]["message"]


def test_without_the_console_nothing_of_it_is_served(consoles: Callable[..., Console]) -> None:
    console = consoles("--no-work", "--no-console", "--host=0.0.0.0")
    with httpx2.Client(base_url=console.origin) as client:
        assert [client.get(path).status_code for path in ("/", "/console", "/console/sign-in")] == [404] * 3
        assert client.get("/healthz").status_code == 200
    assert list(console.studio.folder.glob("*.console*")) == []
