"""Requests of the official SDK through gateways, each billed once however often it is sent."""

import asyncio
import resource
import threading
from collections.abc import Callable
from typing import Any

import pytest
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAI

from tests.outside.conftest import PACKAGED, Gateway, Outside, Person, until
from tests.outside.wires import Wire, cutting_once, cutting_the_answer, passing

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's, on every `videos.*`

Start = Callable[..., Outside]
Open = Callable[..., Gateway]
ACTIVE = {"queued", "in_progress"}
FINALS_ARE_HELD = '\n[[approvals]]\ncode = "FINALS"\npurposes = ["final"]\n'


def sdk(base_url: str, key: str, retries: int = 2) -> OpenAI:
    return OpenAI(base_url=base_url, api_key=key, max_retries=retries, timeout=30)


def jobs_of(gateway: Gateway) -> list[Any]:
    jobs: list[Any] = gateway.person("jobs", "--json").document["jobs"]
    return jobs


def video_of(gateway: Gateway, job: str) -> str | None:
    """Return the server's id of the video of a job."""
    [shown] = [each for each in jobs_of(gateway) if each["job_id"] == job]
    video: str | None = shown["id"]
    return video


def creates(server: Outside) -> int:
    return len(server.requests("POST"))


def test_a_create_of_the_official_sdk_is_decided_recorded_and_billed_once(
    outside: Start, gateway: Open
) -> None:
    server = outside(status="in_progress")
    one = gateway(server)
    with sdk(one.base_url, one.grant("app", "requester")) as client:
        answer = client.videos.with_raw_response.create(prompt="a red kite", size="720x1280")
        video = answer.parse()
        polled = client.videos.with_raw_response.retrieve(video.id)
    assert polled.parse().status in ACTIVE
    assert polled.headers["x-sora-ledger-expected-seconds-p90"] == "unknown"
    assert (video.status in ACTIVE, video.prompt, video.model) == (True, "a red kite", "sora-2")
    assert [bill["prompt"] for bill in server.bills()] == ["a red kite"]
    assert answer.headers["x-sora-ledger-decision"] == "allow"
    assert answer.headers["x-sora-ledger-estimated-cost"] == "0.40"
    assert answer.headers["x-sora-ledger-expected-seconds"] == "unknown"
    assert video.id == "video_" + answer.headers["x-sora-ledger-job"].removeprefix("job_")
    assert int(answer.headers["openai-poll-after-ms"]) > 0
    assert one.person("verify").code == 0


def test_a_lost_answer_of_the_server_is_queued_for_the_client_and_billed_once(
    outside: Start, gateway: Open
) -> None:
    server = outside(creates=["lost-answer"])
    one = gateway(server)
    with sdk(one.base_url, one.grant("app", "requester")) as client:
        video = client.videos.create(prompt="a red kite")
    assert (video.status, len(server.bills()), creates(server)) == ("queued", 1, 1)


def test_a_lost_answer_of_the_gateway_is_resent_and_billed_once(outside: Start, gateway: Open) -> None:
    server = outside()
    one = gateway(server)
    key = one.grant("app", "requester")
    with Wire(cutting_the_answer(one.port), passing(one.port)) as wire, sdk(wire.base_url, key) as client:
        video = client.videos.create(prompt="a red kite")
    assert (wire.carried, len(server.bills()), len(jobs_of(one))) == (2, 1, 1)
    assert video.id.removeprefix("video_") == jobs_of(one)[0]["job_id"].removeprefix("job_")


def test_a_resend_at_another_gateway_is_billed_once_while_the_first_still_waits(
    outside: Start, gateway: Open
) -> None:
    server = outside(creates=["wait@1.5"])
    one, two = gateway(server), gateway(server)
    key = one.grant("app", "requester")
    first = cutting_once(one.port, lambda: until(lambda: creates(server)))
    with Wire(first, passing(two.port)) as wire, sdk(wire.base_url, key) as client:
        video = client.videos.create(prompt="a red kite")
    assert (wire.carried, video.status in ACTIVE) == (2, True)
    until(server.bills)
    assert (len(server.bills()), len(jobs_of(one))) == (1, 1)
    assert video.id.removeprefix("video_") == jobs_of(one)[0]["job_id"].removeprefix("job_")


