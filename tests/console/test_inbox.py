"""The Inbox: what waits for whom, answers recorded once and as the person, outcomes that a person settles."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Page

from ledger.events import (
    AssetLost,
    RenderClosed,
    SubmissionIntended,
    SubmissionRecovered,
    SubmissionUnknown,
)
from ledger.log.opening import open_ledger, open_or_create
from ledger.record import ActorSource, Authority, Provenance, draft
from ledger.store.interface import Batch
from ledger.terms import Outcome, Status, Variant
from tests.console.conftest import Console, Signed, Studio, serving
from tests.console.test_pages import violations

RULES = """
[[approvals]]
code = "FINALS"
purposes = ["final"]

[[approvals]]
code = "LONG"
purposes = ["cinematic"]
people = 2

[[approvals]]
code = "KEYS"
operations = ["access.grant"]
"""
MARKUP = '<img src=x onerror="alert(1)"><script>alert(2)</script> \u202egnp.exe \u0007'


@pytest.fixture(scope="module")
def desk(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """Serve a studio whose finals need one approval and whose cinematic clips need two."""
    copy = studio.copy(tmp_path_factory.mktemp("inbox") / "work")
    copy("budget", "set", "team_film", "--limit", "30", "--reason", "for a test")
    copy("budget", "set", "team_ads", "--limit", "0.45", "--reason", "for a test")
    copy.grant("mo", "--role=approver")
    copy.grant("film-lead", "--role=approver", "--team=film")
    copy.grant("ads-lead", "--role=approver", "--team=ads")
    packaged = Path("decision/policy.toml").read_text(encoding="utf-8")
    (copy.folder / "team.toml").write_text(packaged + RULES, encoding="utf-8")
    copy("policy", "activate", "team.toml", "--reason", "for a test")
    with serving(copy) as console:
        yield console


def ask(
    console: Console, prompt: str = "A lantern drifts over a lake", who: str = "ana", **fields: Any
) -> str:
    """Request a final through the gateway, as Ana; return the id of the held job."""
    body = {"prompt": prompt, "model": "sora-2", "purpose": "final"} | fields
    key = {"authorization": f"Bearer {console.studio.keys[who]}"}
    answer = httpx2.post(f"{console.origin}/v1/videos", json=body, headers=key, timeout=30)
    assert answer.status_code == 200, answer.text
    return "job_" + str(answer.json()["id"]).removeprefix("video_")


@pytest.fixture
def held(desk: Console) -> Callable[..., str]:
    return lambda **fields: ask(desk, **fields)


def send(client: Signed, path: str, fields: dict[str, Any]) -> httpx2.Response:
    """Send a form, whichever page it is on."""
    return client.post(path, data={"csrf": client.csrf(), **fields})


def inbox(console: Console, name: str) -> dict[str, Any]:
    with console.reader(name) as reader:
        answer = reader.get("/inbox.json")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document


def waiting(console: Console, name: str, job: str, part: str = "to_answer") -> dict[str, Any]:
    return next(one for one in inbox(console, name)[part] if one["name"] == job)


def answers(console: Console, job: str) -> list[tuple[str, str]]:
    """Return the answers that are recorded, with who gave them."""
    with open_ledger(f"sqlite:///{console.studio.folder / 'ledger.db'}") as ledger:
        return [
            (record.type, record.actor)
            for record in ledger.history(job)
            if record.type.startswith("approval.")
        ]


def test_a_held_request_waits_for_approvers_with_what_it_would_cost(
    desk: Console, held: Callable[..., str]
) -> None:
    job = held()
    one = waiting(desk, "maria", job)
    assert (one["requester"], one["identified_by"], one["rules"]) == (
        "ana",
        "identified by an access key",
        ["FINALS"],
    )
    assert (one["cost_usd_micros"], one["approvals_missing"], one["obstacle"]) == (400_000, 1, None)
    assert [each["name"] for each in inbox(desk, "ana")["to_answer"]] == []
    with desk.reader("ana") as ana:
        own = ana.get(f"/inbox/{job}.json").json()["waiting"]
    assert "another person has to answer it" in own["obstacle"]


def test_approvers_of_one_team_see_only_what_their_team_asked_for(
    desk: Console, held: Callable[..., str]
) -> None:
    job = held()
    assert waiting(desk, "film-lead", job)["team"] == "film"
    assert all(one["name"] != job for one in inbox(desk, "ads-lead")["to_answer"])
    with desk.client("ads-lead") as lead:
        assert lead.get(f"/inbox/{job}").status_code == 404
        refused = send(lead, f"/inbox/{job}/answer", {"verdict": "approve", "reason": "x", "as_shown": "1-1"})
        assert refused.status_code in {403, 404}
    assert answers(desk, job) == []


def test_the_draft_that_a_final_promotes_is_shown_with_its_poster(desk: Console) -> None:
    job = ask(desk, promotes=desk.studio.jobs["fox"])
    draft = waiting(desk, "maria", job)["draft"]
    assert (draft["job_id"], draft["verdict"]) == (desk.studio.jobs["fox"], None)
    with desk.client("maria") as maria:
        assert f"/console/videos/{draft['job_id']}" in maria.get(f"/inbox/{job}").text


def test_an_approval_is_recorded_once_as_the_person_with_its_reason(
    desk: Console, held: Callable[..., str]
) -> None:
    job = held()
    with desk.client("maria") as maria:
        fields = {
            "verdict": "approve",
            "reason": "the client agreed",
            "as_shown": waiting(desk, "maria", job)["as_shown"],
        }
        answered = send(maria, f"/inbox/{job}/answer", fields)
        assert (answered.status_code, answered.headers["location"]) == (303, "/console/inbox")
        assert f"You approved {job}; it is queued." in maria.get("/inbox").text
        again = send(maria, f"/inbox/{job}/answer", fields)
        assert again.status_code == 303
        assert "already recorded" in maria.get("/inbox").text
    assert answers(desk, job) == [("approval.granted", "maria")]
    [record] = desk.studio("log", "--job", job, "--type", "approval.granted")["records"]
    assert record["payload"]["comment"]["text"] == "the client agreed"
    assert (record["actor_source"], record["payload"]["login"]) == ("access_key", None)
    desk.studio("verify")


def test_a_refusal_closes_the_request_and_both_need_a_reason(desk: Console, held: Callable[..., str]) -> None:
    job = held()
    shown = waiting(desk, "maria", job)["as_shown"]
    with desk.client("maria") as maria:
        for verdict in ("approve", "refuse"):
            refused = send(
                maria, f"/inbox/{job}/answer", {"verdict": verdict, "reason": " ", "as_shown": shown}
            )
            assert (refused.status_code, "needs a reason" in refused.text) == (400, True)
        unclear = send(maria, f"/inbox/{job}/answer", {"reason": "well", "as_shown": shown})
        assert "choose whether you approve" in unclear.text.lower()
        assert ">\nwell</textarea>" in unclear.text
        done = {"verdict": "refuse", "reason": "not this week", "as_shown": shown}
        assert send(maria, f"/inbox/{job}/answer", done).status_code == 303
        assert "No answer is needed: it is refused." in maria.get(f"/inbox/{job}").text
    assert answers(desk, job) == [("approval.refused", "maria")]


def test_two_browsers_at_once_record_one_answer(desk: Console, held: Callable[..., str]) -> None:
    job = held()
    shown = waiting(desk, "maria", job)["as_shown"]
    with desk.client("maria") as maria, desk.client("mo") as mo:
        sent = {
            client: {"csrf": client.csrf(), "verdict": verdict, "reason": "looked at it", "as_shown": shown}
            for client, verdict in ((maria, "approve"), (mo, "refuse"))
        }
        with ThreadPoolExecutor() as threads:
            both = list(
                threads.map(lambda one: one[0].post(f"/inbox/{job}/answer", data=one[1]), sent.items())
            )
    assert sorted(answer.status_code for answer in both) == [303, 409]
    [refused] = [answer for answer in both if answer.status_code == 409]
    assert re.search("no longer as it was shown|not held", refused.text)
    assert len(answers(desk, job)) == 1


def test_a_request_that_was_answered_meanwhile_says_what_came(desk: Console) -> None:
    job = ask(desk, purpose="cinematic")
    shown = waiting(desk, "maria", job)["as_shown"]
    with desk.client("maria") as maria, desk.client("mo") as mo:
        fields = {"verdict": "approve", "reason": "good", "as_shown": shown}
        assert send(mo, f"/inbox/{job}/answer", fields).status_code == 303
        assert "1 more approval needed" in mo.get("/inbox").text
        refused = send(maria, f"/inbox/{job}/answer", fields)
        assert refused.status_code == 409
        assert "it has a new record: approval.granted by mo" in refused.text
        now = waiting(desk, "maria", job)
        assert (now["approved_by"], now["approvals_missing"]) == (["mo"], 1)
        assert "You have approved it already" in waiting(desk, "mo", job, "waiting_for_others")["obstacle"]
        again = send(maria, f"/inbox/{job}/answer", fields | {"as_shown": now["as_shown"]})
        assert again.status_code == 303
    assert [who for _, who in answers(desk, job)] == ["mo", "maria"]


def test_markup_in_a_prompt_is_text_and_a_long_one_is_read_before_it_is_answered(desk: Console) -> None:
    job = ask(desk, prompt=MARKUP + "x" * 2_000)
    with desk.client("maria") as maria:
        listed, alone = maria.get("/inbox").text, maria.get(f"/inbox/{job}").text
    assert "Read in full and answer" in listed
    assert f"/inbox/{job}/answer" not in listed
    assert "x" * 2_000 in alone
    assert f"/inbox/{job}/answer" in alone
    for page in (listed, alone):
        assert "<script>alert" not in page
        assert "\u202e" not in page
        assert "&lt;img src=x" in page


def test_an_empty_inbox_says_what_to_do_next(shared: Console) -> None:
    with shared.client("ana") as ana, shared.client("rita") as rita:
        assert "Nothing waits for you now." in ana.get("/inbox").text
        assert 'open <a href="/console/new">New request' in ana.get("/inbox").text
        assert "New request" not in rita.get("/inbox").text


def test_budgets_above_80_percent_are_shown_to_those_who_pay_from_them(desk: Console) -> None:
    ask(desk, who="tom", purpose="draft")
    [used] = inbox(desk, "tom")["budgets"]
    assert (used["budget"], used["held_usd_micros"], used["percent"]) == ("team_ads", 400_000, 88)
    assert used in inbox(desk, "olga")["budgets"]
    assert inbox(desk, "ana")["budgets"] == []


def test_why_a_person_may_not_answer_names_no_option_of_a_command(desk: Console) -> None:
    command = ("create", "--prompt", "A claimed lantern", "--purpose=final", "--queue", "--actor=ivy")
    job = str(desk.studio(*command, code=3)["job_id"])
    one = waiting(desk, "maria", job, "waiting_for_others")
    assert "requested as ivy, a name that anyone can type" in one["obstacle"]
    with desk.client("maria") as maria:
        page = maria.get(f"/inbox/{job}").text
        answer = {"verdict": "approve", "reason": "good", "as_shown": one["as_shown"]}
        refused = send(maria, f"/inbox/{job}/answer", answer)
        assert (refused.status_code, "a name that anyone can type" in refused.text) == (400, True)
    for text in (one["obstacle"], page, refused.text):
        assert not re.search(r"(?<![\w-])--[a-z]|SORA_LEDGER|sora-ledger [a-z]", text), text


def test_a_proposed_change_is_approved_and_applied_from_the_inbox(desk: Console) -> None:
    studio = desk.studio
    key = studio("access", "grant", "eve", "--role=requester", code=3)
    proposed = key["change"]
    one = waiting(desk, "maria", proposed)
    assert (one["is_change"], one["title"].startswith("access ")) == (True, True)
    assert proposed not in str(inbox(desk, "film-lead"))
    assert proposed not in str(inbox(desk, "ana"))
    with desk.client("maria") as maria, desk.client("film-lead") as lead:
        assert lead.get(f"/inbox/{proposed}").status_code == 404
        fields = {"verdict": "approve", "reason": "she joined", "as_shown": one["as_shown"]}
        assert send(maria, f"/inbox/{proposed}/answer", fields).status_code == 303
        assert "the change is applied" in maria.get("/inbox").text
        assert send(maria, f"/inbox/{proposed}/answer", fields).status_code == 303
        assert "already recorded" in maria.get("/inbox").text
        assert "No answer is needed: it is applied." in maria.get(f"/inbox/{proposed}").text
    assert answers(desk, proposed) == [("approval.granted", "maria")]


def lose(console: Console, prompt: str) -> str:
    """Record a submission whose answer was lost, as after a crash; return its job."""
    job = ask(console, prompt)
    with console.client("maria") as maria:
        fields = {
            "verdict": "approve",
            "reason": "good",
            "as_shown": waiting(console, "maria", job)["as_shown"],
        }
        assert send(maria, f"/inbox/{job}/answer", fields).status_code == 303
    who = Provenance("ana", ActorSource.ACCESS_KEY, Authority.HUMAN, "1" * 32, "2" * 16)
    where, now = f"sqlite:///{console.studio.folder / 'ledger.db'}", datetime.now(UTC)
    with open_or_create(where, who, now) as ledger:
        row = ledger.job(job)
        attempt = f"att_{job[-8:]}"
        events = [
            SubmissionIntended(
                attempt_id=attempt,
                request_sha256="0" * 64,
                profile="sandbox",
                server="sandbox",
                model="sora-2",
            ),
            SubmissionUnknown(attempt_id=attempt, lost="timeout"),
        ]
        drafts = [draft(event, who, now) for event in events]
        ledger.append([Batch(job, row.version, drafts)])
    return job


def test_an_unknown_outcome_is_settled_by_an_operator_with_a_reason(desk: Console) -> None:
    job = lose(desk, "A kite over the dunes")
    [one] = [each for each in inbox(desk, "olga")["unknown"] if each["job_id"] == job]
    assert (one["lost"], one["reserved_usd_micros"], one["title"]) == (
        "timeout",
        400_000,
        "A kite over the dunes",
    )
    assert inbox(desk, "maria")["unknown"] == []
    assert any(each["job_id"] == job for each in inbox(desk, "aud")["findings"])
    with desk.client("olga") as olga, desk.client("maria") as maria:
        assert send(maria, f"/inbox/{job}/settle", {"choice": "look"}).status_code == 403
        for fields in (
            {},
            {"choice": "absent"},
            {"choice": "found"},
            {"choice": "found", "video_id": "video_no"},
        ):
            assert send(olga, f"/inbox/{job}/settle", fields).status_code in {400, 404, 502}
        assert "Declare that none was created" in olga.get(f"/inbox/{job}").text
        facts = {"choice": "absent", "reason": "the server was down all day"}
        assert send(olga, f"/inbox/{job}/settle", facts).status_code == 303
        assert "absent" in olga.get("/inbox").text
    [record] = desk.studio("log", "--job", job, "--type", "submission.absent")["records"]
    assert (record["actor"], record["payload"]["how"]) == ("olga", "person")
    desk.studio("verify")


def test_a_finding_ends_where_it_is_shown_with_a_reason(desk: Console) -> None:
    job = lose(desk, "A video that expires")
    who = Provenance("ana", ActorSource.ACCESS_KEY, Authority.HUMAN, "1" * 32, "2" * 16)
    where, now = f"sqlite:///{desk.studio.folder / 'ledger.db'}", datetime.now(UTC)
    with open_or_create(where, who, now) as ledger:
        row = ledger.job(job)
        events = [
            SubmissionRecovered(
                attempt_id=f"att_{job[-8:]}", video_id="video_gone", how="person", status=Status.IN_PROGRESS
            ),
            AssetLost(variant=Variant.VIDEO, cause="expired"),
            RenderClosed(outcome=Outcome.LOST, duration_ms=1, cost_usd_micros=400_000),
        ]
        ledger.append([Batch(job, row.version, [draft(event, who, now) for event in events])])
    [one] = [each for each in inbox(desk, "aud")["findings"] if each["job_id"] == job]
    assert (one["code"], one["page"], one["may_end"]) == ("ASSET_EXPIRED", f"/videos/{job}", False)
    with desk.client("olga") as olga, desk.client("aud") as auditor:
        path = f"/inbox/{job}/dealt-with"
        assert "sora-ledger audit" not in auditor.get("/inbox").text
        assert send(auditor, path, {"reason": "made again"}).status_code == 403
        assert send(olga, path, {"reason": " "}).status_code == 400
        assert send(olga, path, {"reason": "made again"}).status_code == 303
        assert "1 finding dealt with" in olga.get("/inbox").text
        assert send(olga, path, {"reason": "made again"}).status_code == 303
        assert "nothing is left to deal with" in olga.get("/inbox").text
    assert [each for each in inbox(desk, "aud")["findings"] if each["job_id"] == job] == []
    [record] = desk.studio("log", "--job", job, "--type", "note.recorded")["records"]
    assert (record["actor"], record["actor_source"]) == ("olga", "access_key")
    desk.studio("verify")


def test_the_menu_counts_what_waits_for_the_reader(desk: Console, held: Callable[..., str]) -> None:
    held()
    with desk.client("maria") as maria, desk.client("rita") as rita:
        assert re.search(r"waiting for you: </span>[1-9]", maria.get("/access").text)
        assert "waiting for you" not in rita.get("/access").text


def test_a_final_without_a_thumbnail_shows_its_first_frame(console: Console, page: Page) -> None:
    console.studio(
        "create", "--prompt", "A final owl", "--purpose=final", "--queue", "--team=film", "--actor=ana"
    )
    console.studio("worker", "--drain", "--interval=0.1", "--grace=0")
    console.sign_in(page, "sol", "/inbox")
    finals = page.get_by_role("region", name="Finals to review")
    finals.locator("video").first.evaluate(
        "video => video.readyState || new Promise(r => video.onloadeddata = r)"
    )


def test_the_inbox_is_accessible_with_something_in_it(desk: Console, page: Page) -> None:
    job = ask(desk, promotes=desk.studio.jobs["fox"])
    lost = lose(desk, "A boat in the fog")
    desk.sign_in(page, "sol", "/inbox")
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 800})
        for path in ("/inbox", f"/inbox/{job}", f"/inbox/{lost}"):
            page.goto(desk.url + path)
            assert violations(page) == [], (path, width)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator(".menu .tally").count() > 0  # what it says to a screen reader takes no room


def test_a_double_click_in_a_browser_records_one_approval(
    desk: Console, held: Callable[..., str], page: Page
) -> None:
    job = held()
    desk.sign_in(page, "maria", f"/inbox/{job}")
    page.get_by_label("Reason").fill("the client agreed")
    page.get_by_role("button", name="Approve").dblclick()
    page.get_by_text(f"You approved {job}").or_(page.get_by_text("already recorded")).wait_for()
    page.go_back()
    page.get_by_text("No answer is needed").or_(page.get_by_label("Reason")).wait_for()
    assert answers(desk, job) == [("approval.granted", "maria")]
