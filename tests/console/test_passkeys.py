"""Passkeys in a real browser: made, named by the policy, used to approve, and checked by every checker."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import CDPSession, Page

from tests.console.conftest import Console, Signed, Studio, serving
from tests.console.test_inbox import answers, ask, send
from tests.console.test_pages import violations

CHECKER = Path(__file__).parents[2] / "ledger" / "verify" / "verify_bundle.py"
RULES = """
[[approvals]]
code = "FINALS"
purposes = ["final"]
signed = true
"""


@pytest.fixture(scope="module")
def desk(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """Serve a studio whose finals need a signed approval."""
    copy = studio.copy(tmp_path_factory.mktemp("passkeys") / "work")
    copy("budget", "set", "team_film", "--limit", "30", "--reason", "for a test")
    with serving(copy) as console:
        yield console


@pytest.fixture
def device(page: Page) -> tuple[CDPSession, str]:
    """Give the browser a device that holds passkeys and whose owner is there."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    made = devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return devtools, made["authenticatorId"]


def at(console: Console) -> str:
    """Return the address at which browsers offer passkeys."""
    return f"http://localhost:{console.port}/console"


def sign_in(console: Console, page: Page, name: str, to: str) -> None:
    page.goto(f"{at(console)}/sign-in?next=/console{to}")
    page.get_by_label("Access key").fill(console.studio.keys[name])
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"{at(console)}{to}")


def make_passkey(console: Console, page: Page) -> str:
    """Create a passkey as Maria, and return the line for the policy."""
    sign_in(console, page, "maria", "/passkey")
    assert violations(page) == []
    page.get_by_role("button", name="Create a passkey").click()
    page.get_by_text("Your passkey was created.").wait_for()
    assert violations(page) == []
    return str(page.locator("#line").inner_text())


def activate(studio: Studio, line: str, rules: str = RULES) -> None:
    packaged = Path("decision/policy.toml").read_text(encoding="utf-8")
    (studio.folder / "team.toml").write_text(f"{packaged}\n{line}\n{rules}", encoding="utf-8")
    studio("policy", "activate", "team.toml", "--reason", "for a test")


def test_a_passkey_approves_what_needs_a_signature_and_the_record_proves_it(
    desk: Console, page: Page, device: tuple[CDPSession, str], tmp_path: Path
) -> None:
    studio = desk.studio
    activate(studio, make_passkey(desk, page))
    assert "passkey" not in str(studio("log", "--actor", "maria"))
    job = ask(desk)
    page.goto(f"{at(desk)}/inbox/{job}")
    assert page.get_by_role("button", name="Approve", exact=True).count() == 0
    page.get_by_role("button", name="Approve with your passkey").click()
    page.get_by_label("Reason").fill("the client agreed")
    assert violations(page) == []
    page.get_by_role("button", name="Approve with your passkey").click()
    page.get_by_text(f"You approved {job}; it is queued.").wait_for()
    assert answers(desk, job) == [("approval.granted", "maria")]
    [record] = studio("log", "--job", job, "--type", "approval.granted")["records"]
    assert (record["actor_source"], record["payload"]["comment"]["text"]) == (
        "signature",
        "the client agreed",
    )
    assert studio("explain", job)["authority"]["people"][0]["identified_by"] == "signature"
    assert studio("verify")["clean"]
    bundle = tmp_path / "job.zip"
    studio("export", job, "--out", str(bundle))
    assert studio("verify-bundle", str(bundle))["findings"] == []
    alone = subprocess.run(
        [sys.executable, "-I", str(CHECKER), str(bundle)], capture_output=True, text=True, check=False
    )
    assert (alone.returncode, "1 signatures of requests and approvals are right" in alone.stdout) == (0, True)
    forged = studio.copy(tmp_path / "forged")
    changed = "CAST(replace(CAST(payload AS TEXT), ?, ?) AS BLOB)"
    with closing(sqlite3.connect(forged.folder / "ledger.db")) as db, db:
        db.execute("DROP TRIGGER events_no_update")
        db.execute(
            f"UPDATE events SET payload = {changed} WHERE type = 'approval.granted'",
            ('"client_data":"', '"client_data":"AAAA'),
        )
    assert forged("verify", code=10)["findings"] != []


def test_a_person_whose_policy_wants_no_signature_may_answer_with_or_without_it(
    desk: Console, page: Page, device: tuple[CDPSession, str]
) -> None:
    activate(desk.studio, make_passkey(desk, page), RULES.replace("signed = true", ""))
    job = ask(desk)
    page.goto(f"{at(desk)}/inbox/{job}")
    page.get_by_label("Reason").fill("without it")
    page.get_by_role("button", name="Refuse without it").click()
    page.get_by_text(f"You refused {job}.").wait_for()
    [record] = desk.studio("log", "--job", job, "--type", "approval.refused")["records"]
    assert (record["actor_source"], record["payload"]["passkey"]) == ("access_key", None)


def test_a_device_whose_owner_is_not_verified_signs_nothing_and_says_so(
    desk: Console, page: Page, device: tuple[CDPSession, str]
) -> None:
    activate(desk.studio, make_passkey(desk, page))
    job = ask(desk)
    devtools, authenticator = device
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": authenticator, "isUserVerified": False})
    page.goto(f"{at(desk)}/inbox/{job}")
    page.get_by_label("Reason").fill("the client agreed")
    page.get_by_role("button", name="Refuse with your passkey").click()
    page.get_by_text("The passkey did not sign").wait_for()
    assert answers(desk, job) == []
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": authenticator, "isUserVerified": True})
    page.get_by_role("button", name="Refuse with your passkey").click()
    page.get_by_text(f"You refused {job}.").wait_for()
    assert answers(desk, job) == [("approval.refused", "maria")]


def test_no_passkey_is_offered_at_an_address_without_passkeys_or_made_from_what_came_from_elsewhere(
    desk: Console,
) -> None:
    with desk.client("maria") as maria:
        assert "Browsers offer passkeys at an https address, or at localhost" in maria.get("/passkey").text
        assert send(maria, "/passkey", {"credential": "{}"}).status_code == 400
        assert maria.get("/passkey?key=maria%2B1f%2Bx%3Cscript%3E").status_code == 200
    with desk.client("ana") as ana:
        assert ana.get("/passkey").status_code == 403
    here = {"base_url": at(desk), "headers": {"origin": f"http://localhost:{desk.port}"}, "timeout": 30}
    with Signed(**here) as maria:
        maria.post("/sign-in", data={"key": desk.studio.keys["maria"], "next": "/console/passkey"})
        for credential in ("", "{}", "[]", '{"id":"x","rawId":"eA","type":"public-key","response":{}}'):
            refused = send(maria, "/passkey", {"credential": credential})
            assert (refused.status_code, "did not create a usable passkey" in refused.text) == (400, True)
