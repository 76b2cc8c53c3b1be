"""A lost answer is found again, proven not to exist, or left to a person; nothing is sent a second time."""

import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from decision.request.request import RenderRequest
from ledger.events import (
    NoteRecorded,
    SubmissionAbsent,
    SubmissionRecovered,
    SubmissionUnknown,
    WebhookReceived,
)
from ledger.job import Job
from ledger.private import Private
from ledger.store.interface import ANY
from ledger.terms import Outcome, State
from render_service.adoption.adopt import take_in
from render_service.recovery.attempts import open_attempts
from render_service.recovery.reconcile import open_jobs, reconcile, reconcile_job
from render_service.runtime.settings import Settings
from render_service.session.event_ids import claim_id
from render_service.session.servers import server_name
from render_service.session.session import Session
from render_service.settlement.settle import settle
from render_service.submission.resume import resume
from render_service.submission.submit import place
from sora_adapter.errors import AdapterError
from sora_adapter.sandbox.server import SandboxServer
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio
Types = Callable[[Job], list[str]]


async def test_the_video_of_a_lost_answer_is_found_again(
    session: Session, lost: Callable[..., Awaitable[Job]], created: Callable[[], list[dict[str, Any]]]
) -> None:
    settlement = await reconcile_job(session, await lost(session))
    [video] = created()
    assert (settlement.verdict, settlement.job.state) == ("recovered", State.RUNNING)
    assert settlement.job.video_id == video["id"]


async def test_a_video_that_was_found_again_is_settled_like_any_other(
    session: Session, lost: Callable[..., Awaitable[Job]]
) -> None:
    found = await reconcile_job(session, await lost(session))
    job = await settle(session, found.job, interval_s=0.05, timeout_s=30)
    assert (job.state, job.outcome) == (State.STORED, Outcome.STORED)


async def test_the_record_says_that_the_list_showed_it(
    session: Session, lost: Callable[..., Awaitable[Job]], event: LastEvent
) -> None:
    found = await reconcile_job(session, await lost(session))
    assert event(found.job, SubmissionRecovered).how == "list"


async def test_an_attempt_that_was_cut_off_is_first_recorded_as_lost(
    session: Session,
    cut_off: Callable[..., Awaitable[Job]],
    types: Types,
    event: LastEvent,
    later: Callable[..., Session],
) -> None:
    job = (await reconcile_job(later(session, seconds=601), await cut_off(session), grace_s=0)).job
    assert types(job)[-2:] == ["submission.unknown", "submission.absent"]
    assert event(job, SubmissionUnknown).lost == "crash"


async def test_an_attempt_that_may_still_be_answered_is_left_alone(
    session: Session, cut_off: Callable[..., Awaitable[Job]], types: Types
) -> None:
    settlement = await reconcile_job(session, await cut_off(session))
    assert (settlement.verdict, settlement.job.state) == ("waiting", State.SUBMITTING)
    assert types(settlement.job)[-1] == "submission.intended"


async def test_absence_does_not_count_at_once(session: Session, lost: Callable[..., Awaitable[Job]]) -> None:
    settlement = await reconcile_job(session, await lost(session, kept=False))
    assert (settlement.verdict, settlement.job.state) == ("waiting", State.UNKNOWN)


async def test_absence_counts_once_the_call_can_take_effect_no_more(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    later: Callable[..., Session],
    event: LastEvent,
) -> None:
    job = await lost(session, kept=False)
    settlement = await reconcile_job(later(session, seconds=601), job)
    assert (settlement.verdict, settlement.job.state) == ("absent", State.ABSENT)
    assert event(settlement.job, SubmissionAbsent).how == "list"


async def test_an_attempt_whose_record_names_no_key_is_left_to_a_person(
    session: Session, cut_off: Callable[..., Awaitable[Job]], later: Callable[..., Session]
) -> None:
    job = await cut_off(session, without=("key_digest",))
    settlement = await reconcile_job(later(session, seconds=602), job)
    assert (settlement.verdict, "no key is recorded" in settlement.why) == ("needs_person", True)


