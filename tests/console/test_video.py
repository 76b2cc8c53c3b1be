"""The page of a video: what it says in every state and to whom, what it serves, and what is done there."""

import asyncio
import json
import re
import sqlite3
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from markupsafe import escape
from msgspec import structs
from playwright.sync_api import Browser, Page
from starlette.requests import Request

from decision.rules.roles import DEFAULT_ROLES, permissions_of
from ledger import events as e
from ledger.job import Job
from ledger.private import Private
from ledger.record import ActorSource
from ledger.terms import Operation, Outcome, Status, Variant
from render_service.access.callers import Caller
from render_service.api import sessions
from render_service.rules.measurements import Duration
from render_service.runtime.settings import read_settings
from render_service.runtime.telemetry import Log, Trace
from render_service.server.console.pages import NotHere, Visit
from render_service.server.console.rendering import Templates
from render_service.server.console.views.video import VideoView, read_video
from render_service.server.console.views.video_files import grid_of
from render_service.session.session import Session
from tests.console.conftest import Console, Signed
from tests.ledger.scribe import Scribe

TRACE = Trace("1" * 32, "2" * 16)
JOB = "job_01900000000070008000000000000001"


def caller(name: str, role: str, team: str | None = None) -> Caller:
    """Return a person with one role."""
    permissions = permissions_of(DEFAULT_ROLES, [role])
    return Caller(name, ActorSource.ACCESS_KEY, (role,), permissions, team, roles_in_force=DEFAULT_ROLES)


ANA, OLGA, AUD = caller("ana", "requester", "film"), caller("olga", "operator"), caller("aud", "auditor")


class Desk:
    """A ledger written by tests, and the pages of its videos."""

    def __init__(self, session: Session, scribe: Scribe, vocabulary: ModuleType) -> None:
        self.session, self.scribe, self.vocabulary = session, scribe, vocabulary
        self.html = ""

    def record(self, *events: e.EventBase, job_id: str = JOB, **changes: Any) -> None:
        """Record events of a job."""
        self.session.ledger.append([self.scribe.batch(job_id, *events, **changes)])

    def requested(self, prompt: str = "a paper boat", **changes: Any) -> e.RenderRequested:
        """Return a request of the team film."""
        request: e.RenderRequested = structs.replace(self.vocabulary.requested(prompt), **changes)
        return request

    def visit(self, who: Caller = OLGA, name: str = JOB, query: str = "") -> Visit:
        """Return a request of `who` for the page of a job."""
        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/videos/{name}",
            "query_string": query.encode(),
            "headers": [],
            "path_params": {"name": name},
        }
        return Visit(Request(scope), who, who.session(self.session), self.session.clock())

    def view(self, who: Caller = OLGA, name: str = JOB, query: str = "") -> VideoView:
        """Return the page of a job, after its template has shown it."""
        visit = self.visit(who, name, query)
        view = read_video(visit)
        layout = {"page": None, "menu": (), "message": None, "problem": None}
        self.html = Templates(str).render("video.html", visit=visit, view=view, now=visit.now, **layout)
        return view


@pytest.fixture
def desk(tmp_path: Path, scribe: Scribe, vocabulary: ModuleType) -> Iterator[Desk]:
    """Return a desk with a new ledger."""
    settings = read_settings(
        ledger=str(tmp_path / "ledger.db"),
        actor="root",
        environment={"SORA_LEDGER_PROFILE": "sandbox"},
        folder=tmp_path,
    )
    session = sessions.open_session(settings, TRACE, Log(TRACE, quiet=True))
    yield Desk(session, scribe, vocabulary)
    asyncio.run(session.close())


