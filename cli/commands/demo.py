"""``demo``: a complete demonstration with the commands you would type.

It stages two policies and a crash. The first policy requires Maria's signature on finals, the second is one
to try out. The crash is a paid create whose answer is delayed, a killed process, and no second bill.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import TextIO

import click

from cli.exit_codes import ExitCode
from cli.main import run
from ledger.log.opening import open_ledger
from render_service.evidence.keys import read_verifier
from render_service.runtime.telemetry import begin_trace
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings

MARIA, ANA = "maria", "ana"
RULE = """
# Finals on sora-2-pro need Maria's signature.
[[approvals]]
code = "PRO_FINALS"
models = ["sora-2-pro"]
purposes = ["final"]
signed_by = ["maria"]

[approvers]
maria = ["{maria}"]

[requesters]
ana = ["{ana}"]
"""
DEAR_DRAFTS = 'draft = [{ model = "sora-2", fit = 40 }, { model = "sora-2-pro", fit = 100 }]'


def write_team_policy(path: Path, maria: Path, ana: Path) -> None:
    """Write the packaged policy with an approval rule for finals and the keys of both people."""
    named = _packaged().replace('name = "default"', 'name = "team"')
    path.write_text(
        named + RULE.format(maria=read_verifier(str(maria)), ana=read_verifier(str(ana))), encoding="utf-8"
    )


def write_dear_policy(path: Path) -> None:
    """Write the packaged policy with drafts on the more expensive model."""
    lines = (DEAR_DRAFTS if line.startswith("draft =") else line for line in _packaged().splitlines())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _packaged() -> str:
    return files("decision").joinpath("policy.toml").read_text(encoding="utf-8")


HELD_BACK_S = 90
LONGEST_WAIT_S = 90.0
RENDER_SECONDS = 1.0
FAULT = f"create=kept-but-slow@{HELD_BACK_S}:1"
SLOW = "create=kept-but-slow@2:1"
APPLICATION = """\
import time

from openai import OpenAI

client = OpenAI(timeout=1, max_retries=5)  # gives up after a second, and sends the request again
answer = client.videos.with_raw_response.create(prompt="A teal coupe in the rain", seconds="4")
video = answer.parse()
print(f"{video.id} is {video.status} (requests sent again: {answer.retries_taken})")
while video.status not in ("completed", "failed"):
    time.sleep(0.5)
    video = client.videos.retrieve(video.id)