async def test_a_crash_that_is_noticed_late_gets_a_grace_period_of_its_own(
    session: Session, cut_off: Callable[..., Awaitable[Job]], later: Callable[..., Session]
) -> None:
    job = await cut_off(session)
    verdicts = [
        (await reconcile_job(later(session, seconds=after), job)).verdict for after in (301, 302, 602)
    ]
    assert verdicts == ["waiting", "waiting", "absent"]


async def test_an_attempt_begun_in_the_future_by_a_wrong_clock_is_not_waited_for(
    session: Session, cut_off: Callable[..., Awaitable[Job]], later: Callable[..., Session]
) -> None:
    job = await cut_off(later(session, days=365))
    first = await reconcile_job(session, job)
    assert (first.verdict, first.job.state) == ("waiting", State.UNKNOWN)
    assert (await reconcile_job(later(session, seconds=601), job)).verdict == "absent"


async def test_what_is_absent_may_be_sent_again_under_its_key(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    request_for: Callable[..., RenderRequest],
    created: Callable[[], list[dict[str, Any]]],
    later: Callable[..., Session],
) -> None:
    job = await lost(session, kept=False, request_key="teaser")
    await reconcile_job(later(session, seconds=601), job)
    again = await place(session, request_for(request_key="teaser"))
    assert (again.job.job_id, again.job.state, len(created())) == (job.job_id, State.RUNNING, 1)


async def test_what_was_found_again_is_not_sent_again_under_its_key(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    request_for: Callable[..., RenderRequest],
    created: Callable[[], list[dict[str, Any]]],
) -> None:
    job = await lost(session, request_key="teaser")
    await reconcile_job(session, job)
    again = await place(session, request_for(request_key="teaser"))
    assert (again.job.job_id, again.job.state, len(created())) == (job.job_id, State.RUNNING, 1)


async def test_reconciling_twice_finds_nothing_open_the_second_time(
    session: Session, lost: Callable[..., Awaitable[Job]]
) -> None:
    job = await lost(session)
    verdicts = [(await reconcile_job(session, job)).verdict for _ in range(2)]
    assert verdicts == ["recovered", "settled"]


async def test_the_same_request_twice_shares_out_both_videos(
    session: Session, lost: Callable[..., Awaitable[Job]], created: Callable[[], list[dict[str, Any]]]
) -> None:
    for _ in range(2):
        await lost(session)
    found = await reconcile(session, await open_jobs(session))
    assert sorted(one.job.video_id or "" for one in found) == sorted(video["id"] for video in created())


async def test_of_two_same_requests_one_may_have_created_nothing(
    session: Session, lost: Callable[..., Awaitable[Job]], later: Callable[..., Session]
) -> None:
    await lost(session)
    await lost(session, kept=False)
    found = await reconcile(later(session, seconds=601), await open_jobs(session))
    verdicts = [one.verdict for one in found]
    assert verdicts == ["recovered", "absent"]


async def test_different_requests_get_their_own_videos(
    session: Session, lost: Callable[..., Awaitable[Job]], created: Callable[[], list[dict[str, Any]]]
) -> None:
    jobs = [await lost(session, prompt=prompt) for prompt in ("a fox runs", "an owl sleeps")]
    found = await reconcile(session, jobs)
    prompts = {video["id"]: video["prompt"] for video in created()}
    assert [prompts[one.job.video_id or ""] for one in found] == ["a fox runs", "an owl sleeps"]


async def test_more_candidates_than_attempts_are_left_to_a_person(
    session: Session, lost: Callable[..., Awaitable[Job]], someone_else: Callable[..., str]
) -> None:
    job, other = await lost(session), someone_else()
    settlement = await reconcile_job(session, job, grace_s=0)
    assert (settlement.verdict, settlement.job.state) == ("needs_person", State.UNKNOWN)
    assert f"sora-ledger reconcile {job.job_id} --video-id {other}" in settlement.commands