def lives(v: ModuleType) -> dict[str, list[Any]]:
    """Return for each state the events that lead to it."""
    sample, observed = v.sample, v.observed

    def closed(outcome: str) -> e.RenderClosed:
        return e.RenderClosed(outcome=Outcome(outcome), duration_ms=61_000, cost_usd_micros=0)

    refused = e.ApprovalRefused(comment=Private.seal("comment", "too <b>loud</b>"))
    denial = structs.replace(
        sample("render.denied").denial_trace,
        minimal_fix=(e.Fix(field="max_cost_usd_micros", action="raise", value=400_000),),
    )
    decided = [v.requested(), v.decided()]
    submitting = [*decided, sample("submission.intended")]
    running = [*submitting, sample("submission.accepted")]
    completed = [*running, observed(Status.COMPLETED, 100, expires_at=3600)]
    held = [v.requested(), sample("render.held")]
    rejected = e.SubmissionRejected(attempt_id="attempt_1", error=v.error())
    failed = observed(Status.FAILED, error=v.error())
    lost = e.AssetLost(variant=Variant.VIDEO, cause="expired")
    return {
        "requested": [v.requested()],
        "held": held,
        "approved": [*held, sample("approval.granted")],
        "refused": [*held, refused, closed("refused")],
        "denied": [
            v.requested(),
            structs.replace(sample("render.denied"), denial_trace=denial),
            closed("denied"),
        ],
        "decided": decided,
        "submitting": submitting,
        "rejected": [*submitting, rejected],
        "unknown": [*submitting, sample("submission.unknown")],
        "absent": [*submitting, sample("submission.absent")],
        "running": running,
        "completed": completed,
        "stored": v.life()[:-1],
        "failed": [*running, failed, closed("failed")],
        "lost": [*completed, lost, closed("lost")],
        "abandoned": [*running, sample("render.abandoned"), closed("abandoned")],
        "cancelled": [*decided, sample("render.cancelled"), closed("cancelled")],
        "deleted": [*v.life(), sample("video.deleted")],
    }


SAYS = {
    "requested": ("being decided", None, False),
    "held": ("waits for approval", "approver", False),
    "approved": ("waits for approval", "approver", False),
    "refused": ("refused by ana: “too <b>loud</b>”", "ana, who requested it", True),
    "denied": ("denied it before anything was sent", "ana, who requested it", True),
    "decided": ("waits for a worker", None, False),
    "submitting": ("nothing is sent twice", None, False),
    "rejected": ("did not accept the request (HTTP 500 server_error: try again)", "ana", False),
    "unknown": ("a video may exist", "operator", False),
    "absent": ("created nothing", "ana, who requested it", False),
    "running": ("is rendering it", None, False),
    "completed": ("being downloaded", None, False),
    "stored": ("Nobody has reviewed it yet", "reviewer", True),
    "failed": ("could not render it (HTTP 500 server_error: try again)", "ana", True),
    "lost": ("expired at the server before", "ana, who requested it", True),
    "abandoned": ("given up by ana", "ana, who requested it", True),
    "cancelled": ("withdrawn before it was sent", None, True),
    "deleted": ("deleted at the server", None, True),
}
"""For each state what the page says, who it says can take the next step, and whether the job has ended."""


@pytest.mark.parametrize("state", SAYS)
def test_every_state_says_what_is_next_and_who_can_take_the_step(
    desk: Desk, vocabulary: ModuleType, state: str
) -> None:
    desk.record(*lives(vocabulary)[state])
    view = desk.view()
    words, who, is_final = SAYS[state]
    standing = view.standing
    assert (standing.state, standing.is_final) == (state, is_final)
    assert words in standing.next.words
    assert str(escape(words)) in desk.html
    assert who is None if standing.next.who is None else who in standing.next.who
    assert [line.position for line in view.timeline] == list(range(2, 2 + len(view.timeline)))
    assert json.loads(view.model_dump_json())["standing"]["state"] == state


def test_a_denial_says_what_would_be_allowed_in_words_and_not_as_an_option(
    desk: Desk, vocabulary: ModuleType
) -> None:
    desk.record(*lives(vocabulary)["denied"])
    assert desk.view().standing.next.steps == ("Raise the cost limit to 0.40 USD.",)


