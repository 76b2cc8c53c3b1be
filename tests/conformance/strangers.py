"""Runs what other people wrote about the Videos API against the sandbox.

Everything is fetched from PyPI and npm into a folder that is thrown away, so nothing of it is in this
repository and nothing is installed where it stays. `docs/conformance.md` says what each run shows.

Exit codes: 0 all passed, 1 something failed, 75 nothing failed but a registry could not be reached, so that
not everything was run.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings

HERE = Path(__file__).parent
SEEDS = HERE.parent / "acceptance" / "seeds"
OPENAI_PYTHON = "3.52.0"
OPENAI_NODE = "7.55.0"
SCHEMATHESIS = "4.32.5"
LITELLM = "1.106.2"
UNREACHABLE = 75  # EX_TEMPFAIL of sysexits.h
KEY = "sk-conformance"
SDK_TESTS = (
    "tests/api_resources/test_videos.py",
    "tests/api_resources/test_webhooks.py",
    "tests/api_resources/webhooks",
)
EXAMPLES, SEED = 50, 1


class Unreachable(Exception):
    """A registry did not give what it is known to have; `args[0]` says what."""


def run_python(folder: Path) -> int:
    """Run the tests in the sdist of openai, with the client from its wheel."""
    pip = _environment(folder)
    sdk = f"openai[aiohttp]=={OPENAI_PYTHON}"
    _fetch(folder, *pip, "download", "--no-deps", f"openai=={OPENAI_PYTHON}")
    _call(folder, *pip, "install", sdk, "pytest", "pytest-asyncio", "pytest-xdist", "rich")
    _call(folder, *pip, "download", "--no-deps", "--no-binary", "openai", f"openai=={OPENAI_PYTHON}")
    with tarfile.open(folder / f"openai-{OPENAI_PYTHON}.tar.gz") as sdist:
        sdist.extractall(folder, filter="data")
    tests = folder / f"openai-{OPENAI_PYTHON}"
    with _sandbox(folder) as base_url:
        pytest = (pip[0], "-m", "pytest", "-q", "-p", "no:cacheprovider", *SDK_TESTS)
        return _run(tests, *pytest, TEST_API_BASE_URL=base_url)


def run_node(folder: Path) -> int:
    """Run our own port of openai-node's calls, with the client from npm, and the TypeScript of seed 003."""
    npm, node = _program("npm"), _program("node")
    (folder / "package.json").write_text('{"private": true, "type": "module"}\n')
    _fetch(folder, npm, "install", "--no-package-lock", f"openai@{OPENAI_NODE}")
    for path in (HERE / "node_client.mjs", HERE / "seed_examples.mjs", SEEDS / "003.txt"):
        shutil.copy(path, folder)
    with _sandbox(folder) as base_url:
        test = (node, "--test", "--test-reporter=spec", "--test-reporter-destination=stdout")
        servers = {"TEST_API_BASE_URL": base_url, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": KEY}
        return _run(folder, *test, "node_client.mjs", "seed_examples.mjs", **servers)


def run_schemathesis(folder: Path) -> int:
    """Run requests made up from the official description."""
    pip = _environment(folder)
    _fetch(folder, *pip, "download", "--no-deps", f"schemathesis=={SCHEMATHESIS}")
    _call(folder, *pip, "install", f"schemathesis=={SCHEMATHESIS}")
    program = Path(pip[0]).parent / "schemathesis"
    with _sandbox(folder, api_key=KEY) as base_url:
        return _run(
            folder,
            str(program), "--config-file", str(HERE / "schemathesis.toml"), "run",
            str(HERE / "videos.openapi.yaml"), "--url", base_url, "--header", f"Authorization: Bearer {KEY}",
            "--max-examples", str(EXAMPLES), "--seed", str(SEED), "--no-color",
        )  # fmt: skip


def run_litellm(folder: Path) -> int:
    """Settle a render through the real LiteLLM proxy."""
    pip = _environment(folder)
    _fetch(folder, *pip, "download", "--no-deps", f"litellm=={LITELLM}")
    _call(folder, *pip, "install", f"litellm[proxy]=={LITELLM}")
    program = Path(pip[0]).parent / "litellm"
    tests = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "litellm_proxy.py"))
    return _run(HERE.parents[1], *tests, LITELLM=str(program))


RUNS: dict[str, Callable[[Path], int]] = {
    "python": run_python,
    "node": run_node,
    "schemathesis": run_schemathesis,
    "litellm": run_litellm,
}


@contextmanager
def _sandbox(folder: Path, api_key: str | None = None) -> Iterator[str]:
    """Run a permissive sandbox whose jobs take no time; yield its base URL."""
    settings = SandboxSettings(
        folder / "sandbox", render_seconds=0, api_key=api_key, media="cached", permissive=True
    )
    with SandboxServer(settings) as server:
        yield server.base_url


def _environment(folder: Path) -> tuple[str, ...]:
    """Make a virtual environment and return its pip."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    return str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "--retries", "1"


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        sys.exit(f"{name} is not installed; it is needed for this run only")
    return found


def _fetch(folder: Path, *command: str) -> None:
    """Ask a registry for one thing it is known to have; what fails afterwards is no fault of the network."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Unreachable(
            f"{command[-1]} could not be fetched: {said[-1] if said else 'no reason was given'}"
        )


def _call(folder: Path, *command: str) -> None:
    """Run a step of the preparation; its output is shown only if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _run(folder: Path, *command: str, **variables: str) -> int:
    """Run the strangers' program, without this shell's own OpenAI settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    surroundings = {**kept, "NO_PROXY": "127.0.0.1", "PYTHONPATH": "", **variables}
    return subprocess.run(command, cwd=folder, env=surroundings, check=False).returncode


def main() -> int:
    """Run what is asked for; the exit code is 1 if any of it failed."""
    parser = argparse.ArgumentParser(prog="tests/conformance/run", description=__doc__)
    parser.add_argument("what", choices=[*RUNS, "all"])
    what = parser.parse_args().what
    results = [(name, *_timed(run)) for name, run in RUNS.items() if what in (name, "all")]
    for name, code, took_s in results:
        said = {0: "passed", UNREACHABLE: "not run"}.get(code, "failed")
        sys.stdout.write(f"conformance {name}: {said} in {took_s:.0f} s\n")
    codes = {code for _, code, _ in results}
    return 1 if codes - {0, UNREACHABLE} else max(codes)


def _timed(run: Callable[[Path], int]) -> tuple[int, float]:
    """Do one run in a folder that is thrown away; return its exit code and how long it took."""
    began = time.monotonic()
    with TemporaryDirectory(prefix="conformance-") as folder:
        try:
            code = run(Path(folder))
        except Unreachable as error:
            sys.stdout.write(f"{error}\n")
            code = UNREACHABLE
    return code, time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
