"""The promises under any order of ordinary commands, faults and odd servers.

People, other clients and a worker act on one ledger in processes of their own; the server lies about its
list, loses answers, creates late; a disk is full now and then; processes are killed in the paid call. After
each step the server's books are compared with the ledger's (docs/promises.md). `make soak` takes
many more steps.
"""

import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.forks import Forks, Running
from tests.outside.conftest import Outside

HERE = Path(__file__).parent
KEY = "sk-outside-0123456789"
PROFILE = """
[outside]
like = "custom"
title = "Outside"
description = "A server of the tests' own."
list_proves_absence = true
takes_effect_s = 1
"""
ODD_LISTS: dict[str, Any] = {
    "order": st.sampled_from(["asked", "asc", "desc", "shuffle"]),
    "page": st.sampled_from([1, 2, 100]),
    "has_more": st.booleans(),
    "last_id": st.booleans(),
    "list_prompts": st.booleans(),
    "created_at": st.booleans(),
    "clock_step_s": st.sampled_from([1, 3600]),
    "list_lag_s": st.sampled_from([0.0, 0.3]),
    "after": st.booleans(),
    "prompt": st.sampled_from([None, "trim", "nfc", 12]),
}
USUAL: dict[str, Any] = {
    "order": "asked",
    "page": 100,
    "has_more": True,
    "last_id": True,
    "list_prompts": True,
    "created_at": True,
    "clock_step_s": 1,
    "list_lag_s": 0.0,
    "prompt": None,
    "after": True,
}
ANSWER = st.sampled_from(
    ["ok", "ok", "ok", "lost-request", "lost-answer", "500", "500-created", "429", "400", "late@0.2"]
)
ANSWERS = st.lists(ANSWER, max_size=3)
WORKER_S = 3.0
"""A worker that drains waits until the last lost answer can be looked for, which takes ten minutes."""
QUEUE = st.sampled_from([[], ["--queue"]])
TEMPLATE = st.sampled_from([[], ["--no-augment"]])
WORDS = st.sampled_from(["a fox  runs", "a café", "rain on tin", "a very long walk through tall grass"])


@dataclass
class World:
    """A server, a ledger in a folder, and how to run commands on it."""

    forks: Forks
    server: Any
    folder: Path
    environment: dict[str, str]
    number: int = 0

    def begin(
        self, *commands: Sequence[str], actor: str = "ana", largest_file: int | None = None
    ) -> tuple[Running, Path, Path]:
        """Start commands, one after the other until one fails; return them and the files printed to."""
        self.number += 1
        out, err = self.folder / f"{self.number}.out", self.folder / f"{self.number}.err"
        with out.open("wb") as to_out, err.open("wb") as to_err:
            running = self.forks.start(
                commands,
                self.folder,
                {**self.environment, "SORA_LEDGER_ACTOR": actor},
                to_out,
                to_err,
                largest_file=largest_file,
            )
        return running, out, err

    def run(self, *command: str, **how: Any) -> int:
        """Run a command to its end; return its exit code."""
        running, _, err = self.begin(command, **how)
        code = running.end_after(WORKER_S) if command[0] == "worker" else running.wait()
        shown = f"{command} {how} ended with {code}:\n{err.read_text()[-3_000:]}"
        assert 0 <= code <= 11 or code == -signal.SIGTERM, shown
        assert "Traceback" not in shown, shown
        return code

    def documents(self, *commands: Sequence[str]) -> list[Any]:
        """Run commands that only read, none of which may fail; return their documents."""
        running, out, err = self.begin(*((*command, "--json") for command in commands))
        assert running.wait() == 0, out.read_text()[-2_000:] + err.read_text()[-2_000:]
        text, decoder, found = out.read_text().strip(), json.JSONDecoder(), []
        while text:
            document, end = decoder.raw_decode(text)
            found.append(document)
            text = text[end:].strip()
        return found

    def records(self) -> list[tuple[int, str, str, dict[str, Any]]]:
        """Return position, stream, type and payload of every record, read without the product."""
        with closing(sqlite3.connect(f"file:{self.folder}/ledger.db?mode=ro", uri=True)) as ledger:
            rows = ledger.execute("SELECT position, stream, type, payload FROM events ORDER BY position")
            return [(position, stream, kind, json.loads(payload)) for position, stream, kind, payload in rows]

    def prompts(self) -> dict[str, str]:
        """Return the prompt of each request by its job."""
        with closing(sqlite3.connect(f"file:{self.folder}/ledger.db?mode=ro", uri=True)) as ledger:
            return dict(
                ledger.execute(
                    "SELECT stream, text FROM events JOIN private_bodies USING (position) "
                    "WHERE type = 'render.requested' AND field LIKE '%prompt' ORDER BY length(text)"
                )
            )