@pytest.mark.parametrize("state", ["rejected", "absent"])
def test_a_closed_job_says_so_and_offers_no_second_try(
    desk: Desk, vocabulary: ModuleType, state: str
) -> None:
    desk.record(*lives(vocabulary)[state])
    assert desk.view().offer.resume
    desk.record(e.RenderClosed(outcome=Outcome(state), duration_ms=1, cost_usd_micros=0))
    view = desk.view()
    assert "This job is closed" in view.standing.next.words
    assert (view.standing.is_final, view.offer.resume) == (True, False)


def test_what_is_offered_depends_on_the_state_and_the_role(desk: Desk, vocabulary: ModuleType) -> None:
    desk.record(*lives(vocabulary)["running"])
    assert {who.name for who in (ANA, OLGA, AUD) if desk.view(who).offer.give_up} == {"olga"}
    desk.record(*vocabulary.life()[4:8])
    offers = {who.name: desk.view(who).offer for who in (ANA, OLGA, AUD)}
    assert {name for name, offer in offers.items() if offer.remix} == {"ana", "olga"}
    assert {name for name, offer in offers.items() if offer.review} == {"olga"}
    assert {name for name, offer in offers.items() if offer.delete} == {"ana", "olga"}
    assert not any(offer.cancel or offer.resume or offer.give_up for offer in offers.values())


def test_erased_text_is_null_and_everything_else_stays(desk: Desk, vocabulary: ModuleType) -> None:
    desk.record(*lives(vocabulary)["stored"])
    request = next(iter(desk.session.ledger.read(after=1, limit=1))).event
    erased = (request.prompt.commitment, request.augmented_prompt.commitment)
    desk.record(e.PrivateErased(commitments=erased, reason_code="subject_request"), job_id="ledger")
    view = desk.view()
    assert (view.prompt.text, view.sent_prompt.text, view.fields["camera"].text) == (None, None, "low angle")
    assert view.title == "Video 00000001"
    assert view.explanation["record"]["trusted"]
    assert "a paper boat" not in view.model_dump_json() + desk.html
    assert desk.html.count(">erased<") == 2


@pytest.mark.parametrize(
    ("sheet", "video", "grid"),
    [
        ((1280, 540), (1280, 720), (4, 3)),
        ((960, 1280), (720, 1280), (4, 3)),
        ((1600, 900), (1280, 720), (4, 4)),
        ((1000, 100), (1280, 720), None),
        ((1280, 720), (0, 0), None),
    ],
)
def test_the_grid_of_a_spritesheet_follows_from_the_proportions_of_its_video(
    sheet: tuple[int, int], video: tuple[int, int], grid: tuple[int, int] | None
) -> None:
    assert grid_of(e.Probe(width=sheet[0], height=sheet[1]), *video) == grid


def test_a_record_that_was_changed_is_shown_as_not_intact(desk: Desk, vocabulary: ModuleType) -> None:
    desk.record(*vocabulary.life())
    db = sqlite3.connect(desk.session.settings.ledger_url.removeprefix("sqlite:///"))
    db.execute("DROP TRIGGER events_no_update")
    changed = "replace(CAST(payload AS TEXT), '400000', '100000')"
    db.execute(f"UPDATE events SET payload = {changed} WHERE type = 'render.decided'")
    db.commit()
    db.close()
    record = desk.view().explanation["record"]
    assert (record["trusted"], record["trouble"]) == (
        False,
        ["position 3 (render.decided): its payload differs from what was recorded"],
    )
    assert "Not intact" in desk.html


def test_words_that_may_quote_the_gateways_key_are_for_operators(desk: Desk, vocabulary: ModuleType) -> None:
    error = e.ErrorDetail(http_status=401, code="bad_key", message=Private.seal("error.message", "sk-12…ab"))
    intended = vocabulary.sample("submission.intended")
    desk.record(desk.requested(), vocabulary.decided(), intended)
    desk.record(e.SubmissionRejected(attempt_id="attempt_1", error=error))
    assert "sk-12…ab" in desk.view(OLGA).model_dump_json()
    shown = desk.view(ANA)
    assert "sk-12" not in shown.model_dump_json()
    assert "refused this gateway's own key" in shown.standing.next.words
    assert "an operator can read its message" in shown.timeline[-1].words


