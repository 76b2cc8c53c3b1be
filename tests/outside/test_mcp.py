"""Agents over MCP: the reference client, a real process on stdio, and the count of a server that bills."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from tests.outside.conftest import PACKAGED, Outside, Person

pytest.importorskip("mcp", reason="the extra mcp")
from jsonschema import Draft202012Validator
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import Implementation

from ledger.tree.checkpoint import Signer
from tests.cli.test_schema import check
from tests.forked import send_order
from tests.forks import Running

T = TypeVar("T")
Start = Callable[..., Outside]
FOX = {"prompt": "a fox runs", "augment": False, "request_key": "fox"}
READING = {"decide", "find", "job", "explain", "budget", "check_remix", "policy"}
PAYING = {"render", "remix", "edit", "extend"}
ACTING = {"wait", "download", "review", "cancel"}
PATIENCE_S = 60


def run(use: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(use, PATIENCE_S))


@asynccontextmanager
async def agent(person: Person, *options: str, **how: Any) -> AsyncIterator[Callable[..., Any]]:
    """Start a server for one agent, in a process of its own, and yield what calls its tools."""
    program = person.folder.parent / "bin" / "sora-ledger"
    person.forks.install(program)
    server = StdioServerParameters(
        command=str(program), args=["mcp", *options], env=person.environment, cwd=str(person.folder)
    )
    client = Client(server, client_info=Implementation(name="fox-maker", version="1"), **how)
    async with client:

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            result = await client.call_tool(tool, arguments)
            document = dict(result.structured_content)
            assert json.loads(result.content[0].text) == document
            assert "try again" not in result.content[0].text
            about = "tool-job" if "next" in document else "tool-error" if "error" in document else None
            if about:
                check(Draft202012Validator, document, about)
            return document | {"is_error": result.is_error, "client": client}

        yield call


class Raw:
    """A client that can be killed: it writes lines, and reads none unless asked."""

    def __init__(self, person: Person, *options: str) -> None:
        (stdin, to_stdin), (from_stdout, stdout) = os.pipe(), os.pipe()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(person.forks.address)
        streams = (stdin, stdout, sys.__stderr__.fileno())
        send_order(connection, [["mcp", *options]], str(person.folder), person.environment, streams)
        os.close(stdin)
        os.close(stdout)
        self.process = Running(connection)
        self.stdin, self.stdout = os.fdopen(to_stdin, "w"), os.fdopen(from_stdout)
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}}
        self.send("initialize", 1, hello | {"clientInfo": {"name": "raw", "version": "1"}})
        self.stdout.readline()
        self.send("notifications/initialized", None, {})

    def send(self, method: str, number: int | None, params: dict[str, Any]) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        self.stdin.write(json.dumps(message | ({} if number is None else {"id": number})) + "\n")
        self.stdin.flush()

    def render(self) -> None:
        self.send("tools/call", 2, {"name": "render", "arguments": FOX})

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self.stdin.close()
        self.stdout.close()


@pytest.fixture
def raw() -> Iterator[Callable[..., Raw]]:
    """Start clients that are killed in the middle of a call."""
    started: list[Raw] = []

    def start(person: Person, *options: str) -> Raw:
        started.append(Raw(person, *options))
        return started[-1]

    yield start
    for client in started:
        client.close()


def billed(server: Any, count: int) -> None:
    """Return once the server has billed `count` videos."""
    until = time.monotonic() + PATIENCE_S
    while len(server.bills()) < count:
        assert time.monotonic() < until


def prompts(server: Any) -> list[str]:
    return [bill["prompt"] for bill in server.bills()]


def test_an_agent_decides_renders_waits_and_downloads_and_is_billed_once(
    outside: Start, person: Person
) -> None:
    server = outside()
    person = person.at(server)

    async def use() -> dict[str, Any]:
        async with agent(person) as call:
            decided = await call("decide", prompt="a fox runs")
            assert (decided["decision"], decided["cost_usd"], server.bills()) == ("ALLOW", "0.40", [])
            placed = await call("render", **FOX)
            assert (placed["state"], placed["next"]["tool"]) == ("running", "wait")
            stored = await call(placed["next"]["tool"], **placed["next"]["arguments"])
            assert (stored["state"], stored["next"]["tool"]) == ("stored", "download")
            first = await call("download", job=placed["job"], to="fox.mp4")
            again = await call("download", job=placed["job"], to="fox.mp4")
            assert (first["file"], again["is_error"]) == (again["file"], False)
            reviewed = await call("review", job=placed["job"], verdict="approved", clarity=90)
            assert reviewed["is_error"] is False
            return placed

    placed = run(use())
    assert prompts(server) == ["a fox runs"]
    assert (person.folder / "fox.mp4").stat().st_size > 0
    records = person("log", "--stream", placed["job"]).document["records"]
    [login] = {json.loads(person("log").out)["records"][0]["actor"]}
    assert {record["actor"] for record in records} == {f"agent fox-maker on behalf of {login}"}
    assert {record["actor_source"] for record in records} == {"flag"}
    assert (person("verify").code, person("audit").code) == (0, 0)


def test_one_call_made_twice_in_parallel_is_billed_once(outside: Start, person: Person) -> None:
    server = outside(create="slow@0.5")

    async def use() -> list[dict[str, Any]]:
        async with agent(person.at(server)) as call:
            return await asyncio.gather(*(call("render", **FOX) for _ in range(3)))

    answers = run(use())
    assert {answer["is_error"] for answer in answers} == {False}
    assert (len({answer["job"] for answer in answers}), prompts(server)) == (1, ["a fox runs"])


def test_two_agents_with_one_request_key_are_billed_once(outside: Start, person: Person) -> None:
    server = outside(create="slow@0.5")

    async def use() -> list[dict[str, Any]]:
        async with agent(person.at(server)) as one, agent(person.at(server)) as other:
            return await asyncio.gather(one("render", **FOX), other("render", **FOX))

    answers = run(use())
    assert (len({answer["job"] for answer in answers}), prompts(server)) == (1, ["a fox runs"])


def test_a_time_out_names_the_job_and_a_resend_is_not_billed_again(outside: Start, person: Person) -> None:
    server = outside(create="slow@3")

    async def use() -> None:
        async with agent(person.at(server), "--answer-within", "0.3") as call:
            placed = await call("render", **FOX)
            while "error" in placed:  # not recorded so soon
                assert (placed["error"]["code"], placed["error"]["retry"]) == ("timed_out", "same_key")
                placed = await call("render", **FOX)
            assert (placed["timed_out"], placed["state"]) == (True, "submitting")
            assert placed["next"]["tool"] == "wait"
            again = await call("render", **FOX)
            assert again["job"] == placed["job"]
            stored = await call("wait", job=placed["job"], seconds=20)
            assert (stored["state"], stored["cost"]["so_far_usd"]) == ("stored", "0.40")

    run(use())
    assert prompts(server) == ["a fox runs"]


def test_a_wait_that_times_out_says_to_wait_for_the_same_job(outside: Start, person: Person) -> None:
    server = outside(status="in_progress")

    async def use() -> None:
        async with agent(person.at(server)) as call:
            placed = await call("render", **FOX)
            waited = await call("wait", job=placed["job"], seconds=0)
            assert (waited["is_error"], waited["timed_out"], waited["state"]) == (False, True, "running")
            assert waited["next"] == placed["next"]
            assert waited["next"]["arguments"] == {"job": placed["job"]}

    run(use())
    assert prompts(server) == ["a fox runs"]


def test_a_client_that_dies_in_mid_call_leaves_a_job_that_a_resend_finds(
    outside: Start, person: Person, raw: Callable[..., Raw]
) -> None:
    server = outside(creates=["slow@1"])
    person = person.at(server)
    client = raw(person)
    client.render()
    billed(server, 1)
    client.stdin.close()  # as the system does when the client dies
    assert client.process.wait(PATIENCE_S) == 0
    [job] = person("jobs").document["jobs"]
    assert job["state"] == "running", "the answer was recorded before the server ended"

    async def use() -> dict[str, Any]:
        async with agent(person) as call:
            return await call("render", **FOX)

    again = run(use())
    assert (again["job"], again["repeated"], prompts(server)) == (job["job_id"], True, ["a fox runs"])


def test_sigterm_in_mid_call_records_the_answer_before_the_server_ends(
    outside: Start, person: Person, raw: Callable[..., Raw]
) -> None:
    server = outside(creates=["slow@1"])
    person = person.at(server)
    client = raw(person)
    client.render()
    billed(server, 1)
    client.process.send_signal(signal.SIGTERM)
    assert client.process.wait(PATIENCE_S) == 0
    assert [job["state"] for job in person("jobs").document["jobs"]] == ["running"]
    assert person("verify").code == 0


def test_a_killed_server_leaves_a_job_that_is_looked_for_and_not_sent_again(
    outside: Start, person: Person, raw: Callable[..., Raw]
) -> None:
    server = outside(creates=["slow@30"])
    person = person.at(server)
    client = raw(person)
    client.render()
    billed(server, 1)
    client.process.kill()
    client.process.wait(PATIENCE_S)

    async def use() -> None:
        async with agent(person) as call:
            again = await call("render", **FOX)
            assert (again["state"], again["next"]["tool"]) == ("submitting", "wait")
            waited = await call("wait", job=again["job"], seconds=1)
            assert (waited["state"], "recovery" in waited) == ("submitting", True)
            assert waited["next"]["tool"] == "wait"

    run(use())
    assert person("reconcile", "--all", "--grace", "0").code == 0
    assert (prompts(server), person("verify").code) == (["a fox runs"], 0)
    assert [job["state"] for job in person("jobs").document["jobs"]] != ["submitting"]


def test_waiting_finds_the_video_of_an_answer_that_was_lost(outside: Start, person: Person) -> None:
    server = outside(creates=["lost-answer"])

    async def use() -> None:
        async with agent(person.at(server)) as call:
            placed = await call("render", **FOX)
            assert (placed["state"], placed["next"]["tool"]) == ("unknown", "wait")
            assert (await call("render", **FOX))["job"] == placed["job"]
            assert (await call("wait", job=placed["job"], seconds=20))["state"] == "stored"

    run(use())
    assert prompts(server) == ["a fox runs"]


def test_a_held_render_is_refused_with_the_command_of_a_person_and_nothing_is_billed(
    outside: Start, person: Person
) -> None:
    server = outside()
    person = person.at(server)
    key = Signer.generate("maria")
    (person.folder / "maria.key").write_text(key.secret())
    (person.folder / "maria.key").chmod(0o600)
    rule = (
        '\n[approvers]\nmaria = ["{}"]\nomar = ["{}"]\n[[approvals]]\ncode = "FINALS"\npurposes = ["final"]\n'
    )
    omar = Signer.generate("omar")
    (person.folder / "omar.key").write_text(omar.secret())
    (person.folder / "omar.key").chmod(0o600)
    (person.folder / "strict.toml").write_text(PACKAGED + rule.format(key.verifier, omar.verifier))
    assert person("policy", "activate", "strict.toml", "--reason", "finals need a person").code == 0

    async def use() -> None:
        async with agent(person) as call:
            held = await call("render", **FOX, purpose="final")
            job = held["job"]
            assert (held["is_error"], held["state"], server.bills()) == (True, "held", [])
            assert any(command.startswith(f"sora-ledger approve {job}") for command in held["next"]["person"])
            for tool in ("approve", "resume"):
                assert (await call(tool, job=job))["error"]["code"] == "unknown_tool"
            assert (await call("render", **FOX, purpose="final"))["state"] == "held"
            assert (await call("wait", job=job, seconds=0))["state"] == "held"
            assert (await asyncio.to_thread(person, "approve", job)).code == 2, "a login is not enough"
            assert server.bills() == []
            for name in ("maria", "omar"):
                signed = await asyncio.to_thread(person, "approve", job, "--key", f"{name}.key")
                assert signed.code == 0, signed.err
            assert server.bills() == []
            decided = await call("job", job=job)
            assert (decided["state"], decided["next"]["tool"]) == ("decided", "render")
            assert (await call("render", **FOX, purpose="final"))["state"] == "running"

    run(use())
    assert (prompts(server), person("verify").code) == (["a fox runs"], 0)


def test_tools_that_say_they_only_read_record_and_send_nothing(outside: Start, person: Person) -> None:
    server = outside()
    person = person.at(server)

    async def use() -> None:
        async with agent(person) as call:
            job = (await call("render", **FOX))["job"]
            before = await asyncio.to_thread(person, "log")
            requests = server.requests()
            arguments: dict[str, dict[str, Any]] = {
                "decide": {"prompt": "make it night", "operation": "remix", "job": job},
                "job": {"job": job},
                "explain": {"job": job},
                "check_remix": {"prompt": "make it night"},
            }
            listed = (await (await call("find"))["client"].list_tools()).tools
            reading = {tool.name for tool in listed if tool.annotations.read_only_hint}
            for tool in reading:
                assert (await call(tool, **arguments.get(tool, {})))["is_error"] is False, tool
            assert reading == READING
            assert (await asyncio.to_thread(person, "log")).out == before.out
            assert server.requests() == requests

    run(use())


def test_the_tools_are_those_an_agent_may_have_and_paid_ones_need_a_request_key(person: Person) -> None:
    async def use() -> list[Any]:
        async with agent(person.with_(SORA_LEDGER_PROFILE="sandbox")) as call:
            return list((await (await call("find"))["client"].list_tools()).tools)

    tools = {tool.name: tool for tool in run(use())}
    assert list(tools)[: len(READING)] == [name for name in tools if name in READING]
    assert set(tools) == READING | PAYING | ACTING
    for name in PAYING:
        assert "request_key" in tools[name].input_schema["required"]
        assert tools[name].annotations.idempotent_hint is True
    assert [name for name in tools if tools[name].annotations.destructive_hint] == ["cancel"]
    opened = {name for name in tools if tools[name].annotations.open_world_hint}
    assert opened == PAYING | {"wait", "download"}


MISTAKES: dict[str, tuple[str, dict[str, Any], str, list[str]]] = {
    "no key": ("render", {"prompt": "a fox runs"}, "bad_arguments", ["render"]),
    "a misspelt limit": ("render", FOX | {"max_cots_usd": "1"}, "bad_arguments", ["render"]),
    "an argument of another tool": ("wait", {"job": "job_0000", "words": "x"}, "bad_arguments", []),
    "a length no model has": ("render", FOX | {"seconds": 5}, "bad_request", ["render", "decide"]),
    "a blank": ("render", FOX | {"prompt": "a {colour} fox"}, "bad_input", []),
    "a file outside": ("render", FOX | {"first_frame": "../../etc/passwd"}, "bad_input", []),
    "an unknown job": ("job", {"job": "job_0000"}, "job_not_found", ["find"]),
    "waiting for an unknown job": ("wait", {"job": "job_0000"}, "job_not_found", ["find"]),
    "an unknown source": ("extend", {**FOX, "job": "job_0000", "seconds": 4}, "job_not_found", ["find"]),
}


def test_a_mistake_is_answered_with_what_to_do_and_records_nothing(outside: Start, person: Person) -> None:
    server = outside()

    async def use() -> dict[str, Any]:
        async with agent(person.at(server)) as call:
            answers = {
                name: await call(tool, **arguments) for name, (tool, arguments, *_) in MISTAKES.items()
            }
            assert (await call("find"))["jobs"] == []
            return answers

    answers = {
        name: (
            answer["is_error"],
            answer["error"]["code"],
            [each["tool"] for each in answer["error"]["calls"]],
        )
        for name, answer in run(use()).items()
    }
    assert answers == {name: (True, code, following) for name, (*_, code, following) in MISTAKES.items()}
    assert server.requests() == []


def test_a_server_that_cannot_start_says_why_on_stderr_alone(person: Person) -> None:
    ended = person.with_(SORA_LEDGER_URL="postgresql://127.0.0.1:1/none", SORA_LEDGER_FAILOVER_SECONDS="0")(
        "mcp"
    )
    assert (ended.code, ended.out) == (7, "")
    assert ended.err


def test_a_job_of_another_server_is_neither_waited_for_nor_requested_again(
    outside: Start, person: Person
) -> None:
    first, second = outside(), outside()

    async def use() -> None:
        async with agent(person.at(first)) as call:
            job = (await call("render", **FOX))["job"]
        async with agent(person.at(second)) as call:
            waited = await call("wait", job=job, seconds=5)
            assert (waited["is_error"], waited["error"]["code"]) == (True, "wrong_server")
            assert (await call("render", **FOX))["job"] == job

    run(use())
    assert (prompts(first), second.requests()) == (["a fox runs"], [])


def test_a_key_that_is_taken_names_the_job_that_has_it(outside: Start, person: Person) -> None:
    server = outside()

    async def use() -> None:
        async with agent(person.at(server)) as call:
            job = (await call("render", **FOX))["job"]
            taken = await call("render", **FOX | {"prompt": "a fox sleeps"})
            assert taken["error"]["code"] == "request_key_taken"
            assert taken["error"]["calls"] == [{"tool": "job", "arguments": {"job": job}}]

    run(use())
    assert prompts(server) == ["a fox runs"]


def test_a_remix_with_two_changes_is_refused_before_it_costs_anything(outside: Start, person: Person) -> None:
    server = outside()

    async def use() -> None:
        async with agent(person.at(server)) as call:
            job = (await call("render", **FOX))["job"]
            await call("wait", job=job, seconds=20)
            two = {"job": job, "prompt": "Make it night and add snow", "augment": False, "request_key": "two"}
            refused = await call("remix", **two)
            assert (refused["is_error"], refused["state"]) == (True, "denied")
            assert refused["decision"]["what_now"]
            one = two | {"prompt": "Same shot. Make it night.", "request_key": "one"}
            assert (await call("remix", **one))["state"] == "running"

    run(use())
    assert [bill["operation"] for bill in server.bills()] == ["create", "remix"]


def test_an_agent_writes_only_into_its_folder_and_replaces_nothing(outside: Start, person: Person) -> None:
    server = outside()
    person = person.at(server)
    (person.folder / "clips").mkdir()
    (person.folder / "clips" / "mine.mp4").write_text("mine")
    (person.folder / "clips" / "out").symlink_to(person.folder)

    async def use() -> None:
        async with agent(person, "--folder", "clips") as call:
            job = (await call("render", **FOX))["job"]
            await call("wait", job=job, seconds=20)
            for to in ("../fox.mp4", "/tmp/fox-of-an-agent.mp4", "out/fox.mp4", "mine.mp4"):
                assert (await call("download", job=job, to=to))["error"]["code"] == "bad_input", to
            assert (await call("download", job=job))["is_error"] is False

    run(use())
    assert (person.folder / "clips" / "mine.mp4").read_text() == "mine"
    assert not (person.folder / "fox.mp4").exists()


def test_an_agent_withdraws_only_what_was_requested_for_its_person(outside: Start, person: Person) -> None:
    person = person.at(outside())
    queued = ("create", "--no-augment", "--queue", "--prompt")
    theirs = person(*queued, "a cat sleeps", "--actor", "bob").document["job_id"]
    own = person(*queued, "a dog barks").document["job_id"]

    async def use() -> None:
        async with agent(person) as call:
            refused = await call("cancel", job=theirs)
            assert (refused["error"]["code"], "bob" in refused["error"]["message"]) == ("bad_input", True)
            assert (await call("cancel", job=own, reason="not needed"))["state"] == "cancelled"

    run(use())
    states = {job["job_id"]: job["state"] for job in person("jobs").document["jobs"]}
    assert states == {theirs: "decided", own: "cancelled"}


def test_a_client_of_the_older_protocol_reads_jobs_templates_and_prompts(
    outside: Start, person: Person
) -> None:
    async def use() -> None:
        async with agent(person.at(outside()), mode="legacy") as call:
            placed = await call("render", **FOX)
            client = placed["client"]
            assert client.protocol_version == "2025-11-25"
            listed = {str(resource.uri) for resource in (await client.list_resources()).resources}
            uri = f"sora-ledger://jobs/{placed['job']}"
            assert {uri, "sora-ledger://templates/social-ad"} <= listed
            document = json.loads((await client.read_resource(uri)).contents[0].text)
            assert (document["job_id"], document["prompt"]) == (placed["job"], "a fox runs")
            blanks = (await client.read_resource("sora-ledger://templates/social-ad")).contents[0].text
            assert "blanks" in json.loads(blanks)
            [ad] = [one for one in (await client.list_prompts()).prompts if one.name == "social-ad"]
            filled = await client.get_prompt("social-ad", {one.name: "tea" for one in ad.arguments})
            assert '"prompt": "tea with tea in tea"' in filled.messages[0].content.text

    run(use())
