"""Draw docs/picture.svg: the five commands of README.md and what they print on a terminal.

Run it with ``make picture``. The commands run in a temporary folder against the embedded sandbox, on a
pseudo-terminal. Ids, digests, times and sizes of files differ from run to run, so the picture shows fixed
ones; it omits the progress of polled renders.
"""

import itertools
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "picture.svg"
COMMANDS = re.compile(r"<!-- tested, in the picture -->\n```bash\n(.*?)```", re.DOTALL)
COLUMNS = 112
WITHOUT_WRAPPING = 500
"""Columns of the terminal the commands run on: lines are wrapped after ids and paths were replaced."""
NUMBER = re.compile(r"((?:\x1b\[[\d;]*m)?) *(#|\d+)(?=  )")
"""The first column of a log, as printed."""
ROOT_SHOWN = "63cd8772969464d8f85aef3caacbc548e046f0075f6868392e8f996e6586df77"
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>A terminal with the five commands of README.md and their output</title>
<style>
.{unique_id}-matrix {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; \
font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: Helvetica, Arial, sans-serif; font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">\
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""
SHOWN_ALWAYS = (
    (re.compile(r"job_[0-9a-f]{32}"), "job_01a228c72cfe76e28f1e988f42589a60"),
    (re.compile(r"job_…[0-9a-f]{8}"), "job_…42589a60"),
    (re.compile(r"video_[0-9a-f]{32}"), "video_45fd00e31cd44d5d80da16ba79a515a8"),
    (re.compile(r"sora-ledger/[0-9a-f-]{36}"), "sora-ledger/01a228c7-2c8e-71d7-8022-dda33ba2bb3f"),
    (re.compile(r"sha256/[0-9a-f]{2}/[0-9a-f]{64}"), "sha256/7d/7dcf956cfce1…"),
    (re.compile(r"sha256 [0-9a-f]{12}"), "sha256 7dcf956cfce1"),
    (
        re.compile(r"root [0-9a-f]{64}"),
        f"root {ROOT_SHOWN}",
    ),
    (re.compile(r": \d+ records,"), ": 9 records,"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "2026-11-29"),
    (re.compile(r"(?<![\d-])\d\d-\d\d(?= \d\d:\d\d)"), "11-29"),
    (re.compile(r"\d\d:\d\d(:\d\d)?"), lambda match: "19:27:51"[: len(match[0])]),
    (re.compile(r"after \d+\.\d s"), "after 1.1 s"),
    (re.compile(r"\d+(,\d{3})* bytes"), "487,816 bytes"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:40941"),
)
"""The differences between two runs, and their replacements in the picture."""


def commands() -> list[str]:
    """Return the README.md command lines that the picture shows."""
    block = COMMANDS.search((ROOT / "README.md").read_text(encoding="utf-8"))
    if block is None:
        raise LookupError("README.md has no block after <!-- tested, in the picture -->")
    return block[1].splitlines()


def on_a_terminal(command: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a command line with a pseudo-terminal as its stdout, and return its output there."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        ["/bin/sh", "-ec", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(slave)
        parts = []
        while part := _read(master):
            parts.append(part)
        os.close(master)
        _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command!r} ended with {process.returncode}: {errors.decode()}")
    return b"".join(parts).decode().replace("\r\n", "\n")


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65_536)
    except OSError:  # Linux reports the end of a pseudo-terminal as an error
        return b""


def run_all(folder: Path) -> list[tuple[str, str]]:
    """Run the commands one by one; return each with its output, normalised across runs."""
    script = folder / "bin" / "sora-ledger"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli "$@"\n')
    script.chmod(0o755)
    environment = {
        "COLUMNS": str(WITHOUT_WRAPPING),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PATH": f"{script.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SORA_LEDGER_ACTOR": "ada",
        "SORA_SANDBOX_SECONDS": "0",
        "TERM": "xterm-256color",
    }
    lines = commands()
    settings = [line for line in lines if line.startswith("export ")]
    shown = []
    for line in lines:
        if line in settings:
            shown.append((line, ""))
            continue
        printed = on_a_terminal("\n".join([*settings, line]), folder, environment)
        printed = printed.replace(str(folder), "/home/ada")
        for pattern, text in SHOWN_ALWAYS:
            printed = pattern.sub(text, printed)
        shown.append((line, without_progress(printed)))
    return shown


def without_progress(printed: str) -> str:
    """Drop the lines of a busy machine still encoding the video, and renumber the rest of the log."""
    lines = [line for line in printed.splitlines() if "in_progress" not in line]
    numbers = itertools.count(1)
    for at, line in enumerate(lines):
        if number := NUMBER.match(line):
            shown = "#" if number[2] == "#" else str(next(numbers))
            lines[at] = f"{number[1]}{shown}{line[number.end() :]}"
    return "\n".join(lines)


def draw() -> str:
    """Return the picture as SVG."""
    with TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, file=nowhere, width=COLUMNS, force_terminal=True, legacy_windows=False)
        for command, printed in run_all(Path(folder).resolve()):
            console.print(Text.assemble(("$ ", "green"), (command, "bold")))
            if printed:
                console.print(Text.from_ansi(f"{printed}\n"))
        return console.export_svg(title="sora-ledger", code_format=FORMAT, unique_id="sora")


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
