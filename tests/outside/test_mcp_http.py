"""Agents over HTTP: the reference client at `/mcp` of a server, with access keys."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.outside.conftest import PACKAGED, Gateway, Outside

pytest.importorskip("mcp", reason="the extra mcp")
import httpx2
from jsonschema import Draft202012Validator
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import Implementation

from tests.cli.test_schema import check
from tests.outside.test_mcp import FOX, prompts, run

Start = Callable[..., Outside]


def address(gateway: Any) -> str:
    return f"http://127.0.0.1:{gateway.port}/mcp"


@asynccontextmanager
async def agent(gateway: Any, key: str, **how: Any) -> AsyncIterator[Callable[..., Any]]:
    """Connect an agent that holds `key`, and yield what calls its tools."""
    how.setdefault("client_info", Implementation(name="fox-maker", version="1"))
    async with create_mcp_http_client(headers={"Authorization": f"Bearer {key}"}) as http:
        client = Client(streamable_http_client(address(gateway), http_client=http), **how)
        async with client:

            async def call(tool: str, **arguments: Any) -> dict[str, Any]:
                result = await client.call_tool(tool, arguments)
                document = dict(result.structured_content)
                assert "try again" not in result.content[0].text
                about = "tool-job" if "next" in document else "tool-error" if "error" in document else None
                if about:
                    check(Draft202012Validator, document, about)
                return document | {"is_error": result.is_error, "client": client}

            yield call


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_agent_with_a_key_renders_waits_and_downloads_and_is_billed_once(
    outside: Start, gateway: Callable[..., Gateway], mode: str
) -> None:
    server = outside()
    serving = gateway(server, "--no-work")
    key = serving.grant("ana", "requester", team="film")

    async def use() -> dict[str, Any]:
        async with agent(serving, key, mode=mode) as call:
            assert (await call("decide", prompt="a fox runs"))["decision"] == "ALLOW"
            placed = await call("render", **FOX)
            assert (placed["state"], placed["request_key"]) == ("running", "fox")
            assert (await call("render", **FOX))["job"] == placed["job"]
            stored = await call("wait", job=placed["job"], seconds=20)
            assert (stored["state"], stored["next"]["tool"]) == ("stored", "download")
            file = (await call("download", job=placed["job"]))["file"]
            headers = {"Authorization": f"Bearer {key}"}
            async with httpx2.AsyncClient(headers=headers) as http:
                assert len((await http.get(file["url"])).content) == file["bytes"]
            return placed

    placed = run(use())
    assert prompts(server) == ["a fox runs"]
    records = serving.person("log", "--stream", placed["job"]).document["records"]
    assert {record["actor"] for record in records} == {"agent fox-maker on behalf of ana"}
    [job] = serving.person("jobs").document["jobs"]
    assert (job["team"], job["access_key_id"] is not None) == ("film", True)
    assert (serving.person("verify").code, serving.person("audit").code) == (0, 0)


def test_a_key_sees_the_jobs_of_its_own_team_only(outside: Start, gateway: Callable[..., Gateway]) -> None:
    serving = gateway(outside(), "--no-work")
    film, ads = (serving.grant(name, "requester", team=name) for name in ("film", "ads"))
    alone = serving.grant("bo", "requester")

    async def use() -> None:
        async with agent(serving, film) as call:
            job = (await call("render", **FOX))["job"]
            assert [row["job"] for row in (await call("find"))["jobs"]] == [job]
        for other in (ads, alone):
            async with agent(serving, other) as call:
                assert (await call("find"))["jobs"] == []
                assert (await call("budget"))["reserved_usd"] == "0.00"
                own = await call("render", **FOX)
                assert own["job"] != job, "request keys of two access keys are different"
                for tool in ("job", "explain", "wait", "download", "cancel"):
                    assert (await call(tool, job=job))["error"]["code"] == "job_not_found", tool
                listed = (await own["client"].list_resources()).resources
                assert f"sora-ledger://jobs/{job}" not in {str(one.uri) for one in listed}
                assert [row["job"] for row in (await call("find"))["jobs"]] == [own["job"]]

    run(use())


def test_the_roles_of_a_key_decide_which_tools_answer(
    outside: Start, gateway: Callable[..., Gateway]
) -> None:
    server = outside()
    serving = gateway(server, "--no-work")
    reader = serving.grant("rex", "auditor")

    async def use() -> None:
        async with agent(serving, reader) as call:
            assert (await call("find"))["is_error"] is False
            refused = await call("render", **FOX)
            assert refused["error"]["code"] == "not_permitted"

    run(use())
    assert server.requests("POST") == []


def test_a_request_without_a_valid_key_is_refused_before_the_protocol(
    outside: Start, gateway: Callable[..., Gateway]
) -> None:
    serving = gateway(outside(), "--no-work")
    key = serving.grant("ana", "requester")
    wanted = {
        (None, "POST", None): (401, "invalid_api_key"),
        ("slk_none", "POST", None): (401, "invalid_api_key"),
        (key, "GET", None): (405, "method_not_allowed"),
        (key, "POST", "https://evil.example"): (403, "origin_not_allowed"),
    }
    for (text, method, origin), expected in wanted.items():
        headers = {"Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {text}"} if text else {}
        headers |= {"Origin": origin} if origin else {}
        body = b"{}" if method == "POST" else None
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(address(serving), body, headers, method=method))
        with refused.value as answer:
            assert (answer.code, json.load(answer)["error"]["code"]) == expected


def test_a_key_spends_within_its_limits_through_both_doors(
    outside: Start, gateway: Callable[..., Gateway]
) -> None:
    server = outside(status="in_progress")
    serving = gateway(server, "--no-work")
    key = serving.grant("ana", "requester", running_jobs="1")
    serving.person("budget", "set", "actor_ana", "--limit", "0.50")

    async def use() -> None:
        async with agent(serving, key) as call:
            assert (await call("render", **FOX))["state"] == "running"
            second = await call("render", **FOX | {"request_key": "second"})
            assert second["error"]["code"] == "too_many_requests"
        other = serving.grant("ana", "requester")
        async with agent(serving, other, client_info=Implementation(name="another", version="1")) as call:
            denied = await call("render", **FOX | {"request_key": "third"})
            assert (denied["state"], denied["is_error"]) == ("denied", True), "the budget is the person's"

    run(use())
    assert prompts(server) == ["a fox runs"]


def test_an_idempotency_key_of_the_gateway_is_taken_for_tools_as_well(
    outside: Start, gateway: Callable[..., Gateway]
) -> None:
    server = outside()
    serving = gateway(server, "--no-work")
    key = serving.grant("ana", "requester")
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "fox", "Content-Type": "application/json"}
    body = json.dumps({"prompt": "a fox runs"}).encode()
    with urllib.request.urlopen(
        urllib.request.Request(f"{serving.base_url}/videos", body, headers)
    ) as answer:
        assert answer.status == 200

    async def use() -> None:
        async with agent(serving, key) as call:
            other = await call("render", **FOX | {"prompt": "a fox sleeps"})
            assert other["error"]["code"] == "request_key_taken"
            assert "request key 'fox'" in other["error"]["message"]
            [following] = other["error"]["calls"]
            assert (await call(following["tool"], **following["arguments"]))["state"] == "running"

    run(use())
    assert prompts(server) == ["a fox runs"]


def test_a_client_that_disconnects_in_mid_call_is_billed_once(
    outside: Start, gateway: Callable[..., Gateway]
) -> None:
    server = outside(create="slow@2")
    serving = gateway(server, "--no-work")
    key = serving.grant("ana", "requester")

    async def use() -> None:
        async with agent(serving, key) as call:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(call("render", **FOX), 1)
        async with agent(serving, key) as call:
            assert (await call("render", **FOX))["state"] in {"submitting", "running"}

    run(use())
    assert serving.end(15) == 0
    assert [job["state"] for job in serving.person("jobs").document["jobs"]] == ["running"]
    assert prompts(server) == ["a fox runs"]


def test_two_servers_on_one_ledger_keep_the_ceiling_of_a_session_together(
    outside: Start, gateway: Callable[..., Gateway]
) -> None:
    server = outside(create="slow@0.3")
    servers = [gateway(server, "--no-work") for _ in range(2)]
    person = servers[0].person
    (person.folder / "strict.toml").write_text(PACKAGED + "\n[agents]\nsession_usd_micros = 900_000\n")
    assert person("policy", "activate", "strict.toml", "--reason", "a rule for agents").code == 0
    key = servers[0].grant("ana", "requester", team="film")

    async def use() -> list[dict[str, Any]]:
        async with agent(servers[0], key) as one, agent(servers[1], key) as other:
            calls = (one, other) * 3
            return await asyncio.gather(
                *(call("render", **FOX | {"request_key": f"{n}"}) for n, call in enumerate(calls))
            )

    answers = run(use())
    codes = sorted(answer["error"]["code"] if "error" in answer else answer["state"] for answer in answers)
    assert codes == ["running"] * 2 + ["session_ceiling"] * 4
    assert len(server.bills()) == 2
