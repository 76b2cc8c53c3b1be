"""What a process does that was forked for a crash test; `tests/forks.py` has imported everything before."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.faults import boundaries


def carry_out(words: Sequence[str]) -> int:
    """Run the commands of an order in this process, which ends here; return 0."""
    order = json.loads(words[0])
    from cli.main import run  # noqa: PLC0415  # was imported before the fork

    def run_all(commands: list[list[str]]) -> list[int]:
        return [run_one([_named(word) for word in command]) for command in commands]

    def run_one(command: list[str]) -> int:
        print("$", *command, flush=True)  # noqa: T201  # for whoever reads why a test failed
        code = int(run(command))
        sys.stdout.flush()
        return code

    impatiently()
    run_all(order["before"])
    boundaries.install(order["trace"], order["kill"])
    codes = run_all(order["commands"])
    with open("codes.json", "w") as file:  # noqa: PTH123  # Path is wrapped by now
        json.dump(codes, file)
    return 0


def impatiently() -> None:
    """Wait no longer than a moment for the answer to a call whose process was killed, or to look again."""
    from render_service.submission import result  # noqa: PLC0415  # was imported before the fork
    from render_service.worker import steps  # noqa: PLC0415
    from render_service.worker.worker import Worker  # noqa: PLC0415

    result.ANSWER_S = 0.01
    result.LOOK_S = 0.01
    steps.SOON_S = 0.05
    pause = Worker._pause  # how long a worker without work waits is not for people to choose

    async def pause_shortly(worker: Any, stopping: Any) -> None:
        worker._terms = replace(worker._terms, idle_s=0.05)
        await pause(worker, stopping)

    Worker._pause = pause_shortly  # type: ignore[method-assign, assignment]


def _named(word: str) -> str:
    """Return the id of the job that a word such as ``{0}`` stands for, the oldest first."""
    if not (word.startswith("{") and word.endswith("}")):
        return word
    from ledger.log.opening import open_ledger  # noqa: PLC0415  # was imported before the fork

    with open_ledger(os.environ["SORA_LEDGER_URL"]) as ledger:
        jobs = ledger.jobs()[::-1]
    number = int(word[1:-1])
    return jobs[number].job_id if number < len(jobs) else "job_none"