def test_a_gateway_killed_in_the_call_is_billed_once_and_the_resend_gets_the_job(
    outside: Start, gateway: Open
) -> None:
    server = outside(creates=["wait@0.5"])
    one = gateway(server)
    key = one.grant("app", "requester")

    def killed_and_started_again() -> None:
        until(lambda: creates(server))
        one.end()
        one.start()

    first = cutting_once(one.port, killed_and_started_again)
    with Wire(first, passing(one.port)) as wire, sdk(wire.base_url, key) as client:
        video = client.videos.create(prompt="a red kite")
    assert (wire.carried, video.status, creates(server)) == (2, "queued", 1)
    assert (len(server.bills()), len(jobs_of(one))) == (1, 1)
    assert video.id.removeprefix("video_") == jobs_of(one)[0]["job_id"].removeprefix("job_")
    assert one.person("verify").code == 0


def test_identical_requests_on_purpose_are_two_jobs(outside: Start, gateway: Open) -> None:
    server = outside()
    one = gateway(server)
    with sdk(one.base_url, one.grant("app", "requester")) as client:
        ids = {client.videos.create(prompt="a red kite").id for _ in range(2)}
    assert (len(ids), len(server.bills())) == (2, 2)


def test_two_identical_requests_that_are_both_resent_are_two_jobs(outside: Start, gateway: Open) -> None:
    server = outside()
    one = gateway(server)
    key = one.grant("app", "requester")
    lost = cutting_the_answer(one.port)
    ids = set()
    for _ in range(2):
        with Wire(lost, passing(one.port)) as wire, sdk(wire.base_url, key) as client:
            ids.add(client.videos.create(prompt="a red kite").id)
    assert (len(ids), len(server.bills())) == (2, 2)


def test_a_client_that_hangs_up_does_not_stop_its_request(outside: Start, gateway: Open) -> None:
    server = outside(creates=["wait@3"])
    one = gateway(server)
    key = one.grant("app", "requester")
    with sdk(one.base_url, key, retries=0) as client, pytest.raises(Exception, match="timed out"):
        client.with_options(timeout=1.5).videos.create(prompt="a red kite")
    until(server.bills)
    [job] = jobs_of(one)
    until(lambda: video_of(one, job["job_id"]) == server.bills()[0]["id"])
    assert len(server.bills()) == 1


async def statuses(base_url: str, key: str, count: int) -> list[int]:
    """Return the statuses of so many creates at once, without resends."""
    async with AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=60) as client:

        async def one(number: int) -> int:
            try:
                await client.videos.create(prompt=f"kite {number}")
            except APIStatusError as refused:
                return refused.status_code
            return 200

        return await asyncio.gather(*map(one, range(count)))


def test_fifty_clients_race_for_the_last_five_dollars_and_none_is_overspent(
    outside: Start, gateway: Open
) -> None:
    server = outside()
    one = gateway(server)
    assert one.person("budget", "set", "all", "--limit", "5").code == 0
    counts = asyncio.run(statuses(one.base_url, one.grant("app", "requester"), 50))
    assert (counts.count(200), counts.count(429), len(server.bills())) == (12, 38, 12)  # 0.40 each


def test_fifty_clients_of_a_key_for_three_running_jobs_start_three(outside: Start, gateway: Open) -> None:
    server = outside(status="in_progress")
    one = gateway(server)
    key = one.grant("app", "requester", running_jobs="3")
    counts = asyncio.run(statuses(one.base_url, key, 50))
    assert (counts.count(200), counts.count(429), len(server.bills())) == (3, 47, 3)
    assert len(jobs_of(one)) == 3  # nothing is recorded of the others


def test_a_held_request_is_queued_runs_once_approved_and_fails_if_refused(
    outside: Start, gateway: Open, person: Person
) -> None:
    server = outside()
    (person.folder / "policy.toml").write_text(PACKAGED + FINALS_ARE_HELD)
    assert person("policy", "activate", "policy.toml", "--reason", "second eyes").code == 0
    one = gateway(server)
    with sdk(one.base_url, one.grant("app", "requester")) as client:
        held = [
            client.videos.with_raw_response.create(prompt=f"kite {n}", extra_body={"purpose": "final"})
            for n in range(2)
        ]
        assert [each.parse().status for each in held] == ["queued", "queued"]
        assert {each.headers["x-sora-ledger-decision"] for each in held} == {"hold"}
        assert server.bills() == []
        first, second = (each.headers["x-sora-ledger-job"] for each in held)
        assert one.person("approve", first).code == 0
        assert one.person("reject", second, "--reason", "too red").code == 0
        until(server.bills)
        refused = client.videos.retrieve(held[1].parse().id)
    assert (refused.status, refused.error and refused.error.code) == ("failed", "approval_refused")
    assert [bill["prompt"] for bill in server.bills()] == ["kite 0"]


def refusal(client: OpenAI, **request: Any) -> APIStatusError:
    with pytest.raises(APIStatusError) as raised:
        client.videos.create(**({"prompt": "a red kite"} | request))
    return raised.value