def test_the_time_of_a_video_is_expected_from_measurements_only(desk: Desk, vocabulary: ModuleType) -> None:
    desk.record(*lives(vocabulary)["running"])
    assert desk.view().standing.expected is None

    class Measuring:
        def expected_of(self, job: Job, _: Any) -> Duration | None:
            return Duration(90, 120, 8) if job.profile == "sandbox" else None

    visit = desk.visit()
    measured = replace(visit, session=replace(visit.session, measuring=Measuring()))
    expected = read_video(measured).standing.expected
    assert (expected.at, expected.median_seconds, expected.is_late) == (
        "2026-01-01T12:01:31.000000Z",
        90,
        True,
    )


def remixes(desk: Desk, parents: Sequence[int]) -> None:
    """Record remixes in one append; each number says of which earlier job, -1 for a first video."""
    batches = []
    for number, parent in enumerate(parents):
        source = None if parent < 0 else f"job_{parent:03}"
        operation = Operation.CREATE if source is None else Operation.REMIX
        changes = {"operation": operation, "source_job": source, "request_key": None, "fields": {}}
        request = desk.requested(f"make the sky colour number {number}", **changes)
        decided = desk.vocabulary.decided()
        inputs = {**decided.basis.inputs, "change_aspects": "palette:1"}
        basis = structs.replace(decided.basis, inputs=inputs)
        events = (request, structs.replace(decided, basis=basis))
        batches.append(desk.scribe.batch(f"job_{number:03}", *events))
    desk.session.ledger.append(batches)


def test_a_video_without_relatives_has_no_lineage(desk: Desk) -> None:
    remixes(desk, [-1])
    assert desk.view(name="job_000").family == ()


def test_a_long_chain_is_drawn_whole_with_what_each_remix_changed(desk: Desk) -> None:
    remixes(desk, range(-1, 30))
    view = desk.view(name="job_015")
    assert [one.job_id for one in view.family] == [f"job_{number:03}" for number in range(31)]
    assert [one.source for one in view.family] == [None, *(f"job_{number:03}" for number in range(30))]
    assert view.family[16].change == "palette: make the sky colour number 16"
    drawing = str(view.drawing())
    assert drawing.count('class="edge"') == 30
    assert "palette: make the sky colour number 16" in drawing
    assert (drawing.count("node current"), " style=" in drawing) == (1, False)


def test_a_wide_family_is_collapsed_and_can_be_shown_whole(desk: Desk) -> None:
    remixes(desk, [-1, *[0] * 200])
    view = desk.view(name="job_000")
    assert (len(view.family), view.family[0].more) == (7, 194)
    assert view.family[-1].job_id == "job_200"
    assert "194 more made from it" in view.drawing()
    whole = desk.view(name="job_000", query="family=all")
    assert (len(whole.family), whole.family[0].more) == (201, 0)
    of_one = desk.view(name="job_007")
    assert [one.job_id for one in of_one.family] == ["job_000", "job_007"]


def test_markup_in_a_prompt_is_text_in_the_drawing_too(desk: Desk) -> None:
    desk.record(desk.requested("</text><script>alert(1)</script> \u202eabc"), job_id="job_000")
    desk.record(desk.requested("<b>", source_job="job_000"), job_id="job_001")
    desk.view(name="job_001")
    assert "&lt;/text&gt;&lt;script&gt;alert(1)&lt;/script&gt; \ufffdabc" in desk.html
    assert "<script>alert" not in desk.html


def test_other_teams_relatives_are_not_shown(desk: Desk) -> None:
    remixes(desk, [-1, 0, 1])
    desk.record(desk.requested("secret", team="ads", source_job="job_001"), job_id="job_101", actor="tom")
    desk.record(desk.requested("mine", source_job="job_101"), job_id="job_102")
    film, everyone = desk.view(ANA, "job_000"), desk.view(OLGA, "job_000")
    assert [one.job_id for one in film.family] == ["job_000", "job_001", "job_002"]
    assert {one.job_id for one in everyone.family} == {"job_000", "job_001", "job_002", "job_101", "job_102"}
    mine = desk.view(ANA, "job_102")
    assert (len(mine.family), mine.has_hidden_source) == (1, True)
    assert "made from a video not shown here" in mine.drawing()


