"""Replay recorded mistakes of agents through every door, and count what a server billed.

Run with ``make agent-eval``; no model is needed. Each mistake is one that agents were recorded to make: what
they sent, in which order, and after how long they gave up. Two things are judged: the server that bills
(`tests/outside/server.py`) has one entry for each video, and the calls that the error names, made as they
stand there, are right.
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.agents.doors import Answer, CommandLine, Gateway, Place, Tools, environment

Door = CommandLine | Gateway | Tools
FOX = {"prompt": "a fox runs", "request_key": "fox"}
DOORS: tuple[type[CommandLine] | type[Gateway] | type[Tools], ...] = (Tools, CommandLine, Gateway)
PROFILE = """
[outside]
like = "custom"
title = "Outside"
description = "Bills."
list_proves_absence = true
needs_key = true
"""
HELD = "slow@held"
"""The server bills, and keeps its answer back until it is released."""
PATIENCE_S = 600.0
MOST_STEPS = 4


class Wrong(AssertionError):
    """An agent was billed twice, or was not led to the right call."""


class Server:
    """The server that bills, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        words = [sys.executable, "-m", "tests.outside.server", "--folder", str(folder)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._origin = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self.base_url = f"{self._origin}/v1"

    def ask(self, path: str, body: Any = None) -> Any:
        """Ask it about itself, or tell it how to behave."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self._origin + path, data), timeout=30) as answer:
            return json.load(answer)

    @property
    def bills(self) -> list[str]:
        """The prompts of the videos that it billed."""
        return [bill["prompt"] for bill in self.ask("/_bills")["bills"]]

    def hold(self) -> None:
        """Bill the next request, and keep the answer back."""
        self.ask("/_behave", {"creates": [HELD]})

    def until_billed(self) -> None:
        """Return once it has billed: the worst moment to lose the answer."""
        until = time.monotonic() + PATIENCE_S
        while not self.bills:
            require(time.monotonic() < until, "nothing was sent")
            time.sleep(0.05)

    def release(self) -> None:
        """Answer."""
        self.ask("/_release", {})

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def require(condition: object, what: str, answer: Answer | None = None) -> None:
    """Raise `Wrong` unless `condition` holds."""
    if not condition:
        raise Wrong(what if answer is None else f"{what}: {json.dumps(answer.document)[:600]}")


def followed(door: Door, answer: Answer, steps: int = MOST_STEPS) -> Answer:
    """Make the calls that an error names, and those that their errors name, until one succeeds."""
    if not answer.failed:
        return answer
    require(steps and door.named(answer), "the error leads nowhere", answer)
    tried = door.follow(answer)
    for number in range(1, len(door.named(answer))):
        if not tried.failed:
            break
        tried = door.follow(answer, number)
    return followed(door, tried, steps - 1)


def time_out_then_resend(door: Door, server: Server) -> None:
    """The call takes longer than the agent waits, so it sends the same again, and follows the answer."""
    server.hold()
    door.call("create", FOX, server.until_billed)
    server.release()
    followed(door, door.call("create", FOX))


def two_changes_in_a_remix(door: Door, server: Server) -> None:
    """A remix asks for two changes; the error has a remix for each, of which one starts from the other."""
    source = finished(door, door.job(door.call("create", FOX)))
    terms = {"job": source, "prompt": "Make it night and add snow.", "request_key": "two"}
    denied = door.call("remix", terms)
    require(denied.failed, "two changes were not refused", denied)
    require(len(server.bills) == 1, "a refused remix was billed")
    require(len(door.named(denied)) == 2, "the error does not name two remixes", denied)
    first = door.follow(denied)
    require(not first.failed, "the first remix was refused", first)
    second = door.follow(denied, 1, finished(door, door.job(first)))
    require(not second.failed, "the second remix was refused", second)
    require(not door.follow(denied).failed, "the first remix could not be repeated", denied)


def finished(door: Door, name: str) -> str:
    """Return a job once its video is finished."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if isinstance(door, Tools):
            shown = door.tool("wait", {"job": name, "seconds": 5})
            done = shown.document.get("state") == "stored"
        elif isinstance(door, CommandLine):
            shown = door.place.run("poll", "--id", name, "--poll-interval", "0.1", "--timeout", "60")
            done = not shown.failed
        else:
            shown = door.send("GET", f"/v1/videos/{name}")
            done = shown.document.get("status") == "completed"
            time.sleep(0.5)  # the gateway answers polls twice a second at most
        if done:
            return name
    raise Wrong(f"{name} is not finished: {json.dumps(shown.document)[:600]}")


def wrong_seconds(door: Door, server: Server) -> None:
    """A length that no model has; the error names the same call with one that is offered."""
    refused = door.call("create", FOX | {"seconds": 5})
    require(refused.failed and refused.error["param"] == "seconds", "the length was not refused", refused)
    require(server.bills == [], "a refused request was billed")
    better = door.follow(refused)
    require(not better.failed, "the call that the error names was refused", better)


def missing_key(door: Door, server: Server) -> None:
    """The key that this door needs is left out; the error says which, and names the call."""
    refused = door.keyless(FOX)
    require(refused.failed, "a request without its key was not refused", refused)
    require(server.bills == [], "a request without its key was billed")
    made = door.with_key(refused)
    require(not made.failed, "the request with its key was refused", made)


def budget_hit(door: Door, server: Server) -> None:
    """The money is gone; the error leads to the budget, and not to another attempt."""
    door.place.run("budget", "set", "all", "--limit", "0.50")
    require(not door.call("create", FOX).failed, "the first request should fit the budget")
    denied = door.call("create", {"prompt": "a fox sleeps", "request_key": "second"})
    require(denied.failed, "the second request was not denied", denied)
    require(denied.error["retry"] == "never", "the answer says to repeat it", denied)
    shown = door.follow(denied)
    left = [budget for budget in shown.document["budgets"] if budget["budget"] == "all"]
    require(left, "the call that the error names shows no budget", shown)


def twice_in_parallel(door: Door, server: Server) -> None:
    """The same call is made twice at the same time; an error leads to the job of the other."""
    server.hold()
    with ThreadPoolExecutor(2) as both:
        calls = [both.submit(door.call, "create", FOX) for _ in range(2)]
        server.until_billed()
        server.release()
        answers = [call.result() for call in calls]
    jobs = {door.job(answer) for answer in answers if not answer.failed}
    require(len(jobs) == 1, f"the calls made {len(jobs)} jobs", answers[0])
    for answer in answers:
        followed(door, answer)


def disconnects_in_mid_call(door: Door, server: Server) -> None:
    """The client dies while its call is under way, and a new one makes the same call."""
    server.hold()
    door.call("create", FOX, server.until_billed)
    if isinstance(door, Tools):
        door.disconnect(server.release)
    else:
        server.release()
    followed(door, door.call("create", FOX))


MISTAKES: dict[str, Callable[[Any, Server], None]] = {
    "time-out, then resend": time_out_then_resend,
    "two changes in a remix": two_changes_in_a_remix,
    "wrong seconds": wrong_seconds,
    "missing key": missing_key,
    "budget hit": budget_hit,
    "called twice in parallel": twice_in_parallel,
    "disconnects in mid-call": disconnects_in_mid_call,
}
BILLED = {"two changes in a remix": 3}
"""How many videos are billed at the end: here the source, and one for each change."""


@contextmanager
def opened(kind: Any, server: Server, folder: Path) -> Iterator[Door]:
    """Open a door on a new ledger."""
    folder.mkdir()
    profiles = folder / "profiles.toml"
    profiles.write_text(PROFILE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    place = Place(folder, environment(server.base_url, profiles))
    door = kind(place, port)
    try:
        yield door
    finally:
        door.close()


def main(only: Sequence[str]) -> int:
    """Replay every mistake, or `only` those of these names; return 1 if one was billed twice or led nowhere.

    Names are those of mistakes and of doors.
    """
    wrong = replays = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "server").mkdir()
        server = Server(folder / "server")
        try:
            for number, (mistake, replay) in enumerate(MISTAKES.items()):
                for kind in DOORS:
                    if not {*only} <= {mistake, kind.name}:
                        continue
                    server.ask("/_reset", {})
                    problem = replayed(mistake, replay, kind, server, folder / f"{kind.name}{number}")
                    wrong, replays = wrong + (problem is not None), replays + 1
                    outcome = problem or "billed once, led to the right call"
                    print(f"{mistake:26}{kind.name:10}{outcome}", flush=True)
        finally:
            server.close()
    print(f"{wrong} of {replays} are wrong")
    return int(wrong > 0)


def replayed(
    mistake: str, replay: Callable[[Any, Server], None], kind: Any, server: Server, folder: Path
) -> str | None:
    """Return what was wrong, None if nothing was."""
    try:
        with opened(kind, server, folder) as door:
            replay(door, server)
        require(len(server.bills) == BILLED.get(mistake, 1), f"billed {server.bills}")
    except (Wrong, KeyError, IndexError, StopIteration) as problem:
        return f"WRONG: {type(problem).__name__} {problem}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
