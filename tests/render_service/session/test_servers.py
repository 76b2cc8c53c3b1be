"""Which server a job belongs to."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from decision.request.request import RenderRequest
from ledger.job import Job
from render_service.runtime.errors import WrongServer
from render_service.session.servers import check_server, is_same_server, server_of
from render_service.session.session import Session
from render_service.settlement.sweep import settle_all
from render_service.submission.submit import place
from tests.conftest import Faults

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://host/v1", "https://HOST:443/v1/", True),
        ("http://host/v1", "http://host:80/v1", True),
        ("http://host/v1", "https://host/v1", False),
        ("https://host/team-a/v1", "https://host/team-b/v1", False),
        ("https://host/v1", "https://other/v1", False),
        ("http://host:8000/v1", "http://host:8001/v1", False),
    ],
)
def test_an_address_is_one_however_it_is_spelled(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    assert is_same_server(one, other) is same


@pytest.fixture
async def job(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    video: Callable[..., bytes],
) -> Job:
    session = at(faults.then(200, video(status="queued")).base_url)
    return (await place(session, request_for())).job


async def test_a_job_belongs_to_where_its_last_attempt_went(
    at: Callable[[str], Session], faults: Faults, job: Any
) -> None:
    assert server_of(at(faults.base_url).ledger, job) == faults.base_url


async def test_without_an_address_the_message_says_that_none_is_set(
    at: Callable[[str], Session], faults: Faults, job: Any
) -> None:
    session = at(faults.base_url)
    bare = replace(session.settings, base_url=None)
    lost = structs.replace(job, profile="custom")
    with pytest.raises(WrongServer, match=rf"no server is set.* set OPENAI_BASE_URL={faults.base_url}"):
        check_server(bare, session.ledger, lost)


async def test_a_sweep_leaves_out_the_jobs_of_another_server_and_asks_nothing(
    at: Callable[[str], Session], faults: Faults, job: Any
) -> None:
    session = at("http://127.0.0.1:9/v1")
    ends = await settle_all(session, [job], interval_s=0.05, timeout_s=1)
    assert isinstance(ends[job.job_id].error, WrongServer)
    assert session.ledger.job(job.job_id) == job
    assert len(faults.asked) == 1
