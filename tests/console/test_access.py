"""The page Access: what each role sees, and keys granted and revoked there by the person who did it."""

import re
from pathlib import Path

from playwright.sync_api import Page

from tests.console.conftest import Console


def test_every_page_needs_a_signed_in_person(shared: Console) -> None:
    with shared.client() as client:
        answer = client.get("/access?all=yes")
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            "/console/sign-in?next=%2Fconsole%2Faccess%3Fall%3Dyes",
        )
        assert client.get("/access.json").status_code == 401


def test_requesters_see_their_own_key_and_administrators_all(shared: Console) -> None:
    with shared.reader("ana") as ana, shared.reader("ada") as ada:
        assert [key["name"] for key in ana.get("/access.json").json()["keys"]] == ["ana"]
        assert {key["name"] for key in ada.get("/access.json").json()["keys"]} == set(shared.studio.keys)
        assert "Grant a key" not in ana.get("/access").text
        assert ada.get("/access.csv").text.splitlines()[0].startswith("key_id,name,state,roles")


def test_a_granted_key_is_shown_once_and_recorded_as_granted_by_the_person(console: Console) -> None:
    with console.client("ada") as ada:
        shown = ada.act("/access/grant", {"name": "eve", "roles": "requester", "team": "film"})
        key = re.search(r"slk_\w{8}_[\w-]{43}", shown.text)[0]
        assert shown.headers["cache-control"] == "no-store"
        assert key not in ada.get("/access").text
    with console.reader("ada") as ada:
        newest = ada.get("/access.json").json()["keys"][0]
    assert (newest["name"], newest["team"], newest["granted_by"]) == ("eve", "film", "ada")
    assert newest["granted_by_source"] == "access_key"
    console.studio.keys["eve"] = key
    with console.client("eve") as eve:
        assert "eve" in eve.get("/access").text
    assert key not in console.log
    console.studio("verify")


def test_a_revoked_key_ends_the_session_that_it_began(console: Console) -> None:
    with console.client("ada") as ada, console.client("tom") as tom:
        key_id = console.studio.keys["tom"].split("_")[1]
        assert ada.act("/access/revoke", {"key_id": key_id, "reason": "left"}).status_code == 303
        assert "Revoked:" in ada.get("/access").text
        assert "Revoked:" not in ada.get("/access").text
        assert tom.get("/access").headers["location"].startswith("/console/sign-in")


def test_what_was_typed_is_kept_when_it_is_refused(console: Console) -> None:
    with console.client("ada") as ada:
        refused = ada.act("/access/grant", {"name": "eve", "roles": "requester", "team": "Film!"})
        assert refused.status_code == 400
        assert 'value="Film!"' in refused.text
        assert "expected lower-case letters" in refused.text


def test_only_administrators_grant(console: Console) -> None:
    with console.client("ana") as ana, console.client("ada") as ada:
        csrf = re.search(r'name="csrf" value="([^"]+)"', ana.get("/access").text)[1]
        fields = {"csrf": csrf, "name": "eve", "roles": "administrator"}
        assert ana.post("/access/grant", data=fields).status_code == 403
        assert "eve" not in ada.get("/access").text


def test_a_grant_that_needs_approval_is_proposed_here_and_answered_in_the_inbox(console: Console) -> None:
    studio = console.studio
    rule = '[[approvals]]\ncode = "KEYS"\noperations = ["access.grant"]\n'
    packaged = Path("decision/policy.toml").read_text(encoding="utf-8")
    (studio.folder / "team.toml").write_text(f"{packaged}\n{rule}", encoding="utf-8")
    studio("policy", "activate", "team.toml", "--reason", "for a test")
    with console.client("ada") as ada, console.client("maria") as maria:
        form = ada.form("/access", "/access/grant")
        fields = form | {"name": "eve", "roles": "requester", "team": "film", "reason": "joins film"}
        shown = ada.post("/access/grant", data=fields)
        key = re.search(r"slk_\w{8}_[\w-]{43}", shown.text)[0]
        assert "once 1 other person approved it" in shown.text
        twice = ada.post("/access/grant", data=fields)
        assert (twice.status_code, "proposed already" in twice.text) == (409, True)
        assert "slk_" not in twice.text
        (proposed,) = ada.get("/access.json").json()["proposed"]
        assert (proposed["requester"], "eve as requester" in proposed["words"]) == ("ada", True)
        studio.keys["eve"] = key
        with console.client() as early:
            assert early.post("/sign-in", data={"key": key}).status_code == 401
        page = f"/inbox/{proposed['name']}"
        assert "joins film" in maria.get(page).text
        maria.act(f"{page}/answer", {"verdict": "approve", "reason": "she does"}, page=page)
        view = ada.get("/access.json").json()
        assert (view["proposed"], view["keys"][0]["name"]) == ([], "eve")
    with console.client("eve") as eve:
        assert "eve" in eve.get("/access").text
    records = studio("log", "--stream", proposed["name"])["records"]
    assert {(each["actor"], each["actor_source"]) for each in records} == {
        ("ada", "access_key"),
        ("maria", "access_key"),
    }
    studio("verify")


def test_terms_that_cannot_be_meant_are_not_proposed(console: Console) -> None:
    with console.client("ada") as ada:
        refused = ada.act("/access/grant", {"name": "Ana", "roles": "requester"})
        assert (refused.status_code, "one person has one name" in refused.text) == (400, True)
        assert ada.get("/access.json").json()["proposed"] == []


def test_a_person_signs_in_and_grants_a_key_in_a_browser(console: Console, page: Page) -> None:
    page.goto(f"{console.url}/sign-in?next=/console/access")
    page.get_by_label("Access key").fill(console.studio.keys["ada"])
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"{console.url}/access")
    page.get_by_label("Person or program").fill("eve")
    page.get_by_label("requester").check()
    page.get_by_role("button", name="Grant the key").click()
    assert page.get_by_label("This is the only time").input_value().startswith("slk_")
    page.get_by_role("link", name="continue").click()
    assert page.get_by_role("cell", name="eve").is_visible()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/console/sign-in")
    page.go_back()
    page.wait_for_url("**/console/sign-in?next=*")
