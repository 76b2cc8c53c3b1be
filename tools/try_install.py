"""Build sdist and wheel, install the wheel into an empty environment, and run the README's five commands.

Nothing from this checkout can be imported there, nor any package that only tests need. Packages come from
PyPI: pip installs the versions of `requirements.lock` and checks their hashes. pipx and uvx get the path of
the wheel and install the newest versions that `pyproject.toml` admits.

    python tools/try_install.py                          # pip and this Python
    python tools/try_install.py --python python3.13      # another one
    python tools/try_install.py --by pipx --by uvx       # both must be on the path
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = ("SORA_", "OPENAI_", "PYTHON", "VIRTUAL_ENV", "TRACEPARENT")


def build(folder: Path, builder: Sequence[str]) -> Path:
    """Build sdist and wheel into `folder`, the wheel from the unpacked sdist, and return the wheel."""
    _call([*builder, "-t", "sdist", "-d", str(folder)], ROOT)
    [sdist] = folder.glob("*.tar.gz")
    _call(["tar", "-xzf", str(sdist)], folder)
    _call([*builder, "-t", "wheel", "-d", str(folder)], folder / sdist.name.removesuffix(".tar.gz"))
    [wheel] = folder.glob("*.whl")
    return wheel


def five_commands() -> str:
    """Return the commands that README.md shows first, verbatim."""
    block = re.compile(r"<!-- tested, in the picture -->\n```bash\n(.*?)```", re.DOTALL)
    found = block.search((ROOT / "README.md").read_text(encoding="utf-8"))
    if found is None:
        sys.exit("README.md: expected a block marked as tested and in the picture, found none")
    return found[1]


def bare_environment() -> dict[str, str]:
    """Return this environment without variables for a ledger, a server or another Python's packages."""
    return {name: text for name, text in os.environ.items() if not name.startswith(OURS)}


def run_five(folder: Path, program: Path) -> str:
    """Run the five commands in `folder` with the `sora-ledger` of `program`; return their output."""
    folder.mkdir()
    environment = bare_environment() | {
        "PATH": f"{program.parent}:/usr/bin:/bin",
        "SORA_SANDBOX_SECONDS": "0",
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_DATA_HOME": str(folder / "data"),
    }
    printed = _call(["/bin/sh", "-ec", five_commands()], folder, environment)
    if not (folder / "coffee.mp4").stat().st_size:
        sys.exit(f"{folder / 'coffee.mp4'} is empty")
    return printed


def _call(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    ended = subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True)
    if ended.returncode:
        last_words = f"{ended.stdout[-2000:]}{ended.stderr[-4000:]}"
        sys.exit(f"{' '.join(command)} ended with {ended.returncode}:\n{last_words}")
    return ended.stdout


def _environment(folder: Path, python: str) -> Path:
    """Make an empty environment of `python` and return its interpreter."""
    _call([python, "-m", "venv", str(folder)], ROOT)
    return folder / "bin" / "python"


def by_pip(folder: Path, wheel: Path, python: str) -> Path:
    """Install the locked packages and the wheel as on a production machine; return the program."""
    pip = [
        str(_environment(folder / "pip", python)),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--only-binary",
        ":all:",
    ]
    _call([*pip, "--require-hashes", "-r", str(ROOT / "requirements.lock")], folder, bare_environment())
    _call([*pip, "--no-deps", str(wheel)], folder, bare_environment())
    return folder / "pip" / "bin" / "sora-ledger"


def by_pipx(folder: Path, wheel: Path, python: str) -> Path:
    """Install the wheel with pipx, by its path; return the program."""
    homes = {"PIPX_HOME": str(folder / "pipx"), "PIPX_BIN_DIR": str(folder / "pipx-bin")}
    _call(["pipx", "install", "--python", python, str(wheel)], folder, os.environ | homes)
    return folder / "pipx-bin" / "sora-ledger"


def by_uvx(folder: Path, wheel: Path, python: str) -> Path:
    """Write a program that runs each command through uvx, which installs the wheel by its path; return it."""
    program = folder / "uvx-bin" / "sora-ledger"
    program.parent.mkdir()
    uvx = f'exec "{_which("uvx")}" --python "{python}" --from "{wheel}" sora-ledger "$@"'
    program.write_text(f"#!/bin/sh\n{uvx}\n")
    program.chmod(0o755)
    _call([str(program), "--version"], folder, bare_environment())
    return program


def _which(name: str) -> str:
    return _call(["/bin/sh", "-c", f"command -v {name}"], ROOT).strip()


WAYS = {"pip": by_pip, "pipx": by_pipx, "uvx": by_uvx}


def main() -> None:
    """Do it for each requested way."""
    about, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--python", default=sys.executable, help="the Python to install for")
    parser.add_argument("--by", action="append", choices=WAYS, help="may be repeated (default: pip)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        builder = _environment(place / "builder", sys.executable)
        _call([str(builder), "-m", "pip", "install", "--quiet", "hatchling"], place, bare_environment())
        wheel = build(place, [str(builder), "-m", "hatchling", "build"])
        version = _call([options.python, "--version"], place).strip()
        for way in options.by or ["pip"]:
            run_five(place / f"run-{way}", WAYS[way](place, wheel, options.python))
            print(f"{wheel.name}: installed by {way} on {version}; the five commands ran")


if __name__ == "__main__":
    main()
