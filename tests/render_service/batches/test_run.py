"""A batch: decided whole, sent a few at a time, never sent twice, gone on with from the ledger."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import httpx2
import pytest

from decision.rules.toml import default_catalog
from ledger.events import RenderRequested
from ledger.job import Job
from ledger.terms import State, Variant
from render_service.batches.file import BatchInvalid, read_batch
from render_service.batches.folder import BatchFolder
from render_service.batches.item import Member
from render_service.batches.plan import Planned, plan, request_key
from render_service.batches.run import BatchOptions, counts, enrol, run_batch
from render_service.runtime.errors import BadInput
from render_service.session.event_ids import batch_id
from render_service.session.session import Session
from sora_adapter.sandbox.server import SandboxServer

pytestmark = pytest.mark.anyio

FOXES = "\n".join(f"fox {number}" for number in range(8))
ONCE = BatchOptions(interval_s=0.05, timeout_s=120)
AGAIN = replace(ONCE, resume=True)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def planned(out: Path) -> Callable[..., list[Planned]]:
    """Read a batch."""

    def read(text: str = FOXES, **defaults: Any) -> list[Planned]:
        values = {"profile": "openai", "augment": False} | defaults
        return plan(
            read_batch(text, Path()),
            name="prompts.jsonl",
            batch=batch_id(out),
            defaults=values,
            catalog=default_catalog(),
        )

    return read


@pytest.fixture
def run(out: Path) -> Callable[..., Coroutine[Any, Any, list[Member]]]:
    """Carry out a batch in a session."""

    async def carry(session: Session, entries: list[Planned], terms: BatchOptions = ONCE) -> list[Member]:
        return await run_batch(session, entries, BatchFolder(out), terms)

    return carry


@pytest.fixture
def server(sandbox: Callable[..., SandboxServer]) -> SandboxServer:
    return sandbox()


@pytest.fixture
def session(at: Callable[[str], Session], server: SandboxServer) -> Session:
    return at(server.base_url)


def creates(server: SandboxServer) -> int:
    return int(httpx2.get(f"{server.origin}/_sandbox/requests").json().get("creates", 0))


def files(folder: Path, pattern: str = "*.json") -> list[Path]:
    return sorted(folder.rglob(pattern))


def states(members: list[Member]) -> Counter[str]:
    return Counter(member.job.state.value for member in members)


async def test_every_entry_is_decided_recorded_and_sent_once(
    session: Session,
    server: SandboxServer,
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
    intact: Callable[[], bool],
) -> None:
    members = await run(session, planned())
    assert (states(members), creates(server)) == ({"running": 8}, 8)
    assert [member.job for member in members] == [session.ledger.job(member.job.job_id) for member in members]
    assert intact()


async def test_everything_is_decided_before_anything_is_sent(
    session: Session,
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
    types: Callable[[Job], list[str]],
) -> None:
    members = await run(session, planned())
    first = min(session.ledger.history(member.job.job_id)[2].position for member in members)
    assert all(session.ledger.history(member.job.job_id)[1].position < first for member in members)
    assert types(members[0].job) == [
        "render.requested",
        "render.decided",
        "submission.intended",
        "submission.accepted",
    ]


async def test_a_sender_leaves_at_most_one_outcome_to_be_recorded_beside_its_next_call(
    session: Session,
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
) -> None:
    await run(session, planned("a fox\nan owl\na hare\na wren\na seal"), replace(ONCE, concurrency=1))
    unrecorded: set[str] = set()
    for record in session.ledger.read():
        if record.type == "submission.intended":
            unrecorded.add(record.stream)
        elif record.type == "submission.accepted":
            unrecorded.remove(record.stream)
        assert len(unrecorded) <= 2  # the outcome of one call, and the intent of the next
    assert not unrecorded


async def test_a_key_holds_no_word_of_a_prompt(
    session: Session,
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
    event: Any,
) -> None:
    [member, *_] = await run(session, planned())
    key = event(member.job, RenderRequested).request_key
    assert (key.startswith("batch:"), key.endswith(":001"), "fox" in key) == (True, True, False)


async def test_a_denied_entry_stops_none_of_the_others(
    session: Session,
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
) -> None:
    text = 'a fox\n{"prompt": "an owl", "size": "1792x1024", "model": "sora-2"}\na hare'
    members = await run(session, planned(text))
    assert states(members) == {"running": 2, "denied": 1}
    assert [member.has_failed for member in members] == [False, True, False]


async def test_the_documents_of_the_jobs_are_in_the_folder(
    session: Session,
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
    out: Path,
) -> None:
    text = '{"prompt": "a fox", "out": "animals/fox"}\n狐'
    members = await run(session, planned(text))
    assert [path.relative_to(out).as_posix() for path in files(out)] == ["002-狐.json", "animals/fox.json"]
    assert json.loads((out / "animals/fox.json").read_text())["job_id"] == members[0].job.job_id


async def test_polling_stores_every_video_and_rewrites_the_documents(
    session: Session,
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
    out: Path,
    intact: Callable[[], bool],
) -> None:
    members = await run(session, planned(), replace(ONCE, poll=True))
    written = {json.loads(path.read_text())["state"] for path in files(out)}
    assert (states(members), written, intact()) == ({"stored": 8}, {"stored"}, True)


async def test_downloading_copies_each_video_beside_its_document(
    session: Session,
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
    out: Path,
) -> None:
    members = await run(session, planned("a fox\nan owl"), replace(ONCE, poll=True, download=True))
    assert [file for member in members for file in member.files] == files(out, "*.mp4")
    assert (out / "001-a-fox.mp4").stat().st_size == members[0].job.assets[Variant.VIDEO].bytes


async def test_a_batch_that_was_begun_is_not_begun_again(
    session: Session,
    server: SandboxServer,
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
) -> None:
    await run(session, planned())
    with pytest.raises(BadInput, match="8 of its 8 entries are in the ledger; continue it with --resume"):
        await run(session, planned())
    assert creates(server) == 8


async def test_the_same_file_for_another_folder_is_another_batch(session: Session, tmp_path: Path) -> None:
    reading, defaults = read_batch(FOXES, Path()), {"profile": "openai"}
    for name in ("one", "two"):
        entries = plan(
            reading, name="x", batch=batch_id(tmp_path / name), defaults=defaults, catalog=default_catalog()
        )
        await enrol(session, entries, resume=False)
    assert len(session.ledger.jobs()) == 16


async def test_resuming_sends_what_was_not_sent_and_nothing_else(
    session: Session,
    server: SandboxServer,
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
    out: Path,
) -> None:
    await run(session, planned("\n".join(FOXES.splitlines()[:5])))
    for path in files(out):
        path.unlink()  # files decide nothing
    members = await run(session, planned(), AGAIN)
    assert (states(members), creates(server), len(files(out))) == ({"running": 8}, 8, 8)


async def test_entries_that_were_only_decided_are_sent_on_resuming(
    session: Session,
    server: SandboxServer,
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
) -> None:
    await enrol(session, planned(), resume=False)
    assert states(await run(session, planned(), AGAIN)) == {"running": 8}
    assert creates(server) == 8


async def test_an_entry_that_was_changed_is_refused_with_its_line(
    session: Session,
    server: SandboxServer,
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
) -> None:
    await run(session, planned())
    with pytest.raises(
        BatchInvalid,
        match=r"line 3: it is job_\w+, recorded with another prompt and another seconds; restore",
    ):
        await run(session, planned(FOXES.replace("fox 2", '{"prompt": "an owl", "seconds": 8}')), AGAIN)
    assert creates(server) == 8


async def test_a_lost_answer_is_unknown_and_never_sent_again(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
) -> None:
    server = sandbox(faults=("create=none:2", "create=kept-but-answer-lost:1"))
    session = at(server.base_url)
    first = await run(session, planned(), replace(ONCE, concurrency=1))
    again = await run(session, planned(), AGAIN)
    assert (states(first), states(again)) == ({"running": 7, "unknown": 1},) * 2
    assert creates(server) == 8


async def test_a_server_at_capacity_is_asked_again_as_often_as_was_said(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    session = replace(at(sandbox(faults=("create=429:2",)).base_url), sleep=sleep)
    [member] = await run(session, planned("a fox"), replace(ONCE, attempts=3))
    assert (member.job.state, member.job.attempts, len(waits)) == (State.RUNNING, 3, 2)


async def test_after_the_last_attempt_an_entry_waits_for_resuming(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
) -> None:
    server = sandbox(faults=("create=429:2",))
    session = replace(at(server.base_url), sleep=lambda _: asyncio.sleep(0))
    [refused] = await run(session, planned("a fox"), replace(ONCE, attempts=2))
    [sent] = await run(session, planned("a fox"), AGAIN)
    assert (refused.job.state, sent.job.state, sent.job.attempts) == (State.REJECTED, State.RUNNING, 3)


async def test_fail_fast_sends_nothing_new_after_a_failure(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
) -> None:
    server = sandbox(faults=("create=none:2", "create=500:1"))
    session = at(server.base_url)
    members = await run(session, planned(), replace(ONCE, concurrency=1, fail_fast=True))
    assert states(members) == {"running": 2, "unknown": 1, "decided": 5}
    assert counts(members) == {"entries": 8, "decided": 5, "unknown": 1, "running": 2}


@pytest.fixture
def held_until(held_back: Event) -> Callable[[Session, str], Awaitable[None]]:
    """Hold back what is slow at the server until an event is recorded."""

    async def wait(session: Session, event: str) -> None:
        while event not in {record.type for record in session.ledger.read()}:  # noqa: ASYNC110  # the batch records it
            await asyncio.sleep(0.01)
        held_back.set()

    return wait


async def test_what_was_sent_is_settled_while_the_rest_is_sent(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
    intact: Callable[[], bool],
    held_until: Callable[[Session, str], Awaitable[None]],
) -> None:
    session = at(sandbox(faults=("create=none:1", "create=slow@1:1")).base_url)
    terms = replace(ONCE, concurrency=1, poll=True)
    await asyncio.gather(run(session, planned("a fox\nan owl"), terms), held_until(session, "render.closed"))
    order = [record.type for record in session.ledger.read()]
    assert order.index("render.closed") < len(order) - order[::-1].index("submission.accepted")
    assert intact()


async def test_fail_fast_sends_nothing_new_after_a_render_that_failed(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
    held_until: Callable[[Session, str], Awaitable[None]],
) -> None:
    session = at(sandbox(faults=("create=none:1", "create=slow@1:1")).base_url)
    terms = replace(ONCE, concurrency=1, poll=True, fail_fast=True)
    entries = planned("a [fail] fox\nan owl\na hare")
    members, _ = await asyncio.gather(run(session, entries, terms), held_until(session, "render.closed"))
    assert [member.job.state for member in members] == [State.FAILED, State.STORED, State.DECIDED]


async def test_ctrl_c_records_what_is_in_flight_and_resuming_sends_the_rest(
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
    intact: Callable[[], bool],
    held_back: Event,
) -> None:
    server = sandbox(faults=("create=none:3", "create=slow@1:2"))
    session = at(server.base_url)
    task = asyncio.create_task(run(session, planned(), replace(ONCE, concurrency=2)))
    async with httpx2.AsyncClient() as client:
        while (await client.get(f"{server.origin}/_sandbox/faults")).json()["faults"]:
            pass
    task.cancel()
    asyncio.get_running_loop().call_later(0.1, held_back.set)  # the calls under way are waited for
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {job.state for job in session.ledger.jobs()} == {State.RUNNING, State.DECIDED}
    assert states(await run(session, planned(), AGAIN)) == {"running": 8}
    assert (creates(server), intact()) == (8, True)


async def test_two_processes_with_one_batch_send_every_entry_once(
    at: Callable[[str], Session],
    server: SandboxServer,
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
) -> None:
    sessions = [at(server.base_url) for _ in range(2)]
    await enrol(sessions[0], planned(), resume=False)
    both = await asyncio.gather(*(run(session, planned(), AGAIN) for session in sessions))
    assert creates(server) == 8
    assert all(states(members).keys() <= {"running", "submitting"} for members in both)


async def test_two_processes_that_begin_one_batch_make_one(
    at: Callable[[str], Session], server: SandboxServer, planned: Callable[..., list[Planned]]
) -> None:
    sessions = [at(server.base_url) for _ in range(2)]
    ends = await asyncio.gather(
        *(enrol(session, planned(), resume=False) for session in sessions), return_exceptions=True
    )
    refused = [end for end in ends if isinstance(end, BadInput)]
    assert (len(refused), len(sessions[0].ledger.jobs())) == (1, 8)


async def test_a_file_that_cannot_be_written_is_the_trouble_of_its_entry_alone(
    session: Session,
    planned: Callable[..., list[Planned]],
    run: Callable[..., Coroutine[Any, Any, list[Member]]],
    out: Path,
) -> None:
    entries = planned("a fox\nan owl")
    (out / "001-a-fox.json").mkdir(parents=True)
    members = await run(session, entries)
    assert [member.error is None for member in members] == [False, True]
    assert "the job itself is in the ledger" in str(members[0].error)


def test_keys_stay_the_same_when_a_batch_grows() -> None:
    assert [request_key("x", number) for number in (1, 20, 1_000)] == [
        "batch:x:001",
        "batch:x:020",
        "batch:x:1000",
    ]
