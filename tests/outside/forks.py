"""A process that has imported the product once and forks for each command, so that one costs milliseconds.

Run as a program; it reads orders as JSON lines and answers each with one. It starts no thread, so a fork is
as clean as a new process. Orders: ``{"start": {...}}`` forks a command and answers its pid, ``{"wait": pid}``
answers its exit code (negative for a signal); a command that takes longer than `LONGEST_S` is ended, with a
dump of where it was on its stderr.
"""

import faulthandler
import gc
import json
import os
import resource
import signal
import sys
import traceback
import warnings
from importlib import import_module
from typing import Any

LONGEST_S = 45
MODULES = """
asyncio av PIL.Image rich.console structlog openai ledger.store.sqlite ledger.store.postgres ledger.verify
render_service.api.sync_desk sora_adapter.client
""".split()


def preload() -> None:
    """Import what commands import when they need it."""
    warnings.simplefilter("ignore")
    from cli.main import COMMANDS  # noqa: PLC0415  # the product is imported here and nowhere else

    for name in (*MODULES, *(f"cli.commands.{name.replace('-', '_')}" for name in COMMANDS)):
        import_module(name)
    gc.collect()
    gc.freeze()  # what is shared stays shared


def carry_out(order: dict[str, Any]) -> int:
    """Run a command in this process, as a new process would."""
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(order["out"], flags), 1)
    os.dup2(os.open(order["err"], flags), 2)
    if order.get("largest_file") is not None:  # a disk that is full, as every write past this size finds it
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"], order["largest_file"]))
    faulthandler.dump_traceback_later(LONGEST_S, exit=True)
    from cli.main import run  # noqa: PLC0415  # was imported before the fork

    code = 0
    for command in order["commands"]:
        code = int(run(command))
        if code and not order.get("all"):
            break
    return code


def main() -> None:
    """Serve orders until stdin ends."""
    preload()
    print(json.dumps("ready"), flush=True)  # noqa: T201  # the answer
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)  # noqa: T201
            continue
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = carry_out(order["start"])
                sys.stdout.flush()
                sys.stderr.flush()
            except BaseException:  # noqa: BLE001  # this process must not read on
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(code)
        print(json.dumps(pid), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
