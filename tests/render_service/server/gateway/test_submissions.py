"""Attempts of one request are one job, in whichever order and process they arrive; two requests are two."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from decision.request.request import RenderRequest
from decision.rules.approvals import ApprovalRule
from decision.rules.policy import default_policy
from decision.rules.roles import Permission
from ledger.events import AccessGranted
from ledger.record import ActorSource
from ledger.store.interface import ANY, Batch
from ledger.terms import State
from render_service.access.callers import Caller
from render_service.assets.inputs import NOTHING
from render_service.rules.opening import activate
from render_service.rules.policies import Rules
from render_service.runtime.errors import TooManyRequests
from render_service.server.gateway import submissions, uses
from render_service.server.gateway.submissions import Submissions
from render_service.session.session import Session
from render_service.submission.result import Placed
from sora_adapter.sandbox.server import SandboxServer

pytestmark = pytest.mark.anyio


def caller(key_id: str = "0a1b2c3d", **more: Any) -> Caller:
    permissions = frozenset({Permission.REQUEST, Permission.CHARGE})
    return Caller("app", ActorSource.ACCESS_KEY, ("requester",), permissions, key_id=key_id, **more)


class Process:
    """The submissions of one process, with a session of its own on the ledger of the test."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._submissions = Submissions(session)

    async def withdraw_left(self) -> int:
        return await self._submissions.withdraw_left()

    def begin(
        self, request: RenderRequest, count: int = 0, who: Caller | None = None, team: str | None = None
    ) -> Any:
        who = who or caller()
        return self._submissions.begin(
            who, who.session(self.session, team=team), request, NOTHING, count
        ).task

    async def send(self, request: RenderRequest, count: int = 0, who: Caller | None = None) -> Placed:
        placed: Placed = await self.begin(request, count, who)
        return placed


@pytest.fixture
def processes(session: Session, at: Callable[[str], Session]) -> tuple[Process, Process]:
    """Return two processes on one ledger, in which the keys are granted."""
    for key_id in ("0a1b2c3d", "ffffffff"):
        grant = AccessGranted(key_id=key_id, key_sha256="a" * 64, name="app", roles=("requester",))
        session.ledger.append([Batch("access", ANY, [session.draft(grant)])])
    return Process(session), Process(at(str(session.settings.base_url)))


def creates(process: Process) -> int:
    origin = str(process.session.settings.base_url).removesuffix("/v1")
    return int(httpx2.get(f"{origin}/_sandbox/requests").json()["creates"])


def ids(*placed: Placed) -> set[str]:
    return {each.job.job_id for each in placed}


async def test_a_resend_finds_its_request_in_any_process(
    processes: tuple[Process, Process], request_for: Callable[..., RenderRequest]
) -> None:
    one, two = processes
    placed = await one.send(request_for())
    resent = [await one.send(request_for(), 1), await two.send(request_for(), 2)]
    assert (ids(placed, *resent), creates(one)) == ({placed.job.job_id}, 1)


async def test_a_resend_that_arrives_while_its_request_is_sent_waits_for_it(
    processes: tuple[Process, Process], request_for: Callable[..., RenderRequest]
) -> None:
    one, two = processes
    attempts = [one.begin(request_for()), one.begin(request_for(), 1), two.begin(request_for(), 2)]
    assert len(ids(*await asyncio.gather(*attempts))) == 1
    assert creates(one) == 1


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["here", "elsewhere"])
async def test_a_first_attempt_that_arrives_after_its_resend_is_the_same_job(
    processes: tuple[Process, Process], request_for: Callable[..., RenderRequest], *, is_elsewhere: bool
) -> None:
    one, two = processes
    await two.send(request_for(prompt="another"))  # it knows the key by now
    resent = await one.send(request_for(), 1)
    late = await (two if is_elsewhere else one).send(request_for())
    assert (ids(resent, late), creates(one)) == ({resent.job.job_id}, 2)


