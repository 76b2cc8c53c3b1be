"""``demo``: a complete demonstration, on one screen or two, that ends with a film to open."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cli.demo.scenes import play_scenes
from cli.demo.servers import environment
from cli.demo.stage import Stage, open_stage
from cli.main import run
from cli.text.output import has_screen
from ledger.log.job_names import handle_of
from render_service.runtime.telemetry import begin_trace

SECONDS = "3"
TRANSCRIPT = "demo.txt"
FILES = (
    ("ledger.db", "the ledger"),
    ("assets/", "every stored file; assets/videos has names for people"),
    ("coupe.mp4", "the clip"),
    ("coupe-crimson.mp4", "its remix"),
    ("coupe-rain.mp4", "the clip that was found again"),
    ("coupe-final.mp4", "the clip that Maria approved"),
    ("application.py", "a program that knows only the SDK"),
    ("coupe-sdk.mp4", "its clip"),
    (TRANSCRIPT, "every command with its whole output, as --verbose shows it"),
)


@click.command("demo")
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    default="demo-output",
    show_default=True,
    help="Folder for everything the demo creates.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show every command with its full output.")
def demo_command(*, out: Path, verbose: bool) -> None:
    """Demonstrate everything on the local sandbox, without key or network: decide, render, remix, verify.

    Each scene prints its result; FOLDER/demo.txt gets every command with its full output.

    \b
    Example:
      sora-ledger demo --out demo-output
    """
    out.mkdir(parents=True, exist_ok=True)
    with _surroundings(out) as trace_id:
        with open_stage(out / TRANSCRIPT, verbose=verbose) as stage:
            stage.line("Eleven scenes on a local sandbox: no key, no network, nothing to pay.")
            film = play_scenes(stage, out, trace_id)
            _farewell(stage, out, film)
        offer_film(film)


@contextmanager
def _surroundings(out: Path) -> Iterator[str]:
    """Set the environment of the commands, all in one trace; yield the trace's id."""
    trace = begin_trace()
    ours = {
        "SORA_LEDGER_URL": f"sqlite:///{out / 'ledger.db'}",
        "SORA_LEDGER_PROFILE": "sandbox",
        "SORA_LEDGER_ASSETS": str(out / "assets"),
        "SORA_SANDBOX_SECONDS": SECONDS,
        "TRACEPARENT": trace.traceparent,
    }
    with environment(ours):
        yield trace.trace_id


def _farewell(stage: Stage, out: Path, film: str) -> None:
    """Show where everything is, and end with the next command and the one that opens the film."""
    stage.scene(f"All of it is in {out}")
    width = max(len(name) for name, _ in FILES)
    for name, what in FILES:
        stage.line(f"   {name:{width}}  {what}")
    command = "sora-ledger" if Path(sys.argv[0]).parent in _path_folders() else ".venv/bin/sora-ledger"
    stage.scene("Next, a clip of your own, on the same sandbox")
    stage.line(f'   {command} create-and-poll "A cup of coffee" --profile sandbox')
    stage.scene("Open the film that Maria approved")
    stage.line(f"   {command} open {handle_of(film)} --ledger {shlex.quote(str(out / 'ledger.db'))}")


def _path_folders() -> list[Path]:
    return [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]


def offer_film(job_id: str) -> None:
    """Ask whether to open a film if a person at a screen can answer; never in CI."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    is_attended = all(stream is not None and stream.isatty() for stream in streams)
    if not is_attended or not has_screen() or os.environ.get("CI"):
        return
    try:
        wanted = click.confirm("\nOpen it now?", default=True, err=True)
    except click.Abort:  # Ctrl-C or the end of the input: the demo itself is done
        click.echo(err=True)
        return
    if wanted:
        run(["open", job_id, "--format=text"])