async def test_a_video_of_another_prompt_keeps_absence_from_counting(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    someone_else: Callable[..., str],
    later: Callable[..., Session],
) -> None:
    other = someone_else(prompt="a horse")
    settlement = await reconcile_job(later(session, seconds=601), await lost(session, kept=False))
    assert (settlement.verdict, settlement.candidates) == ("needs_person", (other,))
    assert f"{other}: the prompt" in settlement.why


async def test_an_adopted_video_keeps_absence_from_counting(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    someone_else: Callable[..., str],
    later: Callable[..., Session],
) -> None:
    await known_to(session, someone_else(prompt="a horse"))
    settlement = await reconcile_job(later(session, seconds=601), await lost(session, kept=False))
    assert (settlement.verdict, settlement.candidates) == ("needs_person", ())
    assert "it was adopted without a submission" in settlement.why


async def test_a_video_of_another_prompt_and_another_time_does_not_keep_absence_from_counting(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    request_for: Callable[..., RenderRequest],
    later: Callable[..., Session],
) -> None:
    times = [1_700_000_001.0]
    server = sandbox(clock=lambda: times[-1])
    session = at(server.base_url)
    await known_to(session, another_clients(server, "a heron"))
    another_clients(server, "a horse")
    times.append(time.time())
    await place(session, request_for(prompt="an owl"))  # its time shows that the clocks agree
    httpx2.post(f"{server.origin}/_sandbox/faults", json={"faults": ["create=lost:1"]})
    job = (await place(session, request_for())).job
    assert (await reconcile_job(later(session, seconds=601), job)).verdict == "absent"


def another_clients(server: SandboxServer, prompt: str) -> str:
    values = {"prompt": prompt, "model": "sora-2", "size": "1280x720", "seconds": "4"}
    made = httpx2.post(f"{server.base_url}/videos", json=values, headers={"authorization": "Bearer other"})
    return str(made.raise_for_status().json()["id"])


async def test_without_a_video_of_our_own_no_time_keeps_a_video_from_being_ours(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    someone_else: Callable[..., str],
    later: Callable[..., Session],
) -> None:
    other = someone_else(prompt="a horse")
    job = await lost(later(session, days=1), kept=False)
    settlement = await reconcile_job(later(session, days=2), job)
    assert (settlement.verdict, settlement.candidates) == ("needs_person", (other,))
    assert "none of this ledger's videos in its list proves" in settlement.why


async def test_a_message_names_ten_of_many_videos_and_says_how_many_more_there_are(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    someone_else: Callable[..., str],
    later: Callable[..., Session],
) -> None:
    for _ in range(12):
        someone_else(prompt="a horse")
    settlement = await reconcile_job(later(session, days=1), await lost(session, kept=False))
    assert "and 2 more (`sora-ledger list` shows them)" in settlement.why
    assert (len(settlement.candidates), len(settlement.commands)) == (12, 11)


async def known_to(session: Session, video_id: str) -> None:
    """Adopt a video, so that the list is known to be ours."""
    async with session.connect(session.profile()) as client:
        await take_in(session, session.profile(), await client.observe(video_id), source="poll")


async def test_a_video_that_nearly_fits_keeps_absence_from_counting(
    session: Session, lost: Callable[..., Awaitable[Job]], someone_else: Callable[..., str]
) -> None:
    near = someone_else(size="720x1280")
    settlement = await reconcile_job(session, await lost(session, kept=False), grace_s=0)
    assert (settlement.verdict, settlement.candidates) == ("needs_person", (near,))
    assert "the size (720x1280, asked for 1280x720)" in settlement.why