@pytest.mark.parametrize(
    "name", [JOB, "video_1", "video_01900000000070008000000000000001", "job_0190", "0190000000007000"]
)
def test_every_id_of_a_video_names_it(desk: Desk, vocabulary: ModuleType, name: str) -> None:
    desk.record(*vocabulary.life())
    assert desk.view(name=name).job_id == JOB


def test_the_beginning_of_an_id_means_only_what_a_person_may_see(desk: Desk) -> None:
    desk.record(desk.requested(), job_id="job_0a1")
    desk.record(desk.requested(team="ads"), job_id="job_0a2", actor="tom")
    assert desk.view(ANA, "0a").job_id == "job_0a1"
    for name in ("job_0a2", "0a2", "", "job_", "nothing", "\ud800", "x" * 600):
        with pytest.raises(NotHere, match="there is no video"):
            desk.view(ANA, name)


# --- over HTTP ---


def act(client: Signed, path: str, fields: dict[str, str]) -> Any:
    """Send a form, also one that the person's page does not have."""
    return client.post(path, data={"csrf": client.csrf(), **fields})


ADDRESSES = ("", ".json", "/state", "/state.json", "/files/video", "/evidence")


@pytest.mark.parametrize("address", ADDRESSES)
def test_another_teams_video_is_unknown(shared: Console, address: str) -> None:
    bottle = shared.studio.jobs["bottle"]
    with shared.reader("ana") as ana, shared.reader("tom") as tom:
        assert tom.get(f"/videos/{bottle}{address}").status_code == 200
        refused = ana.get(f"/videos/{bottle}{address}")
        unknown = ana.get(f"/videos/job_{'0' * 32}{address}")
        assert (refused.status_code, unknown.status_code) == (404, 404)
        answers = [re.sub(r"job_\w+|<time.*?</time>", "", each.text) for each in (refused, unknown)]
        assert answers[0] == answers[1]


@pytest.mark.parametrize("action", ["cancel", "delete", "resume", "fetch"])
def test_another_teams_video_cannot_be_acted_on(shared: Console, action: str) -> None:
    with shared.client("ana") as ana:
        answer = act(ana, f"/videos/{shared.studio.jobs['bottle']}/{action}", {"reason": "no"})
        assert answer.status_code == 404


