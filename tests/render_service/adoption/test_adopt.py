"""Videos of other tools are taken in once, and are jobs like any other from then on."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from decision.request.request import RenderRequest
from ledger.events import CostSettled, RenderAdopted
from ledger.job import Job
from ledger.terms import Outcome, State, Status, Variant
from render_service.adoption.adopt import _await_all, adopt, archive, take_in
from render_service.adoption.server_library import list_all
from render_service.runtime.errors import AssetUnusable
from render_service.runtime.settings import Settings
from render_service.session.event_ids import claim_id
from render_service.session.servers import server_name
from render_service.session.session import Session
from render_service.settlement.settle import fetch, settle
from render_service.submission.submit import place
from sora_adapter.errors import OperationUnsupported, ServerUnreachable, VideoNotFound
from sora_adapter.models import Observation
from sora_adapter.sandbox.server import SandboxServer
from tests.conftest import Clock, Faults
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio

Made = Callable[..., str]


@pytest.fixture
def make_video(session: Session) -> Made:
    """Make a video as another tool does; return its id."""

    def make(**changes: Any) -> str:
        values = {"prompt": "a heron", "size": "1280x720", "seconds": "4"} | changes
        headers = {"authorization": "Bearer any"}
        answer = httpx2.post(f"{session.settings.base_url}/videos", json=values, headers=headers)
        return str(answer.json()["id"])

    return make


async def test_an_adopted_video_says_what_it_is_and_keeps_its_prompt_private(
    session: Session, make_video: Made, event: LastEvent
) -> None:
    job, now = await adopt(session, make_video())
    taken = event(job, RenderAdopted)
    assert (now, job.size, job.seconds, job.model) == (True, "1280x720", 4, "sora-2")
    assert (taken.prompt.text, "heron" in str(taken)) == ("a heron", False)


async def test_a_video_that_is_done_is_adopted_as_completed(
    session: Session, make_video: Made, types: Callable[[Job], list[str]]
) -> None:
    job, _ = await adopt(session, make_video())
    assert (job.state, types(job)) == (State.COMPLETED, ["render.adopted", "status.observed"])


async def test_adopting_twice_gives_one_job(session: Session, make_video: Made) -> None:
    video_id = make_video()
    first, _ = await adopt(session, video_id)
    assert await adopt(session, video_id) == (first, False)


async def test_two_processes_that_adopt_at_once_give_one_job(
    session: Session, make_video: Made, at: Callable[[str], Session], intact: Callable[[], bool]
) -> None:
    video_id, other = make_video(), at(str(session.settings.base_url))
    adopted = await asyncio.gather(*(adopt(who, video_id) for who in (session, other) for _ in range(4)))
    assert len({job.job_id for job, _ in adopted}) == 1
    assert sum(now for _, now in adopted) == 1
    assert (len(session.ledger.jobs()), intact()) == (1, True)


async def test_the_later_of_two_adoptions_finds_the_job_of_the_earlier(
    session: Session, make_video: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await adopt(session, make_video())

    async def not_seen_yet(*_: Any) -> None:
        return None

    monkeypatch.setattr("render_service.recovery.search.find_known_job", not_seen_yet)
    observation = Observation(video_id=str(first.video_id), status=Status.COMPLETED)
    assert await take_in(session, session.profile(), observation, source="list") == (first, False)


async def test_the_same_id_at_another_server_is_another_video() -> None:
    one, other = (server_name("custom", f"http://{host}/v1") for host in ("a.example", "b.example"))
    assert claim_id(one, "video_1") != claim_id(other, "video_1")


@pytest.mark.parametrize("spelling", ["https://a.example/v1/", "HTTPS://A.example:443/v1"])
async def test_a_server_has_one_name_however_its_address_is_spelled(spelling: str) -> None:
    assert server_name("openai", spelling) == server_name("custom", "https://a.example/v1")


async def test_a_video_the_server_does_not_have_is_not_adopted(session: Session) -> None:
    with pytest.raises(VideoNotFound):
        await adopt(session, "video_nowhere")
    assert session.ledger.jobs() == []


async def test_an_adopted_video_is_settled_like_any_other(
    session: Session, make_video: Made, types: Callable[[Job], list[str]], intact: Callable[[], bool]
) -> None:
    job, _ = await adopt(session, make_video())
    job = await settle(session, job, interval_s=0.05, timeout_s=10)
    assert (job.outcome, types(job)[-3:]) == (
        Outcome.STORED,
        ["asset.stored", "provenance.observed", "render.closed"],
    )
    assert intact()


async def test_no_cost_is_claimed_for_a_video_that_was_paid_for_elsewhere(
    session: Session, make_video: Made, types: Callable[[Job], list[str]]
) -> None:
    job, _ = await adopt(session, make_video())
    job = await settle(session, job, interval_s=0.05, timeout_s=10)
    assert (job.settled_usd_micros, CostSettled.type in types(job)) == (None, False)


async def test_an_archive_holds_every_video_and_its_files(
    session: Session, make_video: Made, intact: Callable[[], bool]
) -> None:
    ids = {make_video() for _ in range(3)} | {make_video(prompt="a [fail] owl")}
    done = await archive(session)
    assert (done.listed, done.adopted, done.stored, done.thumbnails, done.failed) == (4, 4, 3, 3, 1)
    assert {job.video_id for job in session.ledger.jobs()} == ids
    assert {job.outcome for job in session.ledger.jobs()} == {Outcome.STORED, Outcome.FAILED}
    assert (done.complete, intact()) == (True, True)


async def test_an_archive_is_complete_without_a_thumbnail_that_cannot_be_stored(
    session: Session, make_video: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch_videos_only(session: Session, job: Job, variant: Variant) -> Job:
        if variant is Variant.THUMBNAIL:
            raise AssetUnusable("thumbnail: the server sent video/mp4")
        return await fetch(session, job, variant)

    monkeypatch.setattr("render_service.adoption.adopt.fetch", fetch_videos_only)
    video_id = make_video()
    done = await archive(session)
    assert (done.stored, done.thumbnails, done.troubles, done.complete) == (1, 0, [], True)
    assert [missing["video_id"] for missing in done.missing_thumbnails] == [video_id]


async def test_an_archive_begun_again_fetches_nothing_twice(session: Session, make_video: Made) -> None:
    make_video()
    await archive(session)
    size = session.ledger.head().size
    again = await archive(session)
    assert (again.adopted, again.known, again.stored, again.thumbnails) == (0, 1, 0, 0)
    assert session.ledger.head().size == size


async def test_an_archive_goes_on_where_it_was_stopped(session: Session, make_video: Made) -> None:
    job, _ = await adopt(session, make_video())
    make_video()
    done = await archive(session)
    assert (done.adopted, done.known, done.stored) == (1, 1, 2)
    assert session.ledger.job(job.job_id).assets.keys() == {Variant.VIDEO, Variant.THUMBNAIL}


async def test_an_archive_counts_what_is_not_done_yet(
    sandbox: Callable[..., SandboxServer],
    at: Callable[[str], Session],
    request_for: Callable[..., RenderRequest],
) -> None:
    session = at(sandbox(render_seconds=60).base_url)
    await place(session, request_for())
    done = await archive(session)
    assert (done.known, done.running, done.stored) == (1, 1, 0)


async def test_a_video_whose_file_is_gone_is_counted_and_the_others_are_stored(
    session: Session, make_video: Made, clock: Clock
) -> None:
    old = make_video()
    await asyncio.to_thread(httpx2.get, f"{session.settings.base_url}/videos/{old}")
    clock.now += 4_000
    make_video()
    done = await archive(session)
    assert (done.stored, done.complete, [trouble["video_id"] for trouble in done.troubles]) == (
        1,
        False,
        [old],
    )
    assert (await archive(session)).lost == 1


async def test_more_than_a_page_is_archived_and_listed_whole(session: Session, make_video: Made) -> None:
    ids = [make_video(prompt="a [fail] owl") for _ in range(103)]
    page = await list_all(session.settings, session.trace, after=None, order="asc")
    assert ([observation.video_id for observation in page.observations], page.has_more) == (ids, False)
    assert (await archive(session)).adopted == 103


async def test_a_video_that_may_answer_a_lost_submission_is_left_alone(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    video: Callable[..., bytes],
) -> None:
    found = video(size="1280x720", seconds="4").decode()
    faults.then(0).then(200, f'{{"object": "list", "data": [{found}], "has_more": false}}'.encode())
    session = at(faults.base_url)
    lost = (await place(session, request_for())).job
    done = await archive(session)
    assert (lost.state, done.left) == (State.UNKNOWN, [{"video_id": "video_1", "job_id": lost.job_id}])
    assert len(session.ledger.jobs()) == 1


async def test_trouble_with_the_server_ends_an_archive_as_what_it_is() -> None:
    ended: list[str] = []

    async def fails() -> None:
        raise ServerUnreachable("gone")

    async def goes_on() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    with pytest.raises(ServerUnreachable, match="gone"):
        await _await_all([goes_on(), fails()])
    assert ended == ["cancelled"]


async def test_a_server_that_cannot_list_is_reported_before_anything_is_asked(
    settings: Settings, at: Callable[[str], Session], sandbox: Callable[..., SandboxServer]
) -> None:
    session = at(sandbox().base_url)
    object.__setattr__(session.settings, "profile_name", "litellm")
    with pytest.raises(OperationUnsupported, match="does not offer a list of its videos"):
        await archive(session)
