"""An audit finds what is not accounted for, and nothing else."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from msgspec import structs

from decision.request.request import RenderRequest
from ledger.events import AssetLost, StatusObserved, SubmissionAccepted
from ledger.job import Job
from ledger.store.interface import NEW
from ledger.terms import Outcome, State, Status, Variant
from render_service.adoption.server_library import delete
from render_service.recovery.audit import Audit, Scope, audit, count_attempts_at
from render_service.recovery.findings import check_jobs, deal_with
from render_service.recovery.reconcile import declare_absent, reconcile_job
from render_service.runtime.errors import BadInput
from render_service.session.jobs import list_closing_events
from render_service.session.session import Session, utc_now
from render_service.submission.submit import place

pytestmark = pytest.mark.anyio


async def audited(session: Session, **scope: Any) -> Audit:
    return await audit(session.ledger, session.settings, session.trace, Scope(**scope))


def codes(done: Audit) -> list[str]:
    return [finding.code for finding in done.findings]


async def test_a_stored_render_leaves_nothing_to_look_at(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    await stored(session)
    assert codes(await audited(session)) == []


async def test_a_render_that_runs_is_no_finding(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    await place(session, request_for())
    assert codes(await audited(session)) == []


async def test_every_attempt_has_its_standing(
    session: Session,
    stored: Callable[..., Awaitable[Job]],
    lost: Callable[..., Awaitable[Job]],
    cut_off: Callable[..., Awaitable[Job]],
    plan: Callable[..., httpx2.Response],
    request_for: Callable[..., RenderRequest],
    later: Callable[..., Session],
) -> None:
    await stored(session, prompt="accepted")
    await reconcile_job(session, await lost(session, prompt="recovered"))
    await reconcile_job(later(session, seconds=601), await lost(session, kept=False, prompt="absent"))
    await lost(session, prompt="unknown")
    await cut_off(session, prompt="in flight")
    plan("create=429:1")
    await place(session, request_for(prompt="rejected"))
    assert (await audited(session)).attempts.document() == {
        "intended": 6,
        "accepted": 1,
        "rejected": 1,
        "recovered": 1,
        "absent": 1,
        "unknown": 1,
        "in_flight": 1,
    }


async def test_the_attempts_add_up_at_every_position(
    session: Session, lost: Callable[..., Awaitable[Job]], cut_off: Callable[..., Awaitable[Job]]
) -> None:
    await reconcile_job(session, await lost(session))
    await cut_off(session, prompt="in flight")
    size = session.ledger.head().size
    counted = [count_attempts_at(session.ledger, position) for position in range(1, size + 1)]
    assert all(one.adds_up for one in counted)
    assert [(one.intended, one.standing["unknown"]) for one in counted] == [
        *[(0, 0)] * 3,
        (1, 0),  # intended
        (1, 1),  # unknown
        *[(1, 0)] * 3,  # recovered; the other job is requested and decided
        (2, 0),
    ]


async def test_an_outcome_without_its_intent_does_not_add_up(session: Session) -> None:
    stray = SubmissionAccepted(attempt_id="attempt_x", video_id="video_x", status=Status.QUEUED)
    await session.append("elsewhere", NEW, [session.draft(stray)])
    assert codes(await audited(session)) == ["ATTEMPTS_DO_NOT_ADD_UP"]


async def test_an_intent_nobody_hears_of_is_found_after_the_grace_period(
    session: Session, cut_off: Callable[..., Awaitable[Job]]
) -> None:
    job = await cut_off(session)
    found = [codes(await audited(session, grace_s=grace_s)) for grace_s in (300, 0)]
    assert found == [[], ["INTENT_OPEN"]]
    [finding] = (await audited(session, grace_s=0)).findings
    assert finding.do == f"sora-ledger reconcile {job.job_id}"


async def test_open_intents_are_shown_with_their_age(
    session: Session, cut_off: Callable[..., Awaitable[Job]]
) -> None:
    job = await cut_off(session)
    [shown] = (await audited(session)).document()["open"]
    assert (shown["job_id"], shown["state"]) == (job.job_id, "submitting")
    assert 0 <= shown["age_s"] < 60


async def test_an_intent_recorded_in_the_future_is_not_taken_for_an_old_one(
    session: Session, cut_off: Callable[..., Awaitable[Job]]
) -> None:
    job = await cut_off(replace(session, clock=lambda: utc_now() + timedelta(days=365)))
    [shown] = (await audited(session)).document()["open"]
    assert (shown["job_id"], shown["age_s"]) == (job.job_id, 0)


async def test_a_lost_answer_is_found_with_its_video(
    session: Session, lost: Callable[..., Awaitable[Job]]
) -> None:
    job = await lost(session)
    done = await audited(session)
    assert codes(done) == ["OUTCOME_UNKNOWN", "VIDEO_UNCLAIMED"]
    assert {finding.do for finding in done.findings} == {f"sora-ledger reconcile {job.job_id}"}


async def test_a_video_of_another_person_is_found(
    session: Session, stored: Callable[..., Awaitable[Job]], someone_else: Callable[..., str]
) -> None:
    await stored(session)
    video = someone_else()
    [finding] = (await audited(session)).findings
    assert (finding.code, finding.do) == ("VIDEO_UNCLAIMED", f"sora-ledger adopt --id {video}")


async def test_a_video_that_was_declared_absent_by_mistake_is_found_with_its_job(
    session: Session, lost: Callable[..., Awaitable[Job]], created: Callable[[], list[dict[str, Any]]]
) -> None:
    job = (await declare_absent(session, await lost(session), "by mistake")).job
    [finding] = (await audited(session)).findings
    assert finding.do == f"sora-ledger reconcile {job.job_id} --video-id {created()[0]['id']}"


async def test_the_video_of_a_call_under_way_is_no_finding(
    session: Session, cut_off: Callable[..., Awaitable[Job]], someone_else: Callable[..., str]
) -> None:
    await cut_off(session)
    someone_else()
    assert codes(await audited(session)) == []


async def test_offline_asks_nobody(
    session: Session, stored: Callable[..., Awaitable[Job]], someone_else: Callable[..., str]
) -> None:
    await stored(session)
    someone_else()
    done = await audited(session, offline=True)
    assert (codes(done), done.servers[0].listed, done.servers[0].because) == (
        [],
        None,
        "not asked (--offline)",
    )


async def test_servers_that_were_not_asked_are_reported(
    session: Session, stored: Callable[..., Awaitable[Job]], request_for: Callable[..., RenderRequest]
) -> None:
    await stored(session)
    await place(session, request_for(profile="custom"))
    looks = [(one.profile, one.because) for one in (await audited(session)).servers]
    assert looks == [("openai", None), ("custom", "not asked; --profile custom asks it")]


async def test_another_address_of_the_same_profile_is_reported_as_unasked(
    session: Session,
    at: Callable[[str], Session],
    stored: Callable[..., Awaitable[Job]],
    cut_off: Callable[..., Awaitable[Job]],
) -> None:
    await stored(session)
    await cut_off(at("http://127.0.0.1:9/v1"))
    looks = [(one.server, one.because) for one in (await audited(session)).servers]
    assert looks[1:] == [("http://127.0.0.1:9/v1", "not asked; OPENAI_BASE_URL names another server")]


async def test_a_server_without_a_list_is_reported_to_have_none(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    await stored(session)
    elsewhere = replace(session.settings, profile_name="new-api")
    done = await audit(session.ledger, elsewhere, session.trace, Scope())
    assert (codes(done), "new-api has no list" in str(done.servers[0].because)) == ([], True)


async def test_an_attempt_that_was_cut_off_under_a_wrong_clock_is_found(
    session: Session, cut_off: Callable[..., Awaitable[Job]]
) -> None:
    await cut_off(replace(session, clock=lambda: utc_now() + timedelta(days=365)))
    assert codes(await audited(session)) == ["INTENT_OPEN"]


async def test_a_failed_render_is_spend_without_an_asset(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    job = await stored(session, prompt="a fox [fail]")
    [finding] = (await audited(session)).findings
    assert (finding.code, finding.subject, job.state) == ("SPEND_WITHOUT_ASSET", job.job_id, State.FAILED)
    assert finding.found.startswith("0.40 USD (estimated)")


async def test_a_video_deleted_before_it_was_fetched_is_spend_without_an_asset(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    job = (await place(session, request_for())).job
    await delete(session, job)
    assert codes(await audited(session)) == ["SPEND_WITHOUT_ASSET"]


async def test_a_video_that_was_fetched_may_be_deleted(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    await delete(session, await stored(session))
    assert codes(await audited(session)) == []


async def test_a_video_that_expired_unfetched_is_found_before_anyone_records_it(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    job = (await place(session, request_for())).job
    gone = int((utc_now() - timedelta(minutes=1)).timestamp())
    done = StatusObserved(
        video_id=job.video_id or "", status=Status.COMPLETED, source="poll", expires_at=gone
    )
    await session.advance(job, [session.draft(done)])
    assert codes(await audited(session)) == ["ASSET_EXPIRED"]


async def test_a_lost_video_is_reported_once(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    job = (await place(session, request_for())).job
    done = StatusObserved(video_id=job.video_id or "", status=Status.COMPLETED, source="poll")
    lost = AssetLost(variant=Variant.VIDEO, cause="expired")
    job = await session.advance(job, [session.draft(done), session.draft(lost)])
    assert codes(await audited(session)) == ["ASSET_EXPIRED"]


async def test_a_video_that_was_lost_before_it_was_done_is_not_reported_to_have_been_done(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    job = (await place(session, request_for())).job
    await session.advance(job, [session.draft(AssetLost(variant=Variant.VIDEO, cause="gone"))])
    [finding] = (await audited(session)).findings
    assert (finding.code, "was never seen completed" in finding.found) == ("ASSET_EXPIRED", True)


async def test_a_running_job_whose_video_is_listed_no_more_is_found_with_the_way_out(
    session: Session,
    stored: Callable[..., Awaitable[Job]],
    request_for: Callable[..., RenderRequest],
    forget: Callable[[str], None],
    later: Callable[..., Session],
) -> None:
    await stored(session)
    job = (await place(session, request_for())).job
    forget(job.video_id)
    [finding] = (await audited(session)).findings
    assert (finding.code, finding.subject) == ("VIDEO_MISSING", job.job_id)
    await delete(later(session, days=2), job)
    assert codes(await audited(session)) == ["SPEND_WITHOUT_ASSET"]


async def test_a_list_without_any_of_our_videos_says_nothing_about_those_missing(
    session: Session, request_for: Callable[..., RenderRequest], forget: Callable[[str], None]
) -> None:
    job = (await place(session, request_for())).job
    forget(job.video_id)
    assert codes(await audited(session)) == []


async def test_a_video_that_expired_is_dealt_with_once_it_is_recorded_as_lost(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    job = (await place(session, request_for())).job
    gone = int((utc_now() - timedelta(minutes=1)).timestamp())
    done = StatusObserved(
        video_id=job.video_id or "", status=Status.COMPLETED, source="poll", expires_at=gone
    )
    job = await session.advance(job, [session.draft(done)])
    with pytest.raises(BadInput, match="not over"):
        await deal_with(session, job.job_id, "rendered again")
    job = await session.advance(job, [session.draft(AssetLost(variant=Variant.VIDEO, cause="expired"))])
    await session.advance(
        job, [session.draft(event) for event in list_closing_events(session.clock(), job, Outcome.LOST)]
    )
    await deal_with(session, job.job_id, "rendered again")
    after = await audited(session)
    assert (codes(after), [one.code for one in after.dealt_with]) == ([], ["ASSET_EXPIRED"])


async def test_a_finding_is_dealt_with_once(session: Session, stored: Callable[..., Awaitable[Job]]) -> None:
    job = await stored(session, prompt="a fox [fail]")
    await deal_with(session, job.job_id, "not billed")
    with pytest.raises(BadInput, match="already dealt with"):
        await deal_with(session, job.job_id, "not billed")


async def test_since_leaves_out_what_was_begun_before(
    session: Session, stored: Callable[..., Awaitable[Job]], lost: Callable[..., Awaitable[Job]]
) -> None:
    await stored(session, prompt="a fox [fail]")
    job = await lost(session)
    assert codes(await audited(session, since=job.created_at, offline=True)) == ["OUTCOME_UNKNOWN"]


async def test_two_jobs_with_one_video_are_found(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    job = await stored(session)
    twin = structs.replace(job, job_id="job_twin")
    found = list(check_jobs([job, twin], utc_now()))
    assert [finding.code for finding in found] == ["VIDEO_CLAIMED_TWICE"]