class People(RuleBasedStateMachine):
    """What people type, what goes wrong, and what must hold after each step."""

    world: World
    """Set by the test, for all examples."""

    def __init__(self) -> None:
        super().__init__()
        self.tag = 0
        self.keys: list[tuple[str, str]] = []
        self.quiet_at = 0.0
        """When the last call that may still take effect has taken it."""

    @initialize(clock_s=st.sampled_from([0, 0, 7200, -7200]))
    def begin(self, clock_s: int) -> None:
        world = self.world
        world.server.reset()
        world.server.behave(clock_s=clock_s)
        for path in world.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert world.run("budget", "set", "all", "--limit", "1000", "--reason", "agreed") == 0

    # --- what people type ---

    @rule(words=WORDS, actor=st.sampled_from(["ana", "bob"]), answers=ANSWERS, more=QUEUE)
    def create(self, words: str, actor: str, answers: list[str], more: list[str]) -> None:
        self.answer(answers)
        key = f"key-{self.tag}"
        self.keys.append((key, self.text(words)))
        self.world.run("create", "--prompt", self.keys[-1][1], "--request-key", key, *more, actor=actor)

    @precondition(lambda self: self.keys)
    @rule(data=st.data(), flags=TEMPLATE, answers=ANSWERS)
    def repeat(self, data: st.DataObject, flags: list[str], answers: list[str]) -> None:
        """Repeat a request under its key, perhaps with another template."""
        key, text = data.draw(st.sampled_from(self.keys))
        self.answer(answers)
        self.world.run("create", "--prompt", text, "--request-key", key, *flags)

    @rule(words=WORDS, answers=ANSWERS, flags=TEMPLATE)
    def batch(self, words: str, answers: list[str], flags: list[str]) -> None:
        """Render two lines, and resume the file, perhaps with another template."""
        name = f"batch-{self.tag}"
        lines = [json.dumps({"prompt": self.text(words)}) for _ in range(2)]
        (self.world.folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        command = ("create-batch", "--input", f"{name}.jsonl", "--out-dir", name, "--max-attempts", "1")
        self.answer(answers)
        self.world.run(*command, "--timeout", "0.5")
        self.world.run(*command, "--timeout", "0.5", "--resume", *flags)

    @precondition(lambda self: self.videos())
    @rule(data=st.data(), command=st.sampled_from(["status", "poll", "download", "adopt", "delete"]))
    def name_a_video(self, data: st.DataObject, command: str) -> None:
        """Name a video that the server's list shows, whoever asked for it."""
        video = data.draw(st.sampled_from(self.videos()))
        more = {"poll": ["--timeout", "0.5"], "delete": ["--yes"]}.get(command, [])
        self.world.run(command, "--id", video, *more)

    @precondition(lambda self: self.videos())
    @rule(data=st.data(), answers=ANSWERS)
    def remix(self, data: st.DataObject, answers: list[str]) -> None:
        video = data.draw(st.sampled_from(self.videos()))
        self.answer(answers)
        self.world.run("remix", "--id", video, "--prompt", self.text("Make it night."))

    @precondition(lambda self: self.jobs())
    @rule(data=st.data(), command=st.sampled_from(["resume", "poll", "status", "cancel"]), answers=ANSWERS)
    def name_a_job(self, data: st.DataObject, command: str, answers: list[str]) -> None:
        job = data.draw(st.sampled_from(self.jobs()))
        self.answer(answers)
        self.world.run(command, job, *(["--timeout", "0.5"] if command == "poll" else []))

    @rule()
    def adopt_all(self) -> None:
        self.world.run("adopt", "--all")

    @rule()
    def reconcile(self) -> None:
        """Look for what was lost, knowing that nobody is submitting."""
        self.wait_until_quiet()
        self.world.run("reconcile", "--all", "--grace", "0")

    @rule(answers=ANSWERS)
    def work(self, answers: list[str]) -> None:
        self.wait_until_quiet()
        self.answer(answers)
        self.world.run("worker", "--drain", "--grace", "0", "--interval", "0.1", "--lease", "1")

    @rule()
    def audit(self) -> None:
        assert self.world.run("audit") in (0, 8, 11)

    # --- what goes wrong ---

    @rule(words=WORDS, queue=QUEUE)
    def kill_in_the_paid_call(self, words: str, queue: list[str]) -> None:
        """Kill a command, or the worker that has taken up its job, once the server has the request."""
        world = self.world
        text = self.text(words)
        if queue:
            self.answer([])
            world.run("create", "--prompt", text, *queue)
        self.answer(["wait@0.3"])
        before = len(world.server.requests("POST"))
        command = ("worker", "--drain", "--lease", "1") if queue else ("create", "--prompt", text)
        running, *_ = world.begin(command)
        deadline = time.monotonic() + 60
        while len(world.server.requests("POST")) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()

    @rule(words=WORDS, pages=st.integers(0, 40))
    def fill_the_disk(self, words: str, pages: int) -> None:
        """Create while no file may grow past a size that is reached sooner or later."""
        self.answer([])
        files = [path.stat().st_size for path in self.world.folder.glob("ledger.db*")]
        self.world.run("create", "--prompt", self.text(words), largest_file=max(files) + pages * 4_096)

    @rule(oddities=st.fixed_dictionaries({}, optional=ODD_LISTS))
    def answer_oddly(self, oddities: dict[str, Any]) -> None:
        """Have the server's lists and prompts be odd from now on."""
        self.world.server.behave(**USUAL | oddities)

    @rule(words=WORDS)
    def another_client_creates(self, words: str) -> None:
        self.world.server.create(words, model="sora-2", size="1280x720", seconds="4")

    # --- what must hold ---

    @invariant()
    def promises_hold(self) -> None:
        world = self.world
        if not (world.folder / "ledger.db").exists():
            return
        self.wait_until_quiet()
        records = world.records()
        bills = [bill for bill in world.server.bills() if "[#" in bill["prompt"]]
        intents = [payload for *_, kind, payload in records if kind == "submission.intended"]
        assert len(bills) <= len(intents)
        tags = [bill["prompt"].partition("[#")[2].partition("]")[0] for bill in bills]
        assert len(set(tags)) == len(tags), f"billed twice: {bills}"
        self.every_bill_is_known_or_asked_about(dict(zip(tags, bills, strict=True)), records)
        jobs, budgets = world.documents(("jobs", "--limit", "1000"), ("budget", "list"))
        self.money_held_is_money_of_open_jobs(jobs["jobs"], budgets["budgets"][0]["held_usd_micros"])

    def every_bill_is_known_or_asked_about(self, bills: dict[str, Any], records: list[Any]) -> None:
        known = {payload["video_id"] for *_, payload in records if payload.get("video_id")}
        spooled = "".join(path.read_text(errors="replace") for path in self.world.folder.rglob("*spool*/*"))
        prompts = self.world.prompts()
        last = {stream: kind for _, stream, kind, _ in records if kind.startswith("submission.")}
        for tag, bill in bills.items():
            job = next(job for job, text in prompts.items() if f"[#{tag}]" in text)
            is_open = last.get(job) in ("submission.intended", "submission.unknown")
            assert bill["id"] in known or is_open or bill["id"] in spooled, (job, last.get(job), bill)

    def money_held_is_money_of_open_jobs(self, jobs: list[dict[str, Any]], held: int) -> None:
        reserved = sum(job["reserved_usd_micros"] or 0 for job in jobs)
        settled = sum(job["settled_usd_micros"] or 0 for job in jobs if job["budgets"])
        assert held == reserved + settled
        for job in jobs:
            if job["state"] in ("submitting", "unknown", "running"):
                assert job["reserved_usd_micros"] or job["operation"] == "adopt", job

    def teardown(self) -> None:
        """Verify and replay the whole log once: what a step breaks in it stays broken."""
        if (self.world.folder / "ledger.db").exists():
            self.world.documents(("verify",), ("replay",))

    # --- what the steps share ---

    def text(self, words: str) -> str:
        """Return a prompt that is billed once at most."""
        self.tag += 1
        return f"[#{self.tag}] {words}"

    def answer(self, answers: list[str]) -> None:
        """Have the server answer the next creating calls so."""
        self.world.server.behave(creates=answers)
        if any(answer.partition("@")[2] for answer in answers):
            self.quiet_at = time.monotonic() + 1.0

    def wait_until_quiet(self) -> None:
        """Wait until whatever was sent has taken effect."""
        time.sleep(max(0.0, self.quiet_at - time.monotonic()))

    def videos(self) -> list[str]:
        return [bill["id"] for bill in self.world.server.bills()]

    def jobs(self) -> list[str]:
        return sorted({stream for _, stream, *_ in self.world.records() if stream.startswith("job_")})


def drive(outside: Any, forks: Forks, tmp_path: Path, examples: int, steps: int) -> None:
    """Run the machine against one server, with a new ledger for each example."""
    (tmp_path / "profiles.toml").write_text(PROFILE)
    (tmp_path / "work").mkdir()
    server = outside()
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("SORA_", "OPENAI_", "TRACEPARENT"))}
    environment = clean | {
        "SORA_LEDGER_URL": "sqlite:///ledger.db",
        "SORA_LEDGER_PROFILES": str(tmp_path / "profiles.toml"),
        "SORA_LEDGER_PROFILE": "outside",
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": server.base_url,
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }
    world = World(forks, server, tmp_path / "work", environment)
    machine = type("People", (People,), {"world": world})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=examples, stateful_step_count=steps, phases=[Phase.generate]),
    )


@pytest.mark.timeout(900)
def test_no_order_of_commands_and_faults_breaks_a_promise(
    outside: Callable[..., Outside], forks: Forks, tmp_path: Path
) -> None:
    drive(outside, forks, tmp_path, examples=5, steps=20)


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_no_order_of_many_commands_and_faults_breaks_a_promise(
    outside: Callable[..., Outside], forks: Forks, tmp_path: Path
) -> None:
    drive(outside, forks, tmp_path, examples=400, steps=50)
