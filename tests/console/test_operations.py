"""The page Operations: what needs a person, what the person does there, and what other roles see of it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.console.conftest import Console, Studio, serving
from tests.outside.conftest import Outside


@pytest.fixture
def lost(outside: Callable[..., Outside], studio: Studio, tmp_path: Any) -> Any:
    """Return a studio whose server created a video for `fox`, and whose answers about it were lost."""
    server = outside(creates=["lost-answer"])
    copy = studio.copy(tmp_path / "work")
    copy.environment = copy.environment | {
        "SORA_LEDGER_PROFILE": "custom",
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": "sk-outside-0123456789",
    }
    job = copy("create", "--prompt", "a lost <b>fox</b>", "--team=film", "--actor=ana", code=6)["job_id"]
    return server, copy, job


def test_the_page_says_that_nothing_is_open(shared: Console) -> None:
    with shared.reader("olga") as olga, shared.reader("ana") as ana:
        view = olga.get("/operations.json").json()
        assert (view["open_attempts"], view["overdue"], view["jobs"]["denied"]) == ([], [], 1)
        assert "Every submission has an outcome." in olga.get("/operations").text
        assert (ana.get("/operations").status_code, ana.get("/operations.json").status_code) == (403, 403)


def test_a_lost_submission_is_settled_by_asking_the_server(lost: Any) -> None:
    server, studio, job = lost
    with serving(studio) as console, console.client("olga") as olga, console.reader("olga") as reader:
        (shown,) = reader.get("/operations.json").json()["open_attempts"]
        assert (shown["job_id"], shown["state"], shown["cost_usd_micros"]) == (job, "unknown", 400_000)
        page = olga.get("/operations").text
        assert ("a lost &lt;b&gt;fox&lt;/b&gt;" in page, f'href="/console/inbox/{job}"' in page) == (
            True,
            True,
        )
        asked = olga.act("/operations/look", {}, page="/operations")
        assert asked.status_code == 303
        assert f"{job}: recovered" in olga.get("/operations").text
        assert reader.get("/operations.json").json()["open_attempts"] == []
    assert len(server.bills()) == 1
    studio("verify")


def test_a_video_that_is_described_differently_is_taken_only_when_that_is_said(lost: Any) -> None:
    server, studio, job = lost
    other = server.create("a red kite over the sea", seconds="8")["id"]
    with serving(studio) as console, console.client("olga") as olga, console.reader("olga") as reader:
        page, named = f"/inbox/{job}", {"choice": "found", "video_id": other}
        refused = olga.act(f"{page}/settle", named, page=page)
        assert (refused.status_code, "differs from the request" in refused.text) == (400, True)
        assert len(reader.get("/operations.json").json()["open_attempts"]) == 1
        olga.act(f"{page}/settle", named | {"force": "yes"}, page=page)
        assert reader.get("/operations.json").json()["open_attempts"] == []
    records = studio("log", "--job", job)["records"]
    recorded = [each for each in records if each["type"] == "submission.recovered"]
    assert [(each["actor"], each["actor_source"]) for each in recorded] == [("olga", "access_key")]
    studio("verify")


def test_an_operator_of_another_team_sees_and_settles_nothing_of_it(lost: Any) -> None:
    _, studio, job = lost
    studio.grant("otto", "--role=operator", "--team=ads")
    with serving(studio) as console, console.client("otto") as otto, console.reader("otto") as reader:
        view = reader.get("/operations.json").json()
        assert (view["open_attempts"], view["queue"], view["jobs"], view["deliveries"]) == (
            [],
            None,
            None,
            None,
        )
        asked = otto.act("/operations/look", {}, page="/operations")
        assert (asked.status_code, "No submission is open." in otto.get("/operations").text) == (303, True)
        assert otto.get(f"/inbox/{job}").status_code == 404
        letters = otto.act("/operations/send-again", {"delivery_id": "all"}, page="/operations")
        assert letters.status_code == 403
