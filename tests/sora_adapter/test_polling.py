"""Waiting for a video, with a clock that only moves when somebody sleeps."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.terms import Status
from sora_adapter.client import VideosClient
from sora_adapter.errors import ServerBusy, ServerRefused, ServerUnreadable, VideoNotFound
from sora_adapter.models import Observation
from sora_adapter.polling import Clock, PollTimeout, pace_after_look, pace_after_trouble, poll
from tests.sora_adapter.conftest import FaultServer

pytestmark = pytest.mark.anyio

BUSY = {"error": {"message": "Slow down."}}


@dataclass
class Waiting:
    """A poll with a clock of its own; `pauses` are the seconds slept."""

    client: VideosClient
    pauses: list[float] = field(default_factory=list)
    seen: list[Observation] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def note(self, observation: Observation) -> None:
        self.seen.append(observation)

    async def until_done(self, *, interval_s: float = 10, timeout_s: float = 600) -> Observation:
        clock = Clock(now=lambda: sum(self.pauses), sleep=self.sleep, jitter=lambda: 0.0)
        return await poll(
            self.client,
            "video_1",
            interval_s=interval_s,
            timeout_s=timeout_s,
            on_observation=self.note,
            clock=clock,
        )


@pytest.fixture
def waiting(client: VideosClient) -> Waiting:
    return Waiting(client)


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_a_final_status_ends_the_waiting(
    server: FaultServer, waiting: Waiting, video: dict[str, Any], status: str
) -> None:
    server.answers(200, video).answers(200, {**video, "status": status})
    assert (await waiting.until_done()).status == status


async def test_every_observation_is_handed_on_the_final_included(
    server: FaultServer, waiting: Waiting, video: dict[str, Any]
) -> None:
    server.answers(200, video).answers(200, {**video, "status": "completed"})
    await waiting.until_done()
    assert [observation.status for observation in waiting.seen] == [Status.QUEUED, Status.COMPLETED]


async def test_between_looks_there_is_the_interval(
    server: FaultServer, waiting: Waiting, video: dict[str, Any]
) -> None:
    server.answers(200, video).answers(200, video).answers(200, {**video, "status": "completed"})
    await waiting.until_done(interval_s=15)
    assert waiting.pauses == [15, 15]


async def test_a_status_word_nobody_knows_does_not_end_the_waiting(
    server: FaultServer, waiting: Waiting, video: dict[str, Any]
) -> None:
    server.answers(200, {**video, "status": "simmering"}).answers(200, {**video, "status": "completed"})
    assert (await waiting.until_done()).status == Status.COMPLETED


async def test_the_servers_hint_wins_over_the_interval_while_it_is_given(
    server: FaultServer, waiting: Waiting, video: dict[str, Any]
) -> None:
    server.answers(200, video, openai_poll_after_ms="2500").answers(200, video, retry_after="3")
    server.answers(200, video).answers(200, {**video, "status": "completed"})
    await waiting.until_done(interval_s=15)
    assert waiting.pauses == [2.5, 3, 15]


async def test_retry_after_is_never_undercut(
    server: FaultServer, waiting: Waiting, video: dict[str, Any]
) -> None:
    server.answers(429, BUSY, retry_after="90").answers(200, {**video, "status": "completed"})
    await waiting.until_done()
    assert waiting.pauses == [90]


async def test_trouble_in_a_row_doubles_the_pause_until_an_answer_comes(
    server: FaultServer, waiting: Waiting, video: dict[str, Any]
) -> None:
    server.answers(502, "<html>").resets(after_reading=True).answers(200, video)
    server.answers(503, None).answers(200, {**video, "status": "completed"})
    await waiting.until_done(interval_s=4)
    assert waiting.pauses == [8, 16, 4, 8]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, BUSY, ServerRefused),
        (403, BUSY, ServerRefused),
        (404, BUSY, VideoNotFound),
        (200, "<html>", ServerUnreadable),
    ],
)
async def test_what_waiting_cannot_cure_is_raised_at_once(
    server: FaultServer, waiting: Waiting, status: int, body: Any, error: type[Exception]
) -> None:
    server.answers(status, body)
    with pytest.raises(error):
        await waiting.until_done()
    assert server.connections == 1


async def test_the_deadline_comes_with_the_last_observation(
    server: FaultServer, waiting: Waiting, video: dict[str, Any]
) -> None:
    server.answers(200, {**video, "status": "in_progress", "progress": 40})
    with pytest.raises(PollTimeout, match="not done within 25 s, last seen in_progress at 40 %") as caught:
        await waiting.until_done(timeout_s=25)
    assert caught.value.last == waiting.seen[-1]


async def test_there_is_a_last_look_at_the_deadline(
    server: FaultServer, waiting: Waiting, video: dict[str, Any]
) -> None:
    server.answers(200, video).answers(200, video).answers(200, {**video, "status": "completed"})
    await waiting.until_done(timeout_s=15)
    assert waiting.pauses == [10, 5]


async def test_a_demand_to_wait_past_the_deadline_ends_the_waiting_at_once(
    server: FaultServer, waiting: Waiting
) -> None:
    server.answers(429, BUSY, retry_after="3600")
    with pytest.raises(PollTimeout, match=r"never seen .*Slow down"):
        await waiting.until_done(timeout_s=600)
    assert waiting.pauses == []


async def test_trouble_that_does_not_pass_ends_at_the_deadline(server: FaultServer, waiting: Waiting) -> None:
    server.answers(500, BUSY)
    with pytest.raises(PollTimeout, match="never seen"):
        await waiting.until_done(timeout_s=600)
    assert sum(waiting.pauses) == 600


async def test_a_server_that_hangs_does_not_hold_us_past_the_deadline(
    server: FaultServer, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sora_adapter.polling.SHORTEST_POLL_S", 0.01)
    server.hangs()
    with pytest.raises(PollTimeout):
        await waiting.until_done(timeout_s=0)


@given(hint_ms=st.integers(min_value=0, max_value=10**9))
def test_a_hint_never_drives_us_nor_puts_us_to_sleep(hint_ms: int) -> None:
    observation = Observation(video_id="video_1", status=Status.QUEUED, poll_after_ms=hint_ms)
    assert 0.1 <= pace_after_look(observation, 10).pause_s <= 60


@given(
    failures=st.integers(min_value=1, max_value=10**6),
    jitter=st.floats(min_value=0, max_value=1, exclude_max=True),
    interval_s=st.floats(min_value=0, max_value=10**6),
)
def test_backoff_stays_within_a_minute_and_is_never_nothing(
    failures: int, jitter: float, interval_s: float
) -> None:
    assert 0.1 <= pace_after_trouble(ServerBusy("busy"), failures, interval_s, jitter).pause_s <= 60
