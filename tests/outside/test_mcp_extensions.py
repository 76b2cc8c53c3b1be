"""What some clients can do besides calling tools: open an address, poll a task, show a card."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any, Literal

import pytest

from tests.outside.conftest import PACKAGED, Outside, Person

pytest.importorskip("mcp", reason="the extra mcp")
from mcp.client.client import Client
from mcp.client.extension import advertise
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolRequest,
    CallToolRequestParams,
    ElicitResult,
    Request,
    RequestParams,
    Result,
)
from pydantic import ConfigDict

from ledger.tree.checkpoint import Signer
from tests.outside.test_mcp import FOX, agent, prompts, run

Start = Callable[..., Outside]
FINALS = (
    '\n[approvers]\nmaria = ["{}"]\nomar = ["{}"]\n[[approvals]]\ncode = "FINALS"\npurposes = ["final"]\n'
)
TASKS, UI, CARD = "io.modelcontextprotocol/tasks", "io.modelcontextprotocol/ui", "ui://sora-ledger/job.html"
FINAL = FOX | {"purpose": "final"}


def activate(person: Person, more: str) -> None:
    (person.folder / "strict.toml").write_text(PACKAGED + more)
    ended = person("policy", "activate", "strict.toml", "--reason", "a rule for agents")
    assert ended.code == 0, ended.err


def finals_need_two_signatures(person: Person) -> None:
    keys = []
    for name in ("maria", "omar"):
        key = Signer.generate(name)
        (person.folder / f"{name}.key").write_text(key.secret())
        (person.folder / f"{name}.key").chmod(0o600)
        keys.append(key.verifier)
    activate(person, FINALS.format(*keys))


def approve(person: Person, job: str) -> None:
    for name in ("maria", "omar"):
        signed = person("approve", job, "--key", f"{name}.key")
        assert signed.code == 0, signed.err


class Answer(Result):
    """A result of the extension, with all its fields."""

    model_config = ConfigDict(extra="allow")


class TaskParams(RequestParams):
    task_id: str
    input_responses: dict[str, Any] | None = None


class TaskRequest(Request[TaskParams, Literal["tasks/get", "tasks/update", "tasks/cancel"]]):
    method: Literal["tasks/get", "tasks/update", "tasks/cancel"]
    params: TaskParams


async def task(client: Client, verb: str, name: str, **more: Any) -> dict[str, Any]:
    """Call a method of the extension Tasks; the client has no methods of its own for them."""
    sent = TaskRequest(method=f"tasks/{verb}", params=TaskParams(task_id=name, **more))
    answer = await client.session.send_request(sent, Answer)
    return answer.model_dump(by_alias=True)


def test_a_held_render_leads_to_the_approval_page_and_is_sent_once_it_is_approved(
    outside: Start, person: Person
) -> None:
    server = outside()
    person = person.at(server).with_(SORA_LEDGER_CONSOLE_URL="https://renders.example.org")
    finals_need_two_signatures(person)
    opened: list[str] = []

    async def open_address(_: Any, asked: Any) -> ElicitResult:
        opened.append(asked.url)
        assert server.bills() == []
        await asyncio.to_thread(approve, person, asked.url.rpartition("/")[2])
        return ElicitResult(action="accept")

    async def use() -> dict[str, Any]:
        async with agent(person, elicitation_callback=open_address) as call:
            return await call("render", **FINAL)

    sent = run(use())
    assert (sent["state"], opened) == (
        "running",
        [f"https://renders.example.org/console/inbox/{sent['job']}"],
    )
    assert (prompts(server), person("verify").code) == (["a fox runs"], 0)


@pytest.mark.parametrize("action", ["accept", "decline"])
def test_an_answer_of_the_client_alone_approves_nothing(outside: Start, person: Person, action: str) -> None:
    server = outside()
    person = person.at(server).with_(SORA_LEDGER_CONSOLE_URL="https://renders.example.org")
    finals_need_two_signatures(person)

    async def answer(*_: Any) -> ElicitResult:
        return ElicitResult(action=action)

    async def use() -> dict[str, Any]:
        async with agent(person, "--answer-within", "1", elicitation_callback=answer) as call:
            return await call("render", **FINAL)

    held = run(use())
    assert (held["is_error"], held["state"], server.requests("POST")) == (True, "held", [])


def test_without_a_console_a_held_render_is_refused_at_once(outside: Start, person: Person) -> None:
    server = outside()
    person = person.at(server)
    finals_need_two_signatures(person)

    async def never(*_: Any) -> ElicitResult:
        raise AssertionError("there is no address to open")

    async def use() -> dict[str, Any]:
        async with agent(person, elicitation_callback=never) as call:
            return await call("render", **FINAL)

    held = run(use())
    assert (held["is_error"], held["state"], server.requests("POST")) == (True, "held", [])


def test_a_client_that_declares_tasks_polls_its_job_as_a_task(outside: Start, person: Person) -> None:
    server = outside()

    async def use() -> None:
        async with agent(person.at(server), extensions=[advertise(TASKS)]) as call:
            client = (await call("find"))["client"]
            began = (await raw(client, "render", FOX)).model_dump(by_alias=True)
            assert (began["resultType"], began["status"], began["ttlMs"]) == ("task", "working", None)
            state = await task(client, "get", began["taskId"])
            while state["status"] == "working":
                state = await task(client, "get", began["taskId"])
            assert (state["resultType"], state["status"]) == ("complete", "completed")
            assert state["result"]["structuredContent"]["state"] == "stored"
            assert (await call("job", job=began["taskId"]))["state"] == "stored"
            await task(client, "cancel", began["taskId"])
            assert (await task(client, "get", began["taskId"]))["status"] == "completed"
            with pytest.raises(MCPError):
                await task(client, "get", "job_0000")

    run(use())
    assert prompts(server) == ["a fox runs"]


async def raw(client: Client, tool: str, arguments: dict[str, Any]) -> Answer:
    """Call a tool, and return whatever result comes."""
    sent = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments))
    return await client.session.send_request(sent, Answer)


def test_a_held_task_asks_for_input_and_sends_after_the_approval_or_is_cancelled(
    outside: Start, person: Person
) -> None:
    server = outside()
    person = person.at(server).with_(SORA_LEDGER_CONSOLE_URL="https://renders.example.org")
    finals_need_two_signatures(person)

    async def later(*_: Any) -> ElicitResult:
        return ElicitResult(action="decline")

    async def use() -> None:
        how = {"extensions": [advertise(TASKS)], "elicitation_callback": later}
        async with agent(person, **how) as call:
            held = await call("render", **FINAL)
            client, name = held["client"], held["job"]
            state = await task(client, "get", name)
            assert (state["status"], list(state["inputRequests"])) == ("input_required", ["approval"])
            assert state["inputRequests"]["approval"]["params"]["url"].endswith(name)
            await task(client, "update", name, input_responses={"approval": {"action": "accept"}})
            assert (await task(client, "get", name))["status"] == "input_required"
            assert server.requests("POST") == []
            await asyncio.to_thread(approve, person, name)
            while state["status"] != "completed":
                state = await task(client, "get", name)
            other = (await call("render", **FINAL | {"request_key": "other"}))["job"]
            await task(client, "cancel", other)
            assert (await task(client, "get", other))["status"] == "cancelled"

    run(use())
    assert prompts(server) == ["a fox runs"]


def test_a_client_that_declares_nothing_gets_plain_handles_and_no_tasks(
    outside: Start, person: Person
) -> None:
    async def use() -> None:
        async with agent(person.at(outside())) as call:
            placed = await call("render", **FOX)
            assert placed["state"] == "running"
            with pytest.raises(MCPError) as refused:
                await task(placed["client"], "get", placed["job"])
            assert refused.value.error.code == -32021
            assert "wait" in refused.value.error.message

    run(use())


def test_a_client_that_shows_cards_gets_one_with_the_video(outside: Start, person: Person) -> None:
    shows = advertise(UI, {"mimeTypes": ["text/html;profile=mcp-app"]})

    async def cards(call: Any) -> set[str]:
        tools = (await (await call("find"))["client"].list_tools()).tools
        return {tool.name for tool in tools if ((tool.meta or {}).get("ui") or {}).get("resourceUri") == CARD}

    async def use() -> None:
        person_ = person.at(outside())
        async with agent(person_) as call:
            assert await cards(call) == set()
        async with agent(person_, extensions=[shows]) as call:
            assert {"render", "job", "wait"} <= await cards(call)
            placed = await call("render", **FOX)
            client = placed["client"]
            [page] = (await client.read_resource(CARD)).contents
            assert page.mime_type == "text/html;profile=mcp-app"
            assert all(word in page.text for word in ("<video", "ui/initialize", "cost so far"))
            await call("wait", job=placed["job"], seconds=20)
            [video] = (await client.read_resource(f"sora-ledger://videos/{placed['job']}")).contents
            assert base64.b64decode(video.blob)[4:8] == b"ftyp"

    run(use())


def test_a_session_spends_no_more_than_the_policy_lets_it_in_parallel_and_after_a_restart(
    outside: Start, person: Person
) -> None:
    server = outside(create="slow@0.5")
    person = person.at(server)
    activate(person, "\n[agents]\nsession_usd_micros = 900_000\n")

    async def use() -> list[dict[str, Any]]:
        async with agent(person) as call:
            answers = await asyncio.gather(
                *(call("render", **FOX | {"request_key": f"{n}"}) for n in range(4))
            )
            again = next(answer for answer in answers if "error" not in answer)
            assert (await call("render", **FOX | {"request_key": again["request_key"]}))["job"] == again[
                "job"
            ]
        async with agent(person) as call:  # another process
            after = await call("render", **FOX | {"request_key": "after"})
            assert (after["error"]["code"], after["error"]["found"]) == ("session_ceiling", "0.40 USD")
        return list(answers)

    answers = run(use())
    codes = sorted(answer["error"]["code"] if "error" in answer else answer["state"] for answer in answers)
    assert codes == ["running", "running", "session_ceiling", "session_ceiling"]
    refused = next(answer for answer in answers if "error" in answer)
    assert [call["tool"] for call in refused["error"]["calls"]] == ["find"]
    assert len(server.bills()) == 2
    assert json.dumps(refused["error"]["message"]).count("session_usd_micros") == 1
