"""The desk for programs: the helpers of the Bickford integration, awaited and not."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

import render_service
from decision.errors import BadRequest
from decision.rules.policy import Policy, default_policy
from decision.rules.toml import default_catalog
from ledger.errors import JobNotFound, LedgerUnusable
from ledger.events import RenderDecided
from ledger.log.opening import open_ledger
from ledger.terms import State
from ledger.tree.checkpoint import Signer
from render_service import NotSubmitted, RenderDesk, SyncRenderDesk
from render_service.api.sessions import open_session
from render_service.approvals.approvals import approve
from render_service.rules.opening import activate
from render_service.rules.policies import Rules
from render_service.runtime.errors import BadInput, NotReady
from render_service.runtime.settings import read_settings
from render_service.runtime.telemetry import Log, Trace
from sora_adapter.polling import PollTimeout
from sora_adapter.sandbox.server import SandboxServer
from tests.conftest import Faults

ROOT = Path(__file__).parents[3]
FAST = {"poll_interval_s": 0.05}
TRACE = Trace("1" * 32, "2" * 16)


@pytest.fixture
def at_server(
    sandbox: Callable[..., SandboxServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Start a sandbox and return what a desk there is opened with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", sandbox().base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    return {"ledger": "sqlite:///ledger.db", "profile": "custom", "actor": "ana"}


def test_the_helpers_work_one_after_the_other(
    at_server: dict[str, Any], tmp_path: Path, intact: Callable[[], bool]
) -> None:
    with SyncRenderDesk(**at_server) as session:
        job = session.create("a teal coupe", model="sora-2", size="1280x720", seconds="8")
        fact = {"videoId": job.video_id, "status": job.status, "seconds": job.seconds, "size": job.size}
        assert session.record("media-renders", fact).payload["status"] == job.status
        done = session.create_and_poll("a forest", **FAST)
        assert (job.seconds, done.state) == (8, State.STORED)
        assert (
            session.download(str(done.video_id), to=tmp_path / "clip.mp4")
            == (tmp_path / "clip.mp4").read_bytes()
        )
        assert len(session.download(str(done.video_id), variant="thumbnail")) > 100
        assert len(session.list(limit=10, order="desc").data) == 2
        assert session.poll(job.job_id, **FAST).state is State.STORED
        assert session.delete(done.job_id, reason="a test").state is State.DELETED
    assert intact()


def test_a_program_pays_from_the_budget_of_its_team(at_server: dict[str, Any]) -> None:
    with SyncRenderDesk(**at_server, team="film", project="spring") as session:
        job = session.create("a fox")
    with open_ledger(at_server["ledger"]) as ledger:
        decided = next(r.event for r in ledger.history(job.job_id) if isinstance(r.event, RenderDecided))
    assert (decided.basis.inputs["team"], decided.basis.inputs["project"]) == ("film", "spring")


def test_a_record_with_an_id_is_made_once(at_server: dict[str, Any]) -> None:
    with SyncRenderDesk(**at_server) as session:
        repeated = [session.record("x", {"status": "seen"}, event_id="e-1").repeated for _ in range(2)]
    assert repeated == [False, True]


def test_a_denial_is_raised_with_its_job_and_its_reason(at_server: dict[str, Any]) -> None:
    with (
        SyncRenderDesk(**at_server) as session,
        pytest.raises(NotSubmitted, match=r"is denied: .*cost") as raised,
    ):
        session.create("a fox", max_cost_usd_micros=1)
    assert raised.value.job.state is State.DENIED


def test_a_lost_answer_is_raised_with_its_job(
    at_server: dict[str, Any], faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", faults.then(0).base_url)
    with SyncRenderDesk(**at_server) as session, pytest.raises(NotSubmitted) as raised:
        session.create("a fox")
    assert raised.value.job.state is State.UNKNOWN


def test_a_render_that_failed_is_returned(at_server: dict[str, Any]) -> None:
    with SyncRenderDesk(**at_server) as session:
        assert session.create_and_poll("a [fail] fox", **FAST).state is State.FAILED


def test_a_waiting_time_that_is_over_says_for_which_video(
    at_server: dict[str, Any], sandbox: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", sandbox(render_seconds=600).base_url)
    with SyncRenderDesk(**at_server) as session:
        with pytest.raises(PollTimeout) as over:
            session.create_and_poll("a fox", timeout_s=0)
        assert session.job(over.value.video_id).state is State.RUNNING


def test_the_same_request_key_gives_the_same_job(at_server: dict[str, Any]) -> None:
    with SyncRenderDesk(**at_server) as session:
        assert len({session.create("a fox", request_key="teaser").job_id for _ in range(2)}) == 1


def test_a_reference_image_goes_with_the_request(
    at_server: dict[str, Any], tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    (tmp_path / "frame.png").write_bytes(picture())
    with SyncRenderDesk(**at_server) as session:
        assert session.create("it moves", input_reference=tmp_path / "frame.png").video_id
        with pytest.raises(BadInput, match="cannot be read"):
            session.create("it moves", input_reference="missing.png")


def test_a_video_of_another_tool_is_adopted_when_it_is_named(at_server: dict[str, Any]) -> None:
    with SyncRenderDesk(**at_server) as session:
        server = session._session._settings.base_url
        headers = {"authorization": "Bearer any"}
        theirs = httpx2.post(f"{server}/videos", json={"prompt": "a heron"}, headers=headers).json()["id"]
        assert len(session.download(theirs)) > 1_000
        assert session.job(theirs).operation is None


def test_what_cannot_be_meant_is_raised_before_anything_is_recorded(at_server: dict[str, Any]) -> None:
    with SyncRenderDesk(**at_server) as session:
        with pytest.raises(BadRequest, match="seconds 6"):
            session.create("a fox", seconds="6")
        with pytest.raises(BadInput, match=r"the prompt still has \{product\} in it"):
            session.create("a {product} on a table")
        with pytest.raises(JobNotFound):
            session.job("job_nowhere")


def test_a_desk_that_is_not_open_says_how_to_open_it(at_server: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="with SyncRenderDesk"):
        SyncRenderDesk(**at_server).create("a fox")


def test_a_desk_that_cannot_be_opened_leaves_nothing_open(at_server: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("no database, but text " * 9)
    with pytest.raises(LedgerUnusable), SyncRenderDesk(**at_server):
        pass


@pytest.mark.anyio
async def test_an_awaiting_desk_that_is_not_open_says_how_to_open_it(at_server: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="async with RenderDesk"):
        await RenderDesk(**at_server).create("a fox")


@pytest.mark.anyio
async def test_an_awaiting_program_renders_several_at_once(at_server: dict[str, Any]) -> None:
    async with RenderDesk(**at_server) as session:
        jobs = await asyncio.gather(*(session.create_and_poll(f"fox {n}", **FAST) for n in range(4)))
    assert {job.state for job in jobs} == {State.STORED}


def test_importing_the_package_loads_nothing_that_calls() -> None:
    code = "import json, sys, render_service; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert {"openai", "pydantic", "asyncio"} & set(json.loads(ran.stdout)) == set()


def test_a_name_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = render_service.Nothing


@pytest.mark.anyio
async def test_what_is_held_is_announced_and_submitted_once_it_is_approved(at_server: dict[str, Any]) -> None:
    signers = Signer("maria", bytes([1]) * 32), Signer("omar", bytes([2]) * 32)
    approvers = {signer.name: [str(signer.verifier)] for signer in signers}
    people = {"approvals": [{"code": "ALL"}], "approvers": approvers}
    rules = Rules(Policy.model_validate({**default_policy().model_dump(), **people}), default_catalog())
    settings = read_settings(ledger=at_server["ledger"], profile="custom")
    activate(settings, TRACE, datetime(2026, 11, 21, tzinfo=UTC), rules, "everything waits")
    async with RenderDesk(**at_server) as session:
        with pytest.raises(
            NotSubmitted, match=r"is held: 2 people have to approve it.*approve job_"
        ) as raised:
            await session.create("a fox runs")
        job = raised.value.job
        with pytest.raises(NotReady, match="is pending approval"):
            await session.resume(job.job_id)
        others = open_session(settings, TRACE, Log(TRACE, quiet=True))
        for signer in signers:  # one more than the rule says, as "ana" is a name that was typed
            if signer is signers[-1]:
                key = own_key(signer)
                async with RenderDesk(ledger=at_server["ledger"], profile="custom") as desk:
                    assert (await desk.approve(job.job_id, key=key)).state is State.DECIDED
            else:
                await approve(others, job, signer=signer)
        await others.close()
        assert (await session.resume(job.job_id)).state is State.RUNNING


def own_key(signer: Signer) -> Path:
    """Return a file with the key of a signer, which only its owner can read."""
    key = Path("own.key")
    key.write_text(signer.secret())
    key.chmod(0o600)
    return key


def test_a_lost_answer_is_found_out_about(
    at_server: dict[str, Any], sandbox: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    losing = sandbox(clock=time.time, faults=("create=kept-but-answer-lost:1",))
    monkeypatch.setenv("OPENAI_BASE_URL", losing.base_url)
    with SyncRenderDesk(**at_server) as session:
        with pytest.raises(NotSubmitted) as lost:
            session.create("a teal coupe")
        found = session.reconcile(lost.value.job.job_id)
        assert (found.verdict, session.poll(found.job.job_id, **FAST).state) == ("recovered", State.STORED)


def test_a_finished_video_is_remixed_edited_and_extended(at_server: dict[str, Any]) -> None:
    with SyncRenderDesk(**at_server) as desk:
        done = desk.create_and_poll("a fox runs", seconds="8", **FAST)
        night = desk.remix(done.job_id, "Same shot. Make it night.", max_cost="1.20")
        both = desk.edit(done.job_id, "Make it night and add snow.", max_cost=Decimal("1.20"))
        longer = desk.extend(done.job_id, "The fox stops.", seconds=4)
        ended = desk.wait_many([night.job_id, both.job_id, longer.job_id], **FAST)
        assert [(job.operation, job.state) for job in ended] == [
            ("remix", State.STORED),
            ("edit", State.STORED),
            ("extend", State.STORED),
        ]
        assert {job.job_id for job in desk.find("night")} == {night.job_id, both.job_id}
        assert len(desk.find(states=[State.STORED])) == 4
        spent = desk.spend(by="model")
        assert (spent.total.jobs, spent.total.settled) == (4, sum(part.settled for part in spent.parts))
        with pytest.raises(NotSubmitted) as denied:
            desk.remix(done.job_id, "Make it night and add snow.")
        assert denied.value.job.state is State.DENIED


def test_a_video_is_reviewed_and_a_job_that_was_not_sent_is_withdrawn(at_server: dict[str, Any]) -> None:
    with SyncRenderDesk(**at_server) as desk:
        done = desk.create_and_poll("a fox runs", **FAST)
        desk.review(done.job_id, "approved", scores={"clarity": 90})
        [event] = [one for one in desk.events(follow=False) if one.type == "review.recorded"]
        assert (event.payload["verdict"], event.payload["scores"]) == ("approved", {"clarity": 90})
        with pytest.raises(NotReady):
            desk.cancel(done.job_id)
        with pytest.raises(NotReady):
            desk.approve(done.job_id)


def test_a_decision_is_shown_with_its_cost_and_records_nothing(at_server: dict[str, Any]) -> None:
    with SyncRenderDesk(**at_server) as desk:
        ahead = desk.decide("a fox runs", max_cost="0.40")
        assert (ahead.decision, ahead.cost, ahead.allowed) == ("ALLOW", Decimal("0.4"), True)
        denied = desk.decide("a fox runs", max_cost="0.39")
        assert (denied.decision, denied.allowed, bool(denied.what_now)) == ("DENY", False, True)
        with pytest.raises(BadInput, match="max_cost must be dollars"):
            desk.decide("a fox runs", max_cost="a lot")
        with pytest.raises(BadInput, match="job must be the job"):
            desk.decide("make it night", operation="remix")
        assert desk.find() == []


def test_the_events_go_on_where_the_last_run_stopped(at_server: dict[str, Any]) -> None:
    async def use() -> None:
        async with RenderDesk(**at_server) as desk:
            await desk.create("a fox runs")
            observations = [event async for event in desk.events(follow=False)]
            assert [event.position for event in observations] == list(range(1, len(observations) + 1))
            following = desk.events(observations[-1].position, poll_interval_s=0.01)
            waiting = asyncio.ensure_future(anext(following))
            recorded = await desk.record("notes", {"status": "seen"})
            event = await asyncio.wait_for(waiting, 30)
            assert (event.position, event.payload) == (recorded.position, recorded.payload)
            await following.aclose()  # type: ignore[attr-defined]

    asyncio.run(use())
    with SyncRenderDesk(**at_server) as desk:
        assert len(list(desk.events(follow=False))) == len(list(desk.events(1, follow=False))) + 1
