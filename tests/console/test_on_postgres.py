"""The console on PostgreSQL: every page, an approval in a browser, and the same jobs as of a position."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Page

from render_service.server.console_routes import PAGES
from tests.console.conftest import Console, Studio, serving
from tests.console.test_pages import place
from tests.ledger.store.postgres.server import Databases

RULE = '\n[[approvals]]\ncode = "FINALS"\npurposes = ["final"]\n'


@pytest.fixture
def on_postgres(studio: Studio, databases: Databases, tmp_path: Path) -> Iterator[Console]:
    """Serve the studio from a database to which it was copied."""
    copy = studio.copy(tmp_path / "work")
    (copy.folder / "team.toml").write_text(
        Path("decision/policy.toml").read_text(encoding="utf-8") + RULE, encoding="utf-8"
    )
    copy("copy", "ledger.db", databases.url("console"))
    copy.environment = copy.environment | {"SORA_LEDGER_URL": databases.url("console")}
    copy("policy", "activate", "team.toml", "--reason", "for a test")
    with serving(copy) as console:
        yield console


def test_every_page_opens_and_a_held_final_is_approved_there(on_postgres: Console, page: Page) -> None:
    console = on_postgres
    with console.reader("sol") as sol:
        for each in PAGES:
            where = place(each.path, console.studio)
            answers = [
                sol.get(where),
                sol.get(f"{where}.json"),
                *([sol.get(f"{where}.csv")] if each.rows else []),
            ]
            assert {answer.status_code for answer in answers} == {200}, where
        found = sol.get("/videos.json", params={"q": "teal coup"}).json()["videos"]
        assert [each["job_id"] for each in found] == [console.studio.jobs["coupe"]]
        size = sol.get("/operations/as-of.json").json()["size"]
        for position in (0, size // 3, size // 2, size):
            view = sol.get(f"/operations/as-of.json?position={position}").json()
            expected = console.studio("replay", "--as-of", str(position))["jobs"]
            assert {each["job_id"]: each["state"] for each in view["jobs"]} == {
                each["job_id"]: each["state"] for each in expected
            }
    body = {"prompt": "A lantern drifts over a lake", "model": "sora-2", "purpose": "final"}
    key = {"authorization": f"Bearer {console.studio.keys['ana']}"}
    assert httpx2.post(f"{console.origin}/v1/videos", json=body, headers=key, timeout=30).status_code == 200
    console.sign_in(page, "maria", "/inbox")
    page.get_by_label("Reason").fill("it fits")
    page.get_by_role("button", name="Approve", exact=True).click()
    page.get_by_role("status").get_by_text("it is queued").wait_for()
    (record,) = console.studio("log", "--type", "approval.granted")["records"]
    assert (record["actor"], record["actor_source"]) == ("maria", "access_key")
    console.studio("verify")
