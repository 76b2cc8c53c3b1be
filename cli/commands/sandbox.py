"""``sandbox``: run a local server of the Videos API."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import click

from cli.exit_codes import ExitCode
from cli.options import common
from cli.text import output
from cli.text.usage import BadValue
from sora_adapter.sandbox.emulators import NAMES
from sora_adapter.sandbox.faults import GRAMMAR, parse_fault
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings

LOOK_S = 0.1


def _faults(_: click.Context, __: click.Parameter, specs: tuple[str, ...]) -> tuple[str, ...]:
    """Parse every fault, so that a server with an invalid plan is not started."""
    if specs:
        for spec in specs:
            try:
                parse_fault(spec)
            except ValueError as error:
                raise BadValue(f"{error}\nA fault is {GRAMMAR}.", expected=GRAMMAR, found=error) from error
    return specs


def _check_imitated(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    if name is not None and name not in NAMES:
        raise BadValue(
            f"the sandbox cannot imitate {name!r} (known: {', '.join(NAMES)})",
            expected=", ".join(NAMES),
            found=name,
        )
    return name


@click.command("sandbox")
@common.add_listening_options(port=8765)
@click.option(
    "--data",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    default="sandbox-data",
    show_default=True,
    help="Folder for jobs and clips.",
)
@click.option(
    "--render-seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=8.0,
    show_default=True,
    help="Duration of a render; 0 is allowed.",
)
@click.option(
    "--media",
    type=click.Choice(["rendered", "cached"]),
    default="rendered",
    show_default=True,
    help="cached: one clip per size and length, for load.",
)
@click.option("--api-key", metavar="KEY", help="Accept only this key.  [default: any]")
@click.option(
    "--requests-per-minute",
    metavar="N",
    type=click.IntRange(min=1),
    help="Answer 429 to new jobs of a model above this rate per minute.  [default: no limit]",
)
@click.option(
    "--running-jobs",
    metavar="N",
    type=click.IntRange(min=1),
    help="Answer 429 while this many jobs of a model run.  [default: no limit]",
)
@click.option(
    "--permissive",
    is_flag=True,
    help="Know video_123 and char_123, and accept uploads that are not images, for tests of other programs.",
)
@click.option(
    "--fault",
    "faults",
    metavar="SPEC",
    multiple=True,
    callback=_faults,
    help="Inject a fault, such as create=kept-but-answer-lost:1; repeatable.",
)
@click.option(
    "--profile",
    "imitates",
    metavar="NAME",
    callback=_check_imitated,
    help="Imitate a server: litellm, vllm-omni, sglang, trtllm, new-api, merge, custom.",
)
def sandbox_command(  # one parameter per option
    *,
    host: str,
    port: int,
    data: Path,
    render_seconds: float,
    media: Literal["rendered", "cached"],
    api_key: str | None,
    requests_per_minute: int | None,
    running_jobs: int | None,
    permissive: bool,
    faults: tuple[str, ...],
    imitates: str | None,
) -> None:
    """Serve the Videos API on this machine; renders real, small MP4 files. Ctrl-C ends it.

    \b
    Example:
      sora-ledger sandbox --port 8765 --data sandbox-data --render-seconds 5
      sora-ledger sandbox --profile litellm --fault create=429@2:3
    """
    settings = SandboxSettings(
        data_dir=data,
        render_seconds=render_seconds,
        media=media,
        api_key=api_key,
        requests_per_minute=requests_per_minute,
        running_jobs=running_jobs,
        permissive=permissive,
        faults=faults,
        imitates=imitates,
    )
    try:
        data.mkdir(parents=True, exist_ok=True)
        with _stop_signals() as signals, SandboxServer(settings, host, port) as server:
            output.print_text(f"export OPENAI_BASE_URL={server.base_url}")
            output.print_text(f"export OPENAI_API_KEY={'<the key you set>' if api_key else 'sandbox'}")
            output.note("serving until Ctrl-C; paste the two lines into another shell")
            while not signals:
                time.sleep(LOOK_S)  # a signal delivered to another thread does not wake a lock of this one
    except OSError as error:
        number = error.errno or 0  # below 0 for a host that is not found, which has its own message
        reason = os.strerror(number) if number > 0 else error.strerror or str(error)
        output.complain(f"cannot serve at {host}:{port} with {data} ({reason}); try another --port or --data")
        raise click.exceptions.Exit(ExitCode.FAILED) from error


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Yield a list that SIGINT and SIGTERM append to; a signal may come as soon as the lines are printed."""
    signals: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: signals.append(number)) for number in numbers]
    try:
        yield signals
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
