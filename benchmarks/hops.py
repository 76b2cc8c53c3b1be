"""Hops of four walks: the number of functions between a request and the record it causes.

Each walk runs a real command in a separate process, on a new ledger with the embedded sandbox. When the store
writes, the calls that led there are counted: every function of the product on the stack, once, and on the
stacks that started the thread or the task, back to ``run`` of the command line. `make figures` prints the
counts.

    .venv/bin/python benchmarks/hops.py          print the counts
    .venv/bin/python benchmarks/hops.py --list   print the functions of each walk as well
"""

import asyncio
import base64
import contextvars
import hashlib
import hmac
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from cli.main import run
from ledger.store.sqlite import store

ROOT = Path(__file__).parents[1]
PACKAGES = ("ledger", "decision", "sora_adapter", "render_service", "cli")
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PROMPT = ["--prompt", "A steaming cup of coffee"]
LIMIT_S = 60

Chain = list[str]


class Walk(NamedTuple):
    """A walk: from the function `begin` to the write of an event of type `event`."""

    name: str
    begin: str
    event: str
    goal: int


WALKS = (
    Walk("create --prompt to its row", "cli.main.run", "render.requested", 30),
    Walk("poll to the end of its job", "cli.main.run", "render.closed", 24),
    Walk("webhook to webhook.matched", "render_service.server.app.", "webhook.matched", 20),
    Walk("budget to hold", "render_service.submission.submit.place", "render.decided", 18),
)


# --- in the traced process ---

_base: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("base", default=())
_FRAMEWORK = {"<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>"}


def _function_of(frame: FrameType) -> str | None:
    """Return the dotted name of a function of the product; None for other code."""
    path = Path(frame.f_code.co_filename)
    if not path.is_relative_to(ROOT) or frame.f_code.co_name in _FRAMEWORK:
        return None
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join((*parts, frame.f_code.co_qualname)) if parts[0] in PACKAGES else None


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _calls(frame: FrameType | None) -> tuple[str, ...]:
    """Return the functions that led to `frame`, outermost first, each once."""
    names = [name for caller in _frames(frame) if (name := _function_of(caller)) is not None]
    return tuple(dict.fromkeys([*_base.get(), *reversed(names)]))


def _traced_submit(submit: Callable[..., Any]) -> Callable[..., Any]:
    def traced(pool: ThreadPoolExecutor, work: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        calls = _calls(inspect.currentframe())

        def work_after_calls(*args: Any, **options: Any) -> Any:
            context = getattr(getattr(work, "func", None), "__self__", None)
            if isinstance(context, contextvars.Context):  # `asyncio.to_thread` runs in a separate context
                context.run(_base.set, calls)
            _base.set(calls)
            return work(*args, **options)

        return submit(pool, work_after_calls, *args, **options)

    return traced


def _task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
    context = options.pop("context", None) or contextvars.copy_context()
    context.run(_base.set, _calls(inspect.currentframe()))
    return asyncio.Task(work, loop=loop, context=context, **options)


def trace(report: Path, arguments: Sequence[str]) -> int:
    """Run a command of the product; add the calls that led to each write to the file `report`."""
    write = store.write

    def traced_write(db: Any, changes: Any, tree: Any) -> None:
        calls = _calls(inspect.currentframe())
        row = {"events": [record.type for record in changes.records], "calls": calls}
        with report.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        write(db, changes, tree)

    store.write = traced_write
    ThreadPoolExecutor.submit = _traced_submit(ThreadPoolExecutor.submit)  # type: ignore[method-assign]
    create_event_loop = asyncio.new_event_loop

    def traced_loop() -> asyncio.AbstractEventLoop:
        loop = create_event_loop()
        loop.set_task_factory(_task)
        return loop

    asyncio.new_event_loop = asyncio.events.new_event_loop = traced_loop
    return run(list(arguments))


# --- in the measuring process ---


def _command(report: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(Path(__file__)), "--trace", str(report), *arguments]


def _run(report: Path, environment: dict[str, str], *arguments: str) -> Any:
    ended = subprocess.run(
        _command(report, *arguments, "--json"),
        check=True,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=LIMIT_S,
    )
    return json.loads(ended.stdout)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _deliver(url: str, video_id: str) -> None:
    """Send one signed webhook, as soon as the server listens."""
    body = json.dumps(
        {
            "id": "evt_1",
            "object": "event",
            "created_at": int(time.time()),
            "type": "video.completed",
            "data": {"id": video_id},
        }
    ).encode()
    at = str(int(time.time()))
    mac = hmac.digest(base64.b64decode(SECRET[6:]), f"wh_1.{at}.".encode() + body, hashlib.sha256)
    headers = {
        "webhook-id": "wh_1",
        "webhook-timestamp": at,
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
        "content-type": "application/json",
    }
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, body, headers)).close()
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _rows(report: Path) -> list[tuple[list[str], Chain]]:
    rows = map(json.loads, report.read_text(encoding="utf-8").splitlines() if report.exists() else [])
    return [(row["events"], row["calls"]) for row in rows]


def _serve_webhook(report: Path, environment: dict[str, str], video_id: str) -> None:
    port = _free_port()
    serve = ("serve", "--no-gateway", "--no-work", "--port", str(port), "--json")
    process = subprocess.Popen(
        _command(report, *serve), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _deliver(f"http://127.0.0.1:{port}/webhooks/sandbox", video_id)
        deadline = time.monotonic() + LIMIT_S
        while not any("webhook.matched" in events for events, _ in _rows(report)):
            if time.monotonic() > deadline:
                raise SystemExit("the webhook was not matched")
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def measure() -> list[tuple[Walk, Chain]]:
    """Return the functions of each walk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith(("SORA_", "OTEL_"))},
            "PYTHONPATH": str(ROOT),
            "SORA_LEDGER_URL": f"sqlite:///{folder}/ledger.db",
            "SORA_LEDGER_PROFILE": "sandbox",
            "SORA_LEDGER_WEBHOOK_SECRETS": SECRET,
            "SORA_SANDBOX_SECONDS": "1",
        }
        reports = [folder / f"{number}.jsonl" for number in range(len(WALKS))]
        unread = folder / "unread.jsonl"
        _run(unread, environment, "init")
        _run(unread, environment, "budget", "set", "all", "--limit", "100")
        video = _run(reports[0], environment, "create", *PROMPT)
        reports[3].write_bytes(reports[0].read_bytes())
        _serve_webhook(reports[2], environment, video["id"])
        _run(reports[1], environment, "poll", video["id"])
        return [(walk, _walk(walk, _rows(report))) for walk, report in zip(WALKS, reports, strict=True)]


def _walk(walk: Walk, rows: Sequence[tuple[list[str], Chain]]) -> Chain:
    """Return the calls from the walk's first function to the write of its event."""
    calls = next(calls for events, calls in rows if walk.event in events)
    begin = next(number for number, name in enumerate(calls) if name.startswith(walk.begin))
    return calls[begin:]


def main() -> None:
    """Print the number of functions of each walk."""
    for walk, calls in measure():
        print(f"{'hops: ' + walk.name:<40} {len(calls)!s:<28} goal: at most {walk.goal}")
        if "--list" in sys.argv:
            print("\n".join(f"  {name}" for name in calls))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--trace"]:
        sys.exit(trace(Path(sys.argv[2]), sys.argv[3:]))
    main()
