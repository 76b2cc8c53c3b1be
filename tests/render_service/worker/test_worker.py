"""A worker does what is due and hands back what it cannot do; the server's own count is the oracle."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import httpx2
import pytest

from decision.request.request import RenderRequest
from ledger.errors import LedgerUnusable, StaleFence
from ledger.events import PrivateErased, ProjectionRecorded
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.log.replay import replay
from ledger.private import private_values
from ledger.record import new_job_id
from ledger.store.interface import ANY
from ledger.store.queue import Lease, Release
from ledger.terms import State
from render_service.evidence import recorded_checks
from render_service.evidence.recorded_checks import record_projection_if_due
from render_service.runtime.errors import NotReady
from render_service.session.session import utc_now
from render_service.settlement.overdue import give_up
from render_service.submission import submit
from render_service.submission.intent import intended
from render_service.submission.resume import cancel, resume
from render_service.submission.retry import LATEST_S, may_send
from render_service.submission.submit import place
from render_service.worker import steps, worker
from render_service.worker.leases import Leases, WorkerOptions
from render_service.worker.worker import Worker
from sora_adapter.sandbox.server import SandboxServer
from tests.conftest import Clock, Faults
from tests.render_service.worker.conftest import Bench

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9/v1"
CARRIED_OUT = {
    "render.requested": 1,
    "render.decided": 1,
    "submission.intended": 1,
    "submission.accepted": 1,
    "status.observed": 1,
    "asset.stored": 1,
    "provenance.observed": 1,
    "cost.settled": 1,
    "render.closed": 1,
}


def asked(server: SandboxServer) -> dict[str, int]:
    return dict(httpx2.get(f"{server.origin}/_sandbox/requests").json())


async def states(here: Any, jobs: list[Job]) -> set[State]:
    return {(await here.job(job)).state for job in jobs}


async def test_a_queued_job_is_submitted_watched_stored_and_closed(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer], intact: Callable[[], bool]
) -> None:
    here = bench(sandbox().base_url)
    (job,) = await here.queued()
    worked = await here.work()
    assert (worked.submitted, worked.closed) == (1, 1)
    assert here.types(job) == CARRIED_OUT
    assert intact()


async def test_an_intent_names_the_lease_it_was_made_under(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    here = bench(sandbox().base_url)
    (job,) = await here.queued()
    await here.work()
    history = here.session.ledger.history(job.job_id)
    assert [r.event.fence for r in history if r.type == "submission.intended"] == [1]


async def test_a_render_that_takes_a_while_is_looked_at_until_it_is_done(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer], clock: Clock
) -> None:
    seconds = count(int(clock.now))
    server = sandbox(render_seconds=20, clock=lambda: float(next(seconds)))  # each look takes time
    here = bench(server.base_url)
    jobs = await here.queued(3)
    await here.work()
    assert await states(here, jobs) == {State.STORED}
    assert asked(server)["creates"] == 3


async def test_many_jobs_cost_few_requests(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    server = sandbox()
    here = bench(server.base_url)
    await here.queued(30)
    await here.work()
    requests = asked(server)
    assert requests.pop("contents") in range(30, 34)  # one that is not rendered in time is asked for again
    assert sum(requests.values()) < 2 * 30


async def test_jobs_that_are_polled_together_are_released_in_one_transaction(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = bench(sandbox(render_seconds=3_600).base_url)
    await here.queued(20)
    store, loop, sizes = here.session.ledger.store, asyncio.get_running_loop(), list[int]()
    released = store.queue.release_all

    def release_all(releases: Sequence[Release]) -> list[Lease]:
        sizes.append(len(releases))
        if sum(sizes) >= 20:
            loop.call_soon_threadsafe(here.log.info, "all.released")
        return released(releases)

    monkeypatch.setattr(store.queue, "release_all", release_all)
    await here.work(until="all.released", interval_s=3_600.0)
    assert max(sizes) >= 10


async def test_whose_server_a_render_is_needs_no_reading_if_it_was_sent_from_here(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = bench(sandbox(render_seconds=3_600).base_url)
    (job,) = await here.queued()
    running = await resume(here.session, job)
    monkeypatch.setattr(here.session.ledger, "history", None)
    await here.session.check_server(running.job)


async def test_an_unreachable_server_puts_a_job_off_and_ends_nothing(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    away = bench(NOWHERE)
    (job,) = await away.queued()
    await away.work(until="server.at_capacity")
    now = await away.job(job)
    assert (now.state, now.outcome) == (State.ABSENT, None)
    back = bench(sandbox().base_url)
    await back.work()
    assert (await back.job(job)).state is State.STORED


async def test_an_answer_that_was_lost_is_found_and_nothing_is_sent_twice(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer], intact: Callable[[], bool]
) -> None:
    server = sandbox(faults=("create=kept-but-answer-lost:2",), clock=time.time)
    here = bench(server.base_url)
    jobs = await here.queued(3)
    await here.work()
    assert await states(here, jobs) == {State.STORED}
    assert asked(server)["creates"] == 3
    assert here.types(*jobs)["submission.recovered"] == 2
    assert intact()


async def test_a_job_that_needs_a_person_is_left_to_one(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    server = sandbox(faults=("create=kept-but-answer-lost:1",), imitates="litellm", clock=time.time)
    here = bench(server.base_url, profile="litellm")
    (job,) = await here.queued()
    await here.work(until="job.needs_a_person")
    assert (await here.job(job)).state is State.UNKNOWN
    tally = here.session.ledger.store.tally()
    assert (tally.due, tally.waiting, asked(server)["creates"]) == (0, 1, 1)


async def test_a_server_at_capacity_is_asked_again_until_every_job_is_done(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    server = sandbox(faults=("create=429@1:2",))
    here = bench(server.base_url)
    jobs = await here.queued(4)
    await here.work()
    assert await states(here, jobs) == {State.STORED}
    assert here.types(*jobs)["submission.rejected"] == 2
    assert min(line["pause_s"] for line in here.log.said("server.at_capacity")) >= 1.0


async def test_too_many_running_tasks_are_waited_out(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    server = sandbox(running_jobs=1, render_seconds=0.2, clock=time.time)
    here = bench(server.base_url)
    jobs = await here.queued(2)
    await here.work()
    assert await states(here, jobs) == {State.STORED}


async def test_no_more_jobs_run_than_workers_may_have_together(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    server = sandbox(running_jobs=2, render_seconds=0.2, clock=time.time)
    one, other = bench(server.base_url), bench(server.base_url)
    jobs = await one.queued(6)
    await asyncio.gather(one.work(running={"sora-2": 2}), other.work(running={"sora-2": 2}))
    assert await states(one, jobs) == {State.STORED}
    assert one.types(*jobs)["submission.rejected"] == 0


async def test_requests_of_all_workers_together_are_spaced(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    server = sandbox()
    one, other = bench(server.base_url), bench(server.base_url)
    jobs = await one.queued(5)
    began = time.monotonic()
    await asyncio.gather(*(here.work(per_minute={"sora-2": 240}) for here in (one, other)))
    assert time.monotonic() - began > 4 * 60 / 240
    assert await states(one, jobs) == {State.STORED}


@pytest.mark.parametrize("workers", [2, 4])
async def test_workers_on_one_file_submit_each_job_once(
    bench: Callable[..., Bench],
    sandbox: Callable[..., SandboxServer],
    intact: Callable[[], bool],
    workers: int,
) -> None:
    server = sandbox()
    all_of_them = [bench(server.base_url) for _ in range(workers)]
    jobs = await all_of_them[0].queued(20)
    await asyncio.gather(*(here.work(at_once=3) for here in all_of_them))
    assert await states(all_of_them[0], jobs) == {State.STORED}
    assert asked(server)["creates"] == 20
    assert intact()


# --- what is not submitted ---


async def test_a_job_that_cannot_be_sent_waits_for_a_person_and_takes_nobodys_slot(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    here = bench(sandbox().base_url)
    erased, fine = await here.queued(2)
    first = here.session.ledger.history(erased.job_id)[0]
    commitments = tuple(private.commitment for _, private in private_values(first.event))
    gone = PrivateErased(commitments=commitments, reason_code="asked")
    await here.session.append("ledger", ANY, [here.session.draft(gone)])
    await here.work(until="render.closed", running={"sora-2": 1}, at_once=1)
    assert [(await here.job(job)).state for job in (erased, fine)] == [State.DECIDED, State.STORED]
    assert {line["job_id"] for line in here.log.said("job.trouble")} == {erased.job_id}
    assert here.session.ledger.store.tally().waiting == 1


async def test_a_fault_of_ours_with_one_job_keeps_no_other_from_its_end(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = bench(sandbox().base_url)
    faulty, fine = await here.queued(2)
    real = steps.attempt  # type: ignore[attr-defined]

    async def attempt(session: Any, placed: Any, *rest: Any) -> Any:
        if placed.job.job_id == faulty.job_id:
            raise ValueError("a fault")
        return await real(session, placed, *rest)

    monkeypatch.setattr(steps, "attempt", attempt)
    await here.work(until="render.closed")
    assert (await here.job(fine)).state is State.STORED
    assert [line["because"] for line in here.log.said("job.trouble")] == ["a fault"]
    tally = here.session.ledger.store.tally()
    assert (tally.leased, tally.waiting) == (0, 1)


async def test_a_worker_whose_ledger_cannot_be_used_ends(
    bench: Callable[..., Bench],
    sandbox: Callable[..., SandboxServer],
    monkeypatch: pytest.MonkeyPatch,
    held_back: Event,
) -> None:
    here = bench(sandbox(faults=("create=slow@1",)).base_url)
    await here.queued()

    def gone(*_: Any) -> None:
        held_back.set()
        raise LedgerUnusable("the disk is gone")

    monkeypatch.setattr(here.session.ledger.store.queue, "keep", gone)
    with pytest.raises(LedgerUnusable, match="the disk is gone"):
        await here.work(until="never", lease_s=0.1)


async def test_a_worker_whose_ledger_fails_while_it_carries_out_a_step_ends(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = bench(sandbox().base_url)
    await here.queued()

    def gone(*_: Any) -> None:
        raise LedgerUnusable("the disk is gone")

    monkeypatch.setattr(steps, "placed_in", gone)
    with pytest.raises(LedgerUnusable, match="the disk is gone"):
        await here.work(until="never")


async def test_a_job_that_is_due_before_its_request_is_recorded_is_kept_for_later(
    bench: Callable[..., Bench],
) -> None:
    here = bench(NOWHERE)
    store = here.session.ledger.store
    young, old = new_job_id(), "job_000000000000" + "0" * 20
    store.queue.schedule(young)
    store.queue.schedule(old)
    stop = asyncio.Event()
    working = asyncio.create_task(Worker(here.session, WorkerOptions(idle_s=0.02)).run(stop))
    while store.tally().due or store.tally().leased:  # noqa: ASYNC110  # the worker hands both back
        await asyncio.sleep(0.01)
    stop.set()
    await working
    assert store.tally().waiting == 1


async def test_a_drain_ends_with_its_own_last_job_although_one_of_another_server_ended_meanwhile(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer], tmp_path: Path
) -> None:
    there = bench(sandbox(render_seconds=600, data_dir=tmp_path / "there").base_url)
    other = (await place(there.session, there.request_for(profile="openai"))).job
    here = bench(sandbox(render_seconds=1, data_dir=tmp_path / "here", clock=time.time).base_url)
    (job,) = await here.queued()
    there.session.ledger.store.queue.schedule(other.job_id)
    ending = list[asyncio.Task[Job]]()

    def end_it() -> None:
        ending.append(asyncio.create_task(give_up(there.session, other, "it ends while the other drains")))

    here.log.then["worker.other_server"] = end_it
    await here.work()
    assert (await here.job(job)).state is State.STORED
    assert [(await task).state for task in ending] == [State.ABANDONED]


async def test_an_overdue_render_gives_its_place_to_another_and_is_still_watched(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    here = bench(sandbox(render_seconds=600).base_url)
    here = replace(
        here, session=replace(here.session, settings=replace(here.session.settings, longest_render_s=0.0))
    )
    await here.queued(2)
    stop = asyncio.Event()
    working = asyncio.create_task(
        Worker(here.session, WorkerOptions(idle_s=0.02, interval_s=0.1, running={"sora-2": 1})).run(stop)
    )
    while len(here.log.said("job.overdue")) < 2:  # noqa: ASYNC110  # one after the other has the one place
        await asyncio.sleep(0.01)
    stop.set()
    await working
    assert {keys["state"] for keys in here.log.said("job.overdue")} == {State.RUNNING}


async def test_a_drain_ends_although_a_render_is_overdue_and_names_it(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    here = bench(sandbox(render_seconds=600).base_url)
    here = replace(
        here, session=replace(here.session, settings=replace(here.session.settings, longest_render_s=0.0))
    )
    (job,) = await here.queued()
    [left] = (await here.work()).left
    assert (left.job.job_id, left.job.state) == (job.job_id, State.RUNNING)
    assert left.commands == (f"sora-ledger give-up {job.job_id} --reason TEXT",)


async def test_jobs_for_another_server_are_left_to_its_workers(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    server = sandbox()
    theirs, here = bench(server.base_url, profile="custom"), bench(server.base_url)
    (other,), (ours,) = await theirs.queued(), await here.queued()
    await here.work()
    assert [(await here.job(job)).state for job in (other, ours)] == [State.DECIDED, State.STORED]


async def test_what_a_person_withdrew_is_not_sent(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    server = sandbox()
    here = bench(server.base_url)
    (job,) = await here.queued()
    await cancel(here.session, job)
    await here.work()
    assert (await here.job(job)).state is State.CANCELLED
    assert asked(server).get("creates", 0) == 0


async def test_a_person_who_resumes_what_a_worker_has_just_sent_is_told_so(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    server = sandbox()
    here = bench(server.base_url)
    (as_it_was_read,) = await here.queued()
    await here.work()
    with pytest.raises(NotReady, match=r"is closed \(stored\)"):
        await resume(here.session, as_it_was_read)
    assert asked(server)["creates"] == 1


async def test_a_request_that_is_never_recorded_is_let_go_of(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    here = bench(sandbox().base_url)
    here.session.ledger.store.queue.schedule("job_01900000000070008000000000000000")
    assert (await here.work()).claimed == 1


# --- what was begun elsewhere ---


async def test_what_a_crashed_command_left_is_taken_up(
    bench: Callable[..., Bench],
    sandbox: Callable[..., SandboxServer],
    request_for: Callable[..., RenderRequest],
) -> None:
    server = sandbox()
    job = (await place(bench(server.base_url).session, request_for())).job
    here = bench(server.base_url, clock=lambda: utc_now() + timedelta(seconds=90))
    await here.work()
    assert (await here.job(job)).state is State.STORED


async def test_what_another_process_began_just_now_is_left_alone(
    bench: Callable[..., Bench],
    sandbox: Callable[..., SandboxServer],
    request_for: Callable[..., RenderRequest],
) -> None:
    here = bench(sandbox().base_url)
    job = (await place(here.session, request_for())).job
    assert (await here.work()).claimed == 0
    assert (await here.job(job)).state is State.RUNNING


async def test_an_attempt_that_was_cut_off_is_searched_for_once_the_grace_period_is_over(
    bench: Callable[..., Bench],
    sandbox: Callable[..., SandboxServer],
    request_for: Callable[..., RenderRequest],
) -> None:
    server = sandbox()
    begun = bench(server.base_url)
    placed = await place(begun.session, request_for(), queue=True)
    async with begun.session.connect(begun.session.profile("openai")) as client:
        intent = intended(client, client.profile, placed.requested, placed.ruling)
    job = await begun.session.advance(placed.job, [begun.session.draft(intent)])
    [lease] = begun.session.ledger.store.queue.claim("killed", 60_000, 1)
    begun.session.ledger.store.queue.release(lease, None)
    here = bench(server.base_url, clock=lambda: utc_now() + timedelta(seconds=20))
    await here.work("worker.enlisted", grace_s=10.0)
    assert (await here.job(job)).state is State.UNKNOWN


@pytest.fixture
async def forgotten(
    bench: Callable[..., Bench],
    faults: Faults,
    video: Callable[..., bytes],
    request_for: Callable[..., RenderRequest],
) -> Job:
    """Return a job that runs at a server which has forgotten it."""
    faults.then(200, video(status="queued"))
    faults.then(404, b'{"error": {"message": "no such video", "code": "video_not_found"}}')
    return (await place(bench(faults.base_url).session, request_for())).job


async def test_a_video_its_server_does_not_know_a_day_later_comes_to_its_end(
    bench: Callable[..., Bench], faults: Faults, forgotten: Job, intact: Callable[[], bool]
) -> None:
    here = bench(faults.base_url, clock=lambda: utc_now() + timedelta(days=1))
    await here.work()
    now = await here.job(forgotten)
    assert (now.state, now.outcome, now.reserved_usd_micros) == (State.LOST, "lost", 0)
    assert intact()


@pytest.mark.parametrize(
    ("minutes", "after_s"),
    [
        pytest.param(0, 30, id="at first"),
        pytest.param(10, 300, id="10 min"),
        pytest.param(300, 600, id="5 h"),
    ],
)
async def test_the_longer_a_video_is_unknown_the_later_it_is_asked_for_again(
    bench: Callable[..., Bench],
    faults: Faults,
    forgotten: Job,
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
    after_s: int,
) -> None:
    then = datetime.fromisoformat(forgotten.updated_at) + timedelta(minutes=minutes)
    here = bench(faults.base_url, clock=lambda: then)
    store, delays = here.session.ledger.store, list[int | None]()

    def release_all(releases: Sequence[Release]) -> list[Lease]:
        delays.extend(delay_ms for _, delay_ms in releases)
        return []

    monkeypatch.setattr(store.queue, "release_all", release_all)
    store.queue.schedule(forgotten.job_id)
    await here.work(until="job.trouble")
    assert delays[0] == after_s * 1000


@pytest.mark.parametrize("expected", ["status.observed", "lease.given_back"])
async def test_a_webhook_makes_its_job_due_at_once(
    bench: Callable[..., Bench],
    sandbox: Callable[..., SandboxServer],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    expected: str,
) -> None:
    """`told` is when it comes: while a worker is looking at the job, or while nobody holds it."""
    seconds = count(int(clock.now))
    here = bench(sandbox(render_seconds=5, clock=lambda: float(next(seconds))).base_url)
    (job,) = await here.queued()
    store, wakes = here.session.ledger.store, iter(range(9))
    released = store.queue.release_all

    def webhook() -> None:
        store.queue.wake([job.job_id])

    def release_all(releases: Sequence[Release]) -> list[Lease]:
        lost = released(releases)
        if releases[0].delay_ms and next(wakes) >= 0:
            webhook()
        return lost

    if expected == "lease.given_back":
        monkeypatch.setattr(store.queue, "release_all", release_all)
    else:
        here.log.then[expected] = webhook
    await here.work(interval_s=3_600.0)
    assert (await here.job(job)).state is State.STORED


# --- leases ---


async def test_a_lease_outlives_a_call_that_takes_longer(
    bench: Callable[..., Bench],
    sandbox: Callable[..., SandboxServer],
    monkeypatch: pytest.MonkeyPatch,
    held_back: Event,
) -> None:
    here = bench(sandbox(faults=("create=slow@1:1",)).base_url)
    store, times = here.session.ledger.store, count(1)
    keep = store.queue.keep

    def kept(*given: Any) -> Any:
        if next(times) > 3:  # it is kept three times while it lasts
            held_back.set()
        return keep(*given)

    monkeypatch.setattr(store.queue, "keep", kept)
    (job,) = await here.queued()
    await here.work(lease_s=1.5)
    assert here.types(job) == CARRIED_OUT


async def test_an_answer_that_came_after_the_lease_was_lost_is_kept_and_recorded_by_the_next(
    bench: Callable[..., Bench],
    sandbox: Callable[..., SandboxServer],
    intact: Callable[[], bool],
    monkeypatch: pytest.MonkeyPatch,
    held_back: Event,
) -> None:
    server = sandbox(faults=("create=kept-but-slow@1:1",), clock=time.time)
    late, here = bench(server.base_url), bench(server.base_url)
    (job,) = await late.queued()
    store = late.session.ledger.store
    monkeypatch.setattr(store.queue, "keep", lambda *_: [])  # it stalls

    async def answer_after_the_lease() -> None:
        while not (await asyncio.to_thread(asked, server)).get("creates"):  # noqa: ASYNC110  # it is counted
            await asyncio.sleep(0.01)
        [lease] = store.queue.leases()
        store.queue.renew(lease, -1_000)
        held_back.set()

    await asyncio.gather(late.work(until="job.trouble"), answer_after_the_lease())
    (told,) = late.log.said("job.trouble")
    assert f"`sora-ledger reconcile {job.job_id} --video-id video_" in told["because"]
    assert late.types(job)["submission.accepted"] == 0
    await here.work()
    assert here.types(job)["submission.spooled"] == here.types(job)["submission.accepted"] == 1
    assert (await here.job(job)).state is State.STORED
    assert asked(server)["creates"] == 1
    assert intact()


async def test_an_attempt_that_comes_too_late_to_its_connection_is_not_sent(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = sandbox()
    here = bench(server.base_url)
    (job,) = await here.queued()
    in_time = iter([False, True])
    monkeypatch.setattr(submit, "may_send", lambda *_: lambda: next(in_time))
    await here.work()
    counted = here.types(job)
    assert [counted[f"submission.{kind}"] for kind in ("intended", "absent", "accepted")] == [2, 1, 1]
    assert asked(server)["creates"] == 1


async def test_nothing_is_sent_after_the_end_of_a_lease_or_long_after_its_intent() -> None:
    now = [100.0]
    ends = {"job_1": 110.0}
    leased, free = (may_send(name, ends, lambda: now[0]) for name in ("job_1", "job_2"))
    now[0] = 109.0
    assert (leased(), free()) == (True, True)
    now[0] = 111.0
    assert (leased(), free()) == (False, True)
    ends["job_1"] = 200.0  # renewed
    assert leased()
    now[0] = 100.0 + LATEST_S
    assert (leased(), free()) == (False, False)


async def test_a_job_that_came_back_while_its_old_work_goes_on_is_not_begun_again(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer]
) -> None:
    here = bench(sandbox().base_url)
    (job,) = await here.queued()
    hands = Leases(here.session, "w1", lease_s=0.05)
    assert await hands.take(1) == [job.job_id]
    old = here.session.fences[job.job_id]
    while here.session.ledger.store.queue.leases():
        pass
    assert await hands.take(1) == []
    assert here.session.fences[job.job_id] == old
    with pytest.raises(StaleFence):
        await cancel(here.session, job)


async def test_a_step_that_does_not_end_is_cut_off_and_its_job_handed_back(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = bench(NOWHERE)
    await here.queued()

    async def stuck(runner: steps.StepRunner, *_: Any) -> None:
        runner._session.log.info("step.stuck")
        await asyncio.Event().wait()

    monkeypatch.setattr(steps.StepRunner, "carry_out", stuck)
    monkeypatch.setattr(worker, "FINISHING_S", 0.05)
    await here.work(until="step.stuck")
    tally = here.session.ledger.store.tally()
    assert (tally.leased, tally.due) == (0, 1)


async def test_a_worker_records_the_digest_of_the_rows_once_enough_was_recorded(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_checks, "PROJECTION_EVERY", 10)
    here = bench(sandbox().base_url)
    ledger = here.session.ledger
    await here.queued(3)
    await here.work()
    record_projection_if_due(here.session)
    due = [entry.event.position for entry in ledger.entries(ProjectionRecorded)]
    record_projection_if_due(here.session)  # what was recorded since is not enough
    assert [entry.event.position for entry in ledger.entries(ProjectionRecorded)] == due
    assert len(due) >= 1
    assert replay(ledger).drifted == ()


async def test_of_two_workers_that_find_a_digest_due_one_records_it(
    bench: Callable[..., Bench], sandbox: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_checks, "PROJECTION_EVERY", 1)
    here = bench(sandbox().base_url)
    await here.queued(1)
    session = here.session
    compute = recorded_checks.digest_live_rows  # type: ignore[attr-defined]

    def meanwhile(ledger: Ledger) -> ProjectionRecorded:
        monkeypatch.setattr(recorded_checks, "digest_live_rows", compute)
        record_projection_if_due(session)
        return compute(ledger)

    monkeypatch.setattr(recorded_checks, "digest_live_rows", meanwhile)
    record_projection_if_due(session)
    assert len(list(session.ledger.entries(ProjectionRecorded))) == 1