def test_a_denial_names_the_smallest_allowed_change_and_has_its_trace_beside_it(
    outside: Start, gateway: Open
) -> None:
    server = outside()
    one = gateway(server)
    with sdk(one.base_url, one.grant("app", "requester")) as client:
        denied = refusal(client, seconds="12", extra_body={"max_cost_usd": "0.50"})
        assert (denied.status_code, denied.code, denied.param) == (400, "COST_ABOVE_LIMIT", "max_cost_usd")
        assert "raise 'max_cost_usd' to 1.20" in denied.message
        assert denied.response.headers["x-should-retry"] == "false"
        assert denied.response.json()["denial_trace"]["minimal_fix"][0]["value"] == 1_200_000
        assert client.videos.create(prompt="a", seconds="12", extra_body={"max_cost_usd": "1.20"}).id
    assert len(server.bills()) == 1


def test_a_refusal_of_the_server_is_passed_on_with_its_status(outside: Start, gateway: Open) -> None:
    server = outside(creates=["400", "429"], words="no kites here")
    one = gateway(server)
    with sdk(one.base_url, one.grant("app", "requester"), retries=0) as client:
        refused, busy = refusal(client), refusal(client)
    assert (refused.status_code, "no kites here" in refused.message) == (400, True)
    assert (busy.status_code, server.bills()) == (429, [])


def test_an_idempotency_key_belongs_to_its_access_key_and_to_one_request(
    outside: Start, gateway: Open
) -> None:
    server = outside()
    one = gateway(server)
    own = {"Idempotency-Key": "spring-1"}
    with (
        sdk(one.base_url, one.grant("app", "operator")) as client,  # it may name the team that pays
        sdk(one.base_url, one.grant("other", "requester")) as other,
    ):
        ids = {client.videos.create(prompt="a red kite", extra_headers=own).id for _ in range(2)}
        taken = refusal(client, prompt="a blue kite", extra_headers=own)
        elsewhere = refusal(client, prompt="a red kite", extra_headers=own, extra_body={"team": "games"})
        ids.add(other.videos.create(prompt="a blue kite", extra_headers=own).id)
    for refused in (taken, elsewhere):  # another request, and the same one at another team's expense
        assert (refused.status_code, refused.code) == (409, "idempotency_key_reused")
    assert taken.response.headers["x-should-retry"] == "false"
    assert (len(ids), len(server.bills())) == (2, 2)


def fill_the_disk(gateway: Gateway) -> None:
    """Let no file of the gateway grow past its first block, as on a disk without room for more."""
    resource.prlimit(gateway.running.pid, resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))


def test_a_ledger_that_cannot_be_written_is_a_503_before_anything_is_sent(
    outside: Start, gateway: Open
) -> None:
    server = outside()
    one = gateway(server, "--no-work")
    with sdk(one.base_url, one.grant("app", "requester"), retries=0) as client:
        client.videos.create(prompt="a red kite")
        fill_the_disk(one)
        refused = refusal(client)
    assert (refused.status_code, len(server.bills()), creates(server)) == (503, 1, 1)
    assert int(refused.response.headers["retry-after"]) > 0


def test_an_answer_that_cannot_be_recorded_is_queued_and_recorded_later(
    outside: Start, gateway: Open
) -> None:
    server = outside(creates=["slow@0.5"])
    one = gateway(server, "--no-work", SORA_LEDGER_RETRY_SECONDS="0.3")
    key = one.grant("app", "requester")
    full = threading.Thread(target=lambda: (until(server.bills), fill_the_disk(one)))  # type: ignore[func-returns-value]
    full.start()
    with sdk(one.base_url, key) as client:
        video = client.videos.create(prompt="a red kite")
    full.join()
    assert (video.status, len(server.bills())) == ("queued", 1)
    one.end()
    job = video.id.replace("video_", "job_")
    one.start()  # it accepts connections before it has recorded the answers that were kept in files
    assert until(lambda: video_of(one, job)) == server.bills()[0]["id"]


def test_an_attempt_that_a_kill_cut_off_is_found_soon_after_the_next_start(
    outside: Start, gateway: Open
) -> None:
    server = outside(creates=["slow@held"])
    one = gateway(server, "--grace", "1", "--lease", "2", "--interval", "0.2")
    with sdk(one.base_url, one.grant("app", "requester"), retries=0) as client:

        def create() -> None:
            with pytest.raises(APIConnectionError):
                client.videos.create(prompt="a fox runs", model="sora-2", seconds="4")

        asking = threading.Thread(target=create)
        asking.start()
        until(server.bills)
        one.end()
        asking.join()
    one.start()
    until(lambda: jobs_of(one)[0]["state"] == "stored")
    assert len(server.bills()) == 1