client.videos.download_content(video.id).write_to_file("coupe-sdk.mp4")
print(f"{video.id} is {video.status}, and coupe-sdk.mp4 is here")
"""


@contextmanager
def forgetful_server(folder: Path, fault: str = FAULT) -> "Iterator[SandboxServer]":
    """Run a server that delays the answer to the next create; make it the server in use."""
    settings = SandboxSettings(folder, render_seconds=RENDER_SECONDS, faults=(fault,))
    with SandboxServer(settings) as server:
        ours = {
            "SORA_LEDGER_PROFILE": "custom",
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_API_KEY": "any-key",
        }
        with environment(ours):
            yield server


@contextmanager
def environment(ours: dict[str, str]) -> Iterator[None]:
    """Set environment variables in this context."""
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def killed_in_the_call(server: "SandboxServer", arguments: list[str]) -> None:
    """Run a command as a process, and kill it once the server has created the video but not answered."""
    already = created(server)
    process = subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-m", "cli", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + LONGEST_WAIT_S
    while created(server) == already and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    if created(server) != already + 1:
        raise click.ClickException(
            "demo: the server was not asked for the video; look at the folder's ledger"
        )


def created(server: "SandboxServer") -> int:
    """Return how many videos a server was made to create, by its own count."""
    with suppress(OSError), urllib.request.urlopen(f"{server.origin}/_sandbox/jobs") as answer:  # noqa: S310  # http on this machine
        return len(json.load(answer)["data"])
    return 0


PROMPT = "Wide tracking shot of a teal coupe on a desert highway, golden hour, heat ripples"
ONE_CHANGE = "Same shot and framing; shift the color palette to crimson and sand."
TWO_CHANGES = "Make it night with neon light, and replace the coupe with a red truck."
CRASH_PROMPT = "Close-up of a teal headlight in heavy rain at night, drops on chrome"
SECONDS = "3"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Transcript:
    """A stream that writes to the original stream and, without colours, to a file."""

    def __init__(self, terminal: TextIO, file: TextIO) -> None:
        self._terminal, self._file = terminal, file

    def write(self, text: str) -> int:
        """Write to both."""
        self._file.write(_COLOUR.sub("", text))
        return self._terminal.write(text)

    def flush(self) -> None:
        """Flush both."""
        self._file.flush()
        self._terminal.flush()

    def isatty(self) -> bool:
        """Return whether a person reads along."""
        return self._terminal.isatty()

    @property
    def encoding(self) -> str:
        """The encoding of the terminal."""
        return self._terminal.encoding

    def fileno(self) -> int:
        """Return the descriptor of the terminal."""
        return self._terminal.fileno()


@click.command("demo", short_help="Run a complete demonstration; needs no key or network.")
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    default="demo-output",
    show_default=True,
    help="Folder for everything the demo makes.",
)
def demo_command(*, out: Path) -> None:
    """Demonstrate everything on the local sandbox, without key or network: decide, render, remix, verify.

    \b
    Example:
      sora-ledger demo --out demo-output
    """
    out.mkdir(parents=True, exist_ok=True)
    with _transcript(out / "demo.txt"), _surroundings(out) as trace_id:
        _scenes(out, trace_id)
        _farewell(out)


@contextmanager
def _transcript(path: Path) -> Iterator[None]:
    terminal = sys.stdout
    with path.open("w", encoding="utf-8") as file:
        sys.stdout = Transcript(terminal, file)
        try:
            yield
        finally:
            sys.stdout = terminal


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


def _scenes(out: Path, trace_id: str) -> None:
    _say("1  A request: decided, recorded, rendered, checked, stored")
    shot = ["--prompt", PROMPT, "--lighting", "golden hour, long shadows", "--seconds", "4"]
    _run("create-and-poll", *shot, "--out", str(out / "coupe.mp4"), "--force")
    original = _newest_job()
    _say("2  A remix that changes one thing")
    _run("remix", "--id", original, "--prompt", ONE_CHANGE)
    _run("poll", "--id", _newest_job(), "--out", str(out / "coupe-crimson.mp4"), "--force")
    _say("3  A remix that would change two things: refused, with what to do instead")
    _run("remix", "--id", original, "--prompt", TWO_CHANGES, expect=ExitCode.DENIED)
    _say("4  The ledger: everything above, in order")
    _run("log", "--trace", trace_id)
    _say("5  Is the record intact, and do the jobs follow from it?")
    _run("verify")
    _run("replay")
    _say("6  A crash in the middle of a paid call: found again, not paid for twice")
    _crash(out)
    _say("7  A final that another person has to approve")
    with environment({"SORA_SANDBOX_SECONDS": "1"}):
        _hold(out)
    _say("8  An application with the official SDK, through the gateway: its retry is not billed again")
    _gateway(out)
    _say("9  What would another policy have made of all this?")
    write_dear_policy(out / "dear.toml")
    click.echo(f"{out / 'dear.toml'} wants drafts on sora-2-pro; it is tried, not activated")
    _run("what-if", "--policy", str(out / "dear.toml"))
    _run("replay", "--decisions")


def _hold(out: Path) -> None:
    key, policy = out / "maria.key", out / "team.toml"
    asking = out / "ana.key"
    for file, name in ((key, MARIA), (asking, ANA)):
        file.unlink(missing_ok=True)  # of an earlier demo
        _run("key", "new", str(file), "--name", name)
    write_team_policy(policy, key, asking)
    click.echo(f"{policy} is the packaged policy, and a rule: finals on sora-2-pro need Maria's signature")
    click.echo("Both sign here, under one login; without Ana's signature the two could be one person")
    _run("policy", "activate", str(policy), "--reason", "Maria answers for what clients see")
    _run("create", "--prompt", PROMPT, "--purpose", "final", "--key", str(asking), expect=ExitCode.DENIED)
    job = _newest_job()
    _run("approve", job, "--key", str(key), "--reason", "within the budget of the pitch", "--submit")
    _run("explain", job)
    _run("poll", "--id", job, "--out", str(out / "coupe-final.mp4"), "--force", "--poll-interval", "0.2")


def _crash(out: Path) -> None:
    asked = ["create", "--prompt", CRASH_PROMPT, "--request-key", f"demo-{uuid.uuid4().hex[:8]}"]
    with forgetful_server(out / "sandbox-2") as server:
        before = created(server)
        click.echo("a server that makes the next video, and keeps the answer back:")
        _show("sandbox", "--data", str(out / "sandbox-2"), "--fault", FAULT, "&")
        _show(*asked, "&")
        killed_in_the_call(server, asked)
        click.secho("\n$ kill -9 %2", fg="cyan")
        click.echo("the server has made the video, and the process died before it heard of it")
        job = _newest_job()
        click.echo(
            "\nsent blindly again it would be paid for twice; reconcile looks for it, and creates nothing"
        )
        click.echo("(--grace 0: nobody else is submitting just now)")
        _run("reconcile", job, "--grace", "0")
        click.echo("\nthe same request under the same key is the same job, and nothing is sent:")
        _run(*asked)
        _run("poll", "--id", job, "--out", str(out / "coupe-rain.mp4"), "--force", "--poll-interval", "0.2")
        click.echo(f"\nthe server's own count of what it created for this: {created(server) - before}")
        _run("audit")


def _gateway(out: Path) -> None:
    application = out / "application.py"
    application.write_text(APPLICATION, encoding="utf-8")
    with forgetful_server(out / "sandbox-3", SLOW) as server:
        click.echo("a server that takes two seconds for the next video, and the gateway in front of it:")
        _show("sandbox", "--data", str(out / "sandbox-3"), "--fault", SLOW, "&")
        granting = ["access", "grant", "application", "--role", "requester"]
        _show(*granting)
        granted = subprocess.run(  # noqa: S603  # our own program
            [sys.executable, "-m", "cli", *granting, "--json"], capture_output=True, text=True, check=True
        )
        key = json.loads(granted.stdout)["key"]
        click.echo(f"{key[:13]}…  (shown once; not repeated in this file)")
        with _serving() as base_url:
            click.secho(f"\n$ cat {application}", fg="cyan")
            click.echo(APPLICATION)
            click.secho(
                f"$ OPENAI_BASE_URL={base_url} OPENAI_API_KEY=slk_… python {application.name}", fg="cyan"
            )
            with environment(
                {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": key, "PYTHONWARNINGS": "ignore"}
            ):
                ran = subprocess.run(  # noqa: S603  # the program above
                    [sys.executable, application.name], cwd=out, capture_output=True, text=True, check=False
                )
        click.echo(ran.stdout + ran.stderr, nl=False)
        if ran.returncode:
            raise click.ClickException(f"demo: {application} ended with {ran.returncode}")
        click.echo(f"\nthe server's own count of what it created for this: {created(server)}")
        _run("log", "--job", _newest_job())


@contextmanager
def _serving() -> Iterator[str]:
    """Run the gateway as a process; yield its base URL."""
    options = ["serve", "--port", "0", "--interval", "0.5"]
    _show(*options, "&")
    command = [sys.executable, "-m", "cli", *options, "--json"]
    with subprocess.Popen(  # noqa: S603  # our own program
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            told = ""
            while process.stdout is not None and not told.rstrip().endswith("}"):
                line = process.stdout.readline()
                if not line:
                    raise click.ClickException("demo: the gateway did not start")
                told += line
            yield str(json.loads(told)["gateway"])
        finally:
            process.terminate()


def _run(*arguments: str, expect: ExitCode = ExitCode.DONE) -> None:
    """Show a command and run it; the demo stops if it ends with an unexpected code."""
    _show(*arguments)
    code = run([*arguments, "--format=text"])
    if code != expect:
        click.echo(f"demo: `{arguments[0]}` ended with {code}, expected {expect.value}", err=True)
        raise click.exceptions.Exit(code or ExitCode.FAILED)


def _show(*arguments: str) -> None:
    """Show a command."""
    words = [word if word == "&" else shlex.quote(word) for word in arguments]
    click.secho(f"\n$ sora-ledger {' '.join(words)}", fg="cyan")
    sys.stdout.flush()


def _newest_job() -> str:
    with open_ledger(os.environ["SORA_LEDGER_URL"]) as ledger:
        return ledger.jobs(limit=1)[0].job_id


def _say(title: str) -> None:
    click.secho(f"\n{title}", bold=True)


def _farewell(out: Path) -> None:
    command = "sora-ledger" if Path(sys.argv[0]).parent in _path_folders() else ".venv/bin/sora-ledger"
    _say("Where everything is")
    for name, what in (
        ("ledger.db", "the ledger"),
        ("assets/", "every stored file, by digest"),
        ("coupe.mp4", "the clip"),
        ("coupe-crimson.mp4", "its remix"),
        ("coupe-rain.mp4", "the clip that was found again"),
        ("coupe-final.mp4", "the clip that Maria approved"),
        ("application.py", "a program that knows only the SDK"),
        ("coupe-sdk.mp4", "its clip"),
        ("demo.txt", "what you have just read"),
    ):
        click.echo(f"  {out / name}  {what}")
    _say("Next steps")
    click.echo(f"  export SORA_LEDGER_URL=sqlite:///{out / 'ledger.db'} SORA_LEDGER_PROFILE=sandbox")
    click.echo(f"  {command} jobs")
    click.echo(f"  {command} show {_newest_job()}")
    click.echo(f'  {command} create-and-poll --prompt "Close-up of a steaming coffee cup" --out coffee.mp4')
    click.echo(f"  {command} --help")


def _path_folders() -> list[Path]:
    return [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