async def test_a_first_attempt_long_after_a_resend_is_a_new_request(
    processes: tuple[Process, Process],
    request_for: Callable[..., RenderRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uses, "LATE_WITHIN", timedelta(0))
    one, _ = processes
    assert len(ids(await one.send(request_for(), 1), await one.send(request_for()))) == 2


async def test_identical_first_attempts_are_two_requests_and_each_resend_gets_its_own(
    processes: tuple[Process, Process], request_for: Callable[..., RenderRequest]
) -> None:
    one, two = processes
    first = await asyncio.gather(one.begin(request_for()), two.begin(request_for()))
    resent = await asyncio.gather(*(each.begin(request_for(), 1) for each in (one, one, two)))
    assert (len(ids(*first)), len(ids(*resent)), creates(one)) == (2, 3, 3)
    assert ids(*first) <= ids(*resent)


async def test_the_same_content_of_another_key_is_another_request(
    processes: tuple[Process, Process], request_for: Callable[..., RenderRequest]
) -> None:
    one, _ = processes
    await one.send(request_for())
    other = await one.send(request_for(), 1, caller("ffffffff"))
    assert (other.repeated, creates(one)) == (False, 2)


@pytest.mark.parametrize("is_here", [True, False], ids=["here", "elsewhere"])
async def test_the_same_content_for_another_team_is_another_request(
    processes: tuple[Process, Process], request_for: Callable[..., RenderRequest], *, is_here: bool
) -> None:
    one, two = processes
    first, other = one.begin(request_for(), team="film"), (one if is_here else two)
    resents = [other.begin(request_for(), 1, team="games"), other.begin(request_for(), 1, team="film")]
    placed = await asyncio.gather(first, *resents)
    assert [each.job.team for each in placed] == ["film", "games", "film"]
    assert (len(ids(*placed)), creates(one)) == (2, 2)


@pytest.mark.parametrize("is_held", [False, True], ids=["decided", "held"])
async def test_a_request_recorded_between_the_looks_of_its_resend_is_the_one_that_is_sent(
    processes: tuple[Process, Process],
    request_for: Callable[..., RenderRequest],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_held: bool,
) -> None:
    one, two = processes
    if is_held:
        held = default_policy().model_copy(update={"approvals": (ApprovalRule(code="ALL"),)})
        settings, rules = one.session.settings, Rules(held, one.session.catalog)
        activate(settings, one.session.trace, one.session.clock(), rules, "for a test")
    first: list[Placed] = []
    record = submissions.record  # type: ignore[attr-defined]

    async def recorded_later(*arguments: Any) -> Placed:
        first.append(await two.send(request_for()))
        return await record(*arguments)

    monkeypatch.setattr(submissions, "record", recorded_later)
    resent = await one.send(request_for(), 1)
    states = sorted(job.state for job in one.session.ledger.jobs())
    assert (ids(resent), creates(one)) == (ids(*first), 0 if is_held else 1)
    assert states == [State.CANCELLED, State.HELD if is_held else State.RUNNING]


async def test_a_request_overtaken_by_its_resend_before_it_is_recorded_is_not_sent(
    processes: tuple[Process, Process],
    request_for: Callable[..., RenderRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = processes
    resent: list[Placed] = []
    place = submissions.place  # type: ignore[attr-defined]

    async def placed_later(*arguments: Any, **more: Any) -> Placed:
        if not resent:
            resent.append(await two.send(request_for(), 1))
        return await place(*arguments, **more)

    monkeypatch.setattr(submissions, "place", placed_later)
    late = await one.send(request_for())
    assert (ids(late), creates(one), len(one.session.ledger.jobs())) == (ids(*resent), 1, 1)


async def die_before_sending(
    process: Process, request: RenderRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begin a resend, and end its process after it was recorded and before it is sent."""

    async def dies(*_: Any) -> Placed:
        raise ConnectionAbortedError

    with monkeypatch.context() as crash:
        crash.setattr(submissions, "submit", dies)
        with pytest.raises(ConnectionAbortedError):
            await process.send(request, 1)


async def test_what_a_process_left_unsent_is_withdrawn_once_no_resend_may_come(
    processes: tuple[Process, Process],
    request_for: Callable[..., RenderRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = processes
    await die_before_sending(one, request_for(), monkeypatch)
    assert await two.withdraw_left() == 0
    monkeypatch.setattr(uses, "RESENT_WITHIN", timedelta(seconds=-1))
    assert await two.withdraw_left() == 1
    [job] = one.session.ledger.jobs()
    assert (job.state, creates(one)) == (State.CANCELLED, 0)


async def test_a_resend_goes_on_where_a_process_died_between_recording_and_sending(
    processes: tuple[Process, Process],
    request_for: Callable[..., RenderRequest],
    monkeypatch: pytest.MonkeyPatch,
    intact: Callable[[], bool],
) -> None:
    one, two = processes
    monkeypatch.setattr(submissions, "UNSENT_S", 0.0)
    await die_before_sending(one, request_for(), monkeypatch)
    resent = await two.send(request_for(), 2)
    assert (resent.job.state, creates(one), len(one.session.ledger.jobs())) == (State.RUNNING, 1, 1)
    assert intact()


async def test_a_resend_after_a_refusal_of_the_server_is_tried_again(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    request_for: Callable[..., RenderRequest],
) -> None:
    one = Process(at(sandbox(faults=("create=429@1:1",)).base_url))
    refused, resent = await one.send(request_for()), await one.send(request_for(), 1)
    assert (refused.job.state, resent.job.state) == (State.REJECTED, State.RUNNING)


@pytest.mark.parametrize("count", [0, 1], ids=["first attempts", "resends"])
async def test_a_limit_of_running_jobs_holds_across_processes(
    processes: tuple[Process, Process], request_for: Callable[..., RenderRequest], count: int
) -> None:
    who = caller(running_jobs=3)
    attempts = [processes[n % 2].begin(request_for(prompt=f"shot {n}"), count, who) for n in range(12)]
    ended = await asyncio.gather(*attempts, return_exceptions=True)
    running = [each for each in ended if isinstance(each, Placed)]
    assert (len(running), creates(processes[0]), len(processes[0].session.ledger.jobs())) == (3, 3, 3)


async def test_identical_requests_of_which_one_was_refused_are_all_made(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    request_for: Callable[..., RenderRequest],
) -> None:
    one = Process(at(sandbox(faults=("create=429@1:1",)).base_url))
    first = [await one.send(request_for()) for _ in range(4)]
    resent = await one.send(request_for(), 1)
    running = [each for each in (*first, resent) if each.job.state is State.RUNNING]
    assert (len(running), len(ids(*running))) == (4, 4)


async def test_a_resend_of_an_attempt_that_was_refused_before_it_was_recorded_is_a_new_request(
    processes: tuple[Process, Process], request_for: Callable[..., RenderRequest]
) -> None:
    one, _ = processes
    who = caller(running_jobs=1)
    first, refused = await one.send(request_for(), 0, who), one.begin(request_for(), 0, who)
    with pytest.raises(TooManyRequests):
        await refused
    resent = await one.send(request_for(), 1)
    again = await one.send(request_for(), 1)
    assert (len(ids(first, resent)), again.job.job_id) == (2, first.job.job_id)


async def test_many_first_attempts_go_on_after_a_resend_in_another_process(
    processes: tuple[Process, Process], request_for: Callable[..., RenderRequest]
) -> None:
    one, two = processes
    await one.send(request_for(prompt="it knows the key"))
    await two.send(request_for(), 1)
    sent = await asyncio.gather(*(one.begin(request_for(prompt=f"shot {n}")) for n in range(20)))
    assert len(ids(*sent)) == 20