async def test_a_clock_that_was_wrong_keeps_absence_from_counting(
    session: Session, lost: Callable[..., Awaitable[Job]], later: Callable[..., Session]
) -> None:
    job = await lost(later(session, days=1))
    settlement = await reconcile_job(later(session, days=3), job)
    assert settlement.verdict == "needs_person"
    assert "by the clocks it was created before or long after" in settlement.why


async def test_a_claimed_video_is_no_candidate(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    request_for: Callable[..., RenderRequest],
    later: Callable[..., Session],
) -> None:
    done = (await place(session, request_for())).job
    settlement = await reconcile_job(later(session, seconds=601), await lost(session, kept=False))
    assert (settlement.verdict, done.state) == ("absent", State.RUNNING)


async def test_an_attempt_under_way_for_the_same_makes_the_lost_one_wait(
    session: Session, lost: Callable[..., Awaitable[Job]], cut_off: Callable[..., Awaitable[Job]]
) -> None:
    job = await lost(session)
    await cut_off(session)
    assert (await reconcile_job(session, job)).verdict == "waiting"


async def test_another_accounts_list_proves_nothing(
    session: Session,
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    request_for: Callable[..., RenderRequest],
    lost: Callable[..., Awaitable[Job]],
    tmp_path: Path,
) -> None:
    await place(at(sandbox(data_dir=tmp_path / "another").base_url), request_for(prompt="elsewhere"))
    settlement = await reconcile_job(session, await lost(session, kept=False), grace_s=0)
    assert (settlement.verdict, settlement.job.state) == ("needs_person", State.UNKNOWN)


async def test_another_servers_list_says_nothing(
    at: Callable[[str], Session],
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    sandbox: Callable[..., SandboxServer],
    tmp_path: Path,
) -> None:
    job = await lost(session, kept=False)
    settlement = await reconcile_job(at(sandbox(data_dir=tmp_path / "b").base_url), job, grace_s=0)
    assert settlement.verdict == "needs_person"
    assert settlement.why.startswith(f"it was sent to {session.settings.base_url}")


@pytest.fixture
def imitating(
    at: Callable[[str], Session], sandbox: Callable[..., SandboxServer], settings: Settings
) -> Callable[..., Session]:
    """Open a session at a sandbox that behaves like another server."""

    def start(name: str, fault: str = "create=kept-but-answer-lost:1") -> Session:
        server = sandbox(clock=time.time, imitates=name, faults=(fault,))
        session: Session = at(server.base_url)
        return replace(session, settings=replace(session.settings, profile_name=name))

    return start


@pytest.mark.parametrize(
    ("name", "message"), [("litellm", "asks api.openai.com"), ("new-api", "new-api has no list")]
)
async def test_where_there_is_no_list_it_is_reported(
    imitating: Callable[..., Session], request_for: Callable[..., RenderRequest], name: str, message: str
) -> None:
    session = imitating(name)
    job = (await place(session, request_for(profile=name))).job
    settlement = await reconcile_job(session, job, grace_s=0)
    assert (settlement.verdict, settlement.job.state) == ("needs_person", State.UNKNOWN)
    assert message in settlement.why


async def test_a_list_that_forgets_proves_nothing(
    imitating: Callable[..., Session], request_for: Callable[..., RenderRequest]
) -> None:
    session = imitating("sglang")
    job = (await place(session, request_for(profile="sglang"))).job
    settlement = await reconcile_job(session, job, grace_s=0)
    assert (settlement.verdict, settlement.job.state) == ("needs_person", State.UNKNOWN)
    assert "which proves nothing" in settlement.why


async def test_a_video_is_found_in_a_list_that_proves_nothing(
    session: Session, lost: Callable[..., Awaitable[Job]]
) -> None:
    job = await lost(session, profile="custom")
    assert (await reconcile_job(session, job)).verdict == "recovered"


async def test_what_is_absent_can_be_resumed(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    created: Callable[[], list[dict[str, Any]]],
    later: Callable[..., Session],
) -> None:
    absent = await reconcile_job(later(session, seconds=601), await lost(session, kept=False))
    again = await resume(session, absent.job)
    assert (again.job.state, len(created())) == (State.RUNNING, 1)


