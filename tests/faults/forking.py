"""A process that has imported everything once, and forks for each order: a command then costs milliseconds.

Reads orders as JSON lines on stdin, and answers each with how its child ended. It starts no thread and no
event loop of its own, so that a fork is as clean as a new process.
"""

import gc
import json
import os
import sys
import threading
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import boundaries


def preload() -> None:
    """Import what commands import when they need it."""
    warnings.simplefilter("ignore")
    from importlib import import_module  # noqa: PLC0415

    from cli.main import COMMANDS, module_of  # noqa: PLC0415

    for name in COMMANDS:
        import_module(f"cli.commands.{module_of(name)}")
    for name in (
        "PIL.Image",
        "asyncio",
        "av",
        "ledger.store.postgres",
        "ledger.store.sqlite",
        "ledger.verify",
        "render_service.batches.run",
        "render_service.adoption.server_library",
        "render_service.api.desk",
        "render_service.recovery.audit",
        "render_service.recovery.reconcile",
        "render_service.settlement.settle",
        "rich.console",
        "sora_adapter.client",
        "structlog",
    ):
        import_module(name)


def carry_out(order: dict[str, Any]) -> None:
    """Run the commands of an order in this process, which ends here."""
    os.chdir(order["folder"])
    os.environ.update(order["environment"])
    said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(said, 1)
    os.dup2(said, 2)
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

    Worker._pause = pause_shortly  # type: ignore[method-assign]


def _named(word: str) -> str:
    """Return the id of the job that a word such as ``{0}`` stands for, the oldest first."""
    if not (word.startswith("{") and word.endswith("}")):
        return word
    from ledger.log.opening import open_ledger  # noqa: PLC0415  # was imported before the fork

    with open_ledger(os.environ["SORA_LEDGER_URL"]) as ledger:
        jobs = ledger.jobs()[::-1]
    number = int(word[1:-1])
    return jobs[number].job_id if number < len(jobs) else "job_none"


def warm_up(order: dict[str, Any]) -> None:
    """Run the commands of an order here, so that no child has to build what is built at its first use."""
    from cli.main import run  # noqa: PLC0415

    before, folder = dict(os.environ), Path.cwd()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        for command in order["commands"]:
            run([_named(word) for word in command])
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(before)
    assert threading.active_count() == 1, "a process with threads is not forked cleanly"
    gc.collect()
    gc.freeze()  # what is shared stays shared


def main() -> None:
    """Serve orders until stdin ends; the first is for warming up."""
    preload()
    warm_up(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                carry_out(json.loads(line))
            except BaseException:  # noqa: BLE001  # this process must not go on reading orders
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(70)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201  # the answer


if __name__ == "__main__":
    main()