def test_the_video_is_served_in_ranges_from_storage(shared: Console) -> None:
    coupe = shared.studio.jobs["coupe"]
    with shared.reader("ana") as ana:
        view = ana.get(f"/videos/{coupe}.json").json()
        address = view["media"]["video"].removeprefix("/console")
        whole = ana.get(address)
        part = ana.get(address, headers={"range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, whole.content[100:200])
        assert whole.headers["etag"] == f'"{view["files"][0]["sha256"]}"'
        assert ana.get(address, headers={"range": f"bytes={10**9}-"}).status_code == 416
        assert ana.get(address, headers={"if-none-match": whole.headers["etag"]}).status_code == 304
        for name in ("thumbnail", "nothing", "..%2f..%2fledger.db"):
            assert ana.get(f"/videos/{coupe}/files/{name}").status_code == 404


def test_the_files_say_what_they_know_of_their_origin(shared: Console) -> None:
    coupe = shared.studio.jobs["coupe"]
    with shared.reader("ana") as ana:
        (video, *_) = ana.get(f"/videos/{coupe}.json").json()["files"]
        page = ana.get(f"/videos/{coupe}").text
    assert (video["role"], video["provenance"]) == ("video", "no C2PA manifest")
    assert "Content credentials" in page
    assert f'/console/log/{video["provenance_position"]}"' in page


def test_a_stored_file_that_was_changed_is_not_served(console: Console) -> None:
    coupe = console.studio.jobs["coupe"]
    with console.reader("ana") as ana:
        address = f"/videos/{coupe}/files/video"
        digest = ana.get(address).headers["etag"].strip('"')
        (stored,) = console.studio.folder.rglob(f"{digest}*")
        stored.chmod(0o600)
        stored.write_bytes(stored.read_bytes()[:-1] + b"x")
        assert ana.get(address).status_code == 500


def test_the_evidence_is_a_bundle_that_verifies(console: Console, tmp_path: Path) -> None:
    coupe = console.studio.jobs["coupe"]
    with console.reader("ana") as ana:
        answer = ana.get(f"/videos/{coupe}/evidence?files=yes")
        assert answer.headers["content-type"] == "application/zip"
        assert f'filename="{coupe}.evidence.zip"' in answer.headers["content-disposition"]
        (tmp_path / "evidence.zip").write_bytes(answer.content)
        document = console.studio("verify-bundle", str(tmp_path / "evidence.zip"))
        assert (document["clean"], document["texts_absent"]) == (True, 0)
        with zipfile.ZipFile(BytesIO(answer.content)) as bundle:
            assert any(name.endswith(".mp4") for name in bundle.namelist())
        without = ana.get(f"/videos/{coupe}/evidence?text=no").content
        (tmp_path / "bare.zip").write_bytes(without)
        assert console.studio("verify-bundle", str(tmp_path / "bare.zip"))["texts"] == 0


MARKUP = '</bdi><script>alert(1)</script> <img src="x" onerror="alert(1)"/> {{ 7*7 }} &amp;'


def test_hostile_prompts_are_shown_as_text(console: Console) -> None:
    prompts = {"markup": MARKUP, "bidi": "abc \u202e gnp.exe \u2066x", "long": "long " * 6_400}
    for name, prompt in prompts.items():
        with console.reader("ana") as ana:
            values = {"prompt": prompt, "max_cost_usd": "0.01"}
            denied = ana.post(f"{console.origin}/v1/videos", json=values)
            job = denied.headers["x-sora-ledger-job"]
            html = ana.get(f"/videos/{job}").text
            assert "<script>alert" not in html
            assert '<img src="x"' not in html
            assert not re.search("[\u202a-\u202e\u2066-\u2069]", html)
            assert ana.get(f"/videos/{job}.json").json()["prompt"]["text"] == prompt, name
            if name == "long":
                assert prompt in html
            if name == "markup":
                assert "{{ 7*7 }}" in html


def test_a_queued_request_is_cancelled_as_the_person_who_did_it(console: Console) -> None:
    queued = console.studio.jobs["queued"]
    page = f"/videos/{queued}"
    with console.client("ana") as ana, console.client("aud") as aud:
        assert "Cancel the request" not in aud.get(page).text
        assert act(aud, f"{page}/cancel", {"reason": "no"}).status_code == 403
        done = act(ana, f"{page}/cancel", {"reason": "the client <i>left</i>"})
        assert (done.status_code, done.headers["location"]) == (303, f"/console{page}")
        assert "The request was cancelled" in ana.get(page).text
        again = act(ana, f"{page}/cancel", {"reason": "twice"})
        assert (again.status_code, "is cancelled" in again.text) == (409, True)
    records = console.studio("log", "--job", queued)["records"]
    cancelled = next(each for each in records if each["type"] == "render.cancelled")
    assert (cancelled["actor"], cancelled["actor_source"]) == ("ana", "access_key")
    assert cancelled["payload"]["why"]["text"] == "the client <i>left</i>"
    console.studio("verify")


def test_pictures_are_fetched_and_a_video_is_deleted_at_the_server(console: Console) -> None:
    page = f"/videos/{console.studio.jobs['crimson']}"
    with console.client("ana") as ana, console.reader("ana") as reader:
        assert reader.get(f"{page}.json").json()["media"]["missing"] == ["thumbnail", "spritesheet"]
        assert act(ana, f"{page}/fetch", {}).status_code == 303
        media = reader.get(f"{page}.json").json()["media"]
        assert (media["missing"], media["sheet"]["columns"], media["sheet"]["rows"]) == ([], 4, 3)
        assert reader.get(media["poster"].removeprefix("/console")).headers["content-type"] == "image/webp"
        assert act(ana, f"{page}/delete", {"reason": "withdrawn"}).status_code == 303
        view = reader.get(f"{page}.json").json()
        assert (view["standing"]["state"], view["offer"]["remix"]) == ("deleted", False)
        assert [line["actor"] for line in view["timeline"][-3:]] == ["ana"] * 3
    console.studio("verify")


def test_a_render_is_given_up_only_with_a_reason(console: Console) -> None:
    page = f"/videos/{console.studio.jobs['coupe']}"
    with console.client("olga") as olga:
        refused = act(olga, f"{page}/give-up", {"reason": " "})
        assert (refused.status_code, "A reason is required" in refused.text) == (400, True)
        closed = act(olga, f"{page}/give-up", {"reason": "it never ends"})
        assert closed.status_code == 409


# --- in a browser ---


def until(page: Page, condition: str) -> None:
    """Wait until a condition holds; `wait_for_function` would need a policy that lets pages evaluate text."""
    ends = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < ends, condition
        page.wait_for_timeout(20)


def test_the_page_follows_a_render_until_its_video_can_be_played(console: Console, page: Page) -> None:
    queued = console.studio.jobs["queued"]
    console.sign_in(page, "ana", f"/videos/{queued}")
    assert page.locator("#standing").get_by_text("Queued").is_visible()
    assert page.get_by_text("There is no video to play yet").is_visible()
    console.studio("worker", "--drain", "--interval=0.1", "--grace=0")
    page.locator("#standing").get_by_text("Ready").wait_for()
    page.locator("video#player").wait_for()
    page.locator("#timeline").get_by_text("render.closed").wait_for()
    until(page, "document.querySelector('#player').readyState > 0")
    page.get_by_text("Updates automatically").wait_for(state="detached")


@pytest.fixture
def scrubbed(console: Console, page: Page) -> Page:
    """Return the page of a video with a spritesheet."""
    crimson = f"/videos/{console.studio.jobs['crimson']}"
    with console.client("ana") as ana:
        act(ana, f"{crimson}/fetch", {})
    console.sign_in(page, "ana", crimson)
    until(page, "document.querySelector('#player').readyState > 0")
    return page


def test_a_video_plays_and_is_scrubbed_with_pointer_and_keyboard(scrubbed: Page) -> None:
    strip = scrubbed.get_by_role("slider", name="Scrub through the frames")
    frame, at = scrubbed.locator(".player .frame"), "document.querySelector('#player').currentTime"
    box = strip.bounding_box()
    scrubbed.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + box["height"] / 2)
    assert frame.is_visible()
    assert strip.get_attribute("aria-valuenow") == "7"
    scrubbed.mouse.down()
    scrubbed.mouse.up()
    assert scrubbed.evaluate(at) == pytest.approx(2.0, abs=0.01)
    scrubbed.mouse.move(5, 5)
    assert not frame.is_visible()
    strip.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight"):
        strip.press(key)
    assert strip.get_attribute("aria-valuetext") == "Frame 4 of 12, at 1.00 s"
    assert frame.is_visible()
    strip.press("Enter")
    assert scrubbed.evaluate(at) == pytest.approx(1.0, abs=0.01)
    assert not frame.is_visible()
    scrubbed.evaluate("document.querySelector('#player').muted = true")
    scrubbed.evaluate("document.querySelector('#player').play()")
    until(scrubbed, f"{at} > 1.2")


def test_the_page_works_without_scripts(console: Console, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    console.sign_in(opened, "ana", f"/videos/{console.studio.jobs['coupe']}")
    assert opened.locator("video[controls]").count() == 1
    assert opened.locator(".scrub:visible, .controls:visible").count() == 0
    opened.get_by_text("Delete at the server").first.click()
    opened.get_by_label("Reason").fill("not needed")
    opened.get_by_role("button", name="Delete at the server").click()
    assert opened.get_by_text("The video was deleted at the server.", exact=True).is_visible()
    context.close()