async def told(session: Session, video_id: str) -> None:
    """Record a webhook in the inbox."""
    webhook = WebhookReceived(
        webhook_event_id="evt_1", delivery_id="wh_1", webhook_type="video.completed", video_id=video_id
    )
    await session.append(f"inbox_{session.profile().name}", ANY, [session.draft(webhook)])


def made_at(session: Session) -> str:
    origin = str(session.settings.base_url).removesuffix("/v1")
    return str(httpx2.get(f"{origin}/_sandbox/jobs").json()["data"][0]["id"])


async def test_a_webhook_names_the_video_where_there_is_no_list(
    imitating: Callable[..., Session],
    request_for: Callable[..., RenderRequest],
    event: LastEvent,
) -> None:
    session = imitating("new-api")
    job = (await place(session, request_for(profile="new-api"))).job
    await told(session, made_at(session).replace("video_", "task_"))
    found = await reconcile_job(session, job)
    assert (found.verdict, event(found.job, SubmissionRecovered).how) == ("recovered", "webhook")


async def test_a_webhook_about_a_video_the_server_does_not_have_proves_nothing(
    imitating: Callable[..., Session], request_for: Callable[..., RenderRequest]
) -> None:
    session = imitating("new-api")
    job = (await place(session, request_for(profile="new-api"))).job
    await told(session, "task_none")
    assert (await reconcile_job(session, job)).verdict == "needs_person"


async def test_absence_is_concluded_from_the_whole_list_although_less_is_read_to_find(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    request_for: Callable[..., RenderRequest],
    later: Callable[..., Session],
) -> None:
    times = [time.time() - 100]
    server = sandbox(clock=lambda: times[-1])
    session = at(server.base_url)
    for prompt in ("an owl", "a horse"):
        await place(session, request_for(prompt=prompt))
        times.append(times[-1] + 50)
    httpx2.post(f"{server.origin}/_sandbox/faults", json={"faults": ["create=lost:1"]})
    job = (await place(session, request_for())).job
    young = await reconcile_job(session, job)
    lists = [listed(server)]
    old = await reconcile_job(later(session, seconds=601), job)
    lists.append(listed(server))
    assert (young.verdict, old.verdict, lists) == ("waiting", "absent", [1, 3])


def listed(server: SandboxServer) -> int:
    return int(httpx2.get(f"{server.origin}/_sandbox/requests").json()["lists"])


async def test_a_webhook_about_a_video_the_list_does_not_show_keeps_absence_from_counting(
    session: Session, lost: Callable[..., Awaitable[Job]], later: Callable[..., Session]
) -> None:
    job = await lost(session, kept=False)
    await told(session, "video_unseen")
    settlement = await reconcile_job(later(session, seconds=601), job)
    assert settlement.verdict == "needs_person"
    assert "a webhook announced video_unseen, which the server does not show" in settlement.why


async def test_a_list_without_a_video_that_another_job_waits_for_proves_nothing(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    later: Callable[..., Session],
    request_for: Callable[..., RenderRequest],
    forget: Callable[[str], None],
) -> None:
    await place(session, request_for(prompt="an owl"))
    other = (await place(session, request_for(prompt="a horse"))).job
    forget(other.video_id or "")
    settlement = await reconcile_job(later(session, seconds=601), await lost(session, kept=False))
    assert settlement.verdict == "needs_person"
    assert f"it does not show {other.video_id}, which {other.job_id} waits for" in settlement.why


async def test_a_webhook_alone_names_no_video_where_the_server_shows_no_prompt(
    imitating: Callable[..., Session], request_for: Callable[..., RenderRequest]
) -> None:
    session = imitating("litellm")
    job = (await place(session, request_for(profile="litellm"))).job
    async with session.connect(session.profile("litellm")) as client:
        name = as_litellm_names(made_at(session))
        assert (await client.observe(name)).prompt is None
    await told(session, name)
    settlement = await reconcile_job(session, job, grace_s=0)
    assert (settlement.verdict, settlement.candidates) == ("needs_person", (name,))


