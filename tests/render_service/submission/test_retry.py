"""A free question is asked again while the server is in passing trouble, and never sooner than it wants."""

import pytest

from render_service.submission.retry import TRIES, patiently
from sora_adapter.errors import ServerBusy, VideoNotFound

pytestmark = pytest.mark.anyio


class FailingServer:
    """Fails as often as it is told, with the error it is given; counts questions and pauses."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error = failures, error
        self.times = 0
        self.pauses: list[float] = []

    async def ask(self) -> str:
        self.times += 1
        if self.times <= self.failures:
            raise self.error
        return "answer"

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


async def test_passing_trouble_is_waited_out() -> None:
    server = FailingServer(2, ServerBusy("busy"))
    assert await patiently(server.ask, server.sleep) == "answer"
    assert (server.times, len(server.pauses)) == (3, 2)


async def test_a_demanded_pause_is_never_undercut() -> None:
    server = FailingServer(1, ServerBusy("busy", retry_after_ms=7_000))
    await patiently(server.ask, server.sleep)
    assert server.pauses[0] >= 7


async def test_trouble_that_stays_is_raised_in_the_end() -> None:
    server = FailingServer(TRIES, ServerBusy("busy"))
    with pytest.raises(ServerBusy):
        await patiently(server.ask, server.sleep)
    assert server.times == TRIES


async def test_what_will_not_change_is_asked_once() -> None:
    server = FailingServer(1, VideoNotFound("no such video"))
    with pytest.raises(VideoNotFound):
        await patiently(server.ask, server.sleep)
    assert server.times == 1
