"""Clients with retries, a gateway that is killed again and again, and a server that drops answers."""

import asyncio
import json
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI, RateLimitError

from tests.outside.conftest import Gateway, Outside, Person

pytestmark = pytest.mark.filterwarnings("ignore:.*Sora API:DeprecationWarning")
PROFILE = """
[outside]
like = "custom"
title = "Outside"
description = "A server of the tests' own."
list_proves_absence = true
takes_effect_s = 1
"""
WORK = ("--interval", "0.2", "--grace", "1", "--lease", "2")
KEYS = 4
SETTLE_S = 90.0
OVER = {"stored", "failed", "denied", "refused", "closed"}


def records(person: Person) -> list[tuple[str, str, dict[str, Any]]]:
    """Return stream, type and payload of every record, read without the product."""
    with closing(sqlite3.connect(f"file:{person.folder}/ledger.db?mode=ro", uri=True)) as ledger:
        rows = ledger.execute("SELECT stream, type, payload FROM events ORDER BY position")
        return [(stream, kind, json.loads(payload)) for stream, kind, payload in rows]


def videos_of(person: Person) -> dict[str, str]:
    """Return the video of each job in the ledger."""
    return {job: data["video_id"] for job, _, data in records(person) if data.get("video_id")}


def settle(person: Person) -> list[dict[str, Any]]:
    """Return the jobs once all of them have ended."""
    until = time.monotonic() + SETTLE_S
    while True:
        jobs: list[dict[str, Any]] = person("jobs", "--limit", "1000").document["jobs"]
        if all(job["state"] in OVER for job in jobs):
            return jobs
        assert time.monotonic() < until, [job for job in jobs if job["state"] not in OVER][:3]
        time.sleep(0.2)


async def render(key: str, base_url: str, prompt: str, after_s: float) -> str | None:
    """Create a video after a while and poll it to its end, as applications do; return its id, or None."""
    await asyncio.sleep(after_s)
    async with AsyncOpenAI(api_key=key, base_url=base_url, max_retries=10) as client:
        return await to_its_end(client, prompt)


async def to_its_end(client: AsyncOpenAI, prompt: str) -> str | None:
    """Create a video and poll it."""
    try:
        video = await client.videos.create(prompt=prompt, model="sora-2", seconds="4", size="720x1280")
    except APIError:
        return None
    while video.status not in {"completed", "failed"}:
        await asyncio.sleep(1)
        try:
            video = await client.videos.retrieve(video.id)
        except APIError:
            continue
        assert video.prompt == prompt
    assert video.status == "completed", video
    return video.id


async def kill_again_and_again(gateway: Gateway, server: Outside, kills: int, clients: int) -> None:
    """Kill the gateway each time another part of the videos was made, and start it again."""
    for number in range(kills):
        enough, until = clients * number // kills + 1, time.monotonic() + 5
        while len(await asyncio.to_thread(server.bills)) < enough and time.monotonic() < until:
            pass
        await asyncio.sleep(random.Random(number).uniform(0, 0.2))
        await asyncio.to_thread(gateway.end)
        await asyncio.to_thread(gateway.start)


async def storm(
    gateway: Gateway, server: Outside, keys: list[str], clients: int, kills: int
) -> list[str | None]:
    """Run the clients while the gateway is killed; return the id that each client got."""
    async with asyncio.timeout(600), asyncio.TaskGroup() as tasks:
        tasks.create_task(kill_again_and_again(gateway, server, kills, clients))
        renders = [
            tasks.create_task(
                render(
                    keys[number % KEYS], gateway.base_url, f"[#{number}] a fox runs", kills * number / clients
                )
            )
            for number in range(clients)  # so that each kill meets some of them
        ]
    return [task.result() for task in renders]


def endure(
    outside: Callable[..., Outside], person: Person, gateway: Callable[..., Gateway], clients: int, kills: int
) -> None:
    """Let a storm pass, and compare what was billed with the ledger and with what the clients got."""
    (person.folder.parent / "profiles.toml").write_text(PROFILE)
    chance = random.Random(1)
    answers = [chance.choice(["ok", "ok", "lost-answer"]) for _ in range(20 * clients)]
    server = outside(creates=answers)
    ours = gateway(server, *WORK)
    keys = [ours.grant(f"client{number}", "requester") for number in range(KEYS)]
    ids = asyncio.run(storm(ours, server, keys, clients, kills))
    settle(person)
    bills = {bill["id"]: bill["prompt"].partition("[#")[2].partition("]")[0] for bill in server.bills()}
    assert len(set(bills.values())) == len(bills), "a request was billed twice"
    videos = videos_of(person)
    assert set(videos.values()) == set(bills)
    for number, public_id in enumerate(ids):
        if public_id is not None:
            assert bills[videos[public_id.replace("video_", "job_")]] == str(number)
    assert sum(public_id is not None for public_id in ids) >= clients * 0.9
    assert person("verify").code == 0
    audited = person.at(server)("audit")
    assert audited.code == 0, audited.out


@pytest.mark.timeout(300)
def test_what_was_billed_is_what_was_accepted_and_each_client_has_its_own_video(
    outside: Callable[..., Outside], person: Person, gateway: Callable[..., Gateway]
) -> None:
    endure(outside, person, gateway, clients=24, kills=3)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_two_hundred_clients_survive_twenty_kills(
    outside: Callable[..., Outside], person: Person, gateway: Callable[..., Gateway]
) -> None:
    endure(outside, person, gateway, clients=200, kills=20)


@pytest.mark.timeout(120)
def test_fifty_clients_that_race_for_the_last_five_dollars_spend_no_more(
    outside: Callable[..., Outside], person: Person, gateway: Callable[..., Gateway]
) -> None:
    """At 0.40 dollars a video, twelve fit; two gateways share the ledger."""
    server = outside()
    set_to_five = person("budget", "set", "all", "--limit", "5", "--reason", "what is left")
    assert set_to_five.code == 0, set_to_five.err
    both = [gateway(server), gateway(server)]
    key = both[0].grant("alice", "requester")

    async def create(number: int) -> str:
        try:
            async with AsyncOpenAI(api_key=key, base_url=both[number % 2].base_url) as client:
                await client.videos.create(prompt=f"shot {number}", model="sora-2", seconds="4")
        except RateLimitError as error:
            return str(error.code)
        return "created"

    async def race() -> list[str]:
        return await asyncio.gather(*(create(number) for number in range(50)))

    outcomes = asyncio.run(race())
    assert sorted(set(outcomes)) == ["created", "insufficient_quota"]
    assert outcomes.count("created") == len(server.bills()) == 12
    assert person("verify").code == 0