def as_litellm_names(video_id: str) -> str:
    raw = f"litellm:custom_llm_provider:openai;model_id:;video_id:{video_id};deployment_id:9f31c2"
    return "video_" + b64encode(raw.encode()).decode()


async def test_a_refusal_of_litellm_proves_nothing(
    imitating: Callable[..., Session], request_for: Callable[..., RenderRequest]
) -> None:
    session = imitating("litellm", "create=refused@invalid_api_key:1")
    job = (await place(session, request_for(profile="litellm"))).job
    settlement = await reconcile_job(session, job, grace_s=0)
    assert (job.state, settlement.verdict) == (State.UNKNOWN, "needs_person")


async def test_a_refusal_of_a_server_that_checks_first_is_no_lost_submission(
    session: Session, plan: Callable[..., httpx2.Response], request_for: Callable[..., RenderRequest]
) -> None:
    plan("create=refused@invalid_api_key:1")
    job = (await place(session, request_for())).job
    assert (await reconcile_job(session, job)).verdict == "settled"


@pytest.fixture
def before_recording(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Have something happen just before the next finding is recorded."""

    def once(happens: Callable[[], Any]) -> None:
        advance = Session.advance

        async def interrupted(session: Session, job: Job, drafts: Any, **more: Any) -> Job:
            monkeypatch.setattr(Session, "advance", advance)
            await happens()
            return await session.advance(job, drafts, **more)

        monkeypatch.setattr(Session, "advance", interrupted)

    return once


async def note(session: Session, job: Job) -> None:
    drafts = [session.draft(NoteRecorded(text=Private.seal("text", "it takes long")))]
    await session.append(job.job_id, ANY, drafts)


async def test_a_video_that_another_job_got_in_between_is_not_recovered(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    created: Callable[[], list[dict[str, Any]]],
    before_recording: Callable[[Callable[[], Any]], None],
) -> None:
    job, other = await lost(session), await lost(session, kept=False)
    [video] = created()

    async def claimed() -> None:
        await note(session, job)
        got = SubmissionRecovered(
            attempt_id=other.attempt_id, video_id=video["id"], how="list", status="queued"
        )
        claim = claim_id(server_name("openai", session.settings.base_url), video["id"])
        await session.advance(other, [session.draft(got, event_id=claim)])

    before_recording(claimed)
    settlement = await reconcile_job(session, job)
    assert (settlement.verdict, settlement.why) == ("waiting", "another job has just claimed its video")
    assert settlement.job == await session.job(job.job_id)


async def test_a_note_that_comes_in_between_keeps_no_video_from_being_recovered(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    types: Types,
    before_recording: Callable[[Callable[[], Any]], None],
) -> None:
    job = await lost(session)
    before_recording(lambda: note(session, job))
    settlement = await reconcile_job(session, job)
    assert (settlement.verdict, settlement.job.state) == ("recovered", State.RUNNING)
    assert types(job)[-2:] == ["note.recorded", "submission.recovered"]


async def test_a_server_that_cannot_be_asked_ends_the_search_for_its_only_jobs(
    session: Session, lost: Callable[..., Awaitable[Job]], at: Callable[[str], Session]
) -> None:
    job = await lost(session)
    with pytest.raises(AdapterError):
        await reconcile(at("http://127.0.0.1:1/v1"), [job])


async def test_the_open_attempts_of_a_profile_are_those_of_its_own_jobs(
    session: Session, lost: Callable[..., Awaitable[Job]]
) -> None:
    job = await lost(session)
    [found] = open_attempts(session.ledger, "openai")
    assert (found.job.job_id, open_attempts(session.ledger, "litellm")) == (job.job_id, [])
