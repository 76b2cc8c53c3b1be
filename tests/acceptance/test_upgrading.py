"""An older version's worker beside today's on one ledger.

There is no release yet, so the older version is a commit whose schema is older than today's. It runs with the
packages of these tests, from an archive made by git; a clone without that commit skips the test.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Place

ROOT = Path(__file__).parents[2]
OLDER = "b9661ec589d7"
JOBS = 2
START = "import sys; sys.argv[0] = 'sora-ledger'; from cli.main import main; main()"


@pytest.fixture
def older(place: Place, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start commands of the older version."""
    source = tmp_path / "older"
    source.mkdir()
    archive = subprocess.run(["git", "archive", OLDER], check=False, cwd=ROOT, capture_output=True)
    if archive.returncode:
        pytest.skip(f"this clone does not have the commit {OLDER}")
    subprocess.run(["tar", "-x"], check=True, cwd=source, input=archive.stdout)

    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        environment = os.environ | place.environment | {"PYTHONPATH": str(source), "PYTHONSAFEPATH": "1"}
        command = [sys.executable, "-c", START, *arguments]
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, cwd=place.folder, env=environment, text=True, **streams)  # type: ignore[call-overload]
        started.append(process)
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_an_older_worker_beside_todays_loses_nothing_and_pays_nothing_twice(
    place: Place, own_sandbox: Callable[..., str], older: Callable[..., subprocess.Popen[str]]
) -> None:
    own_sandbox("--render-seconds", "1")
    place.environment |= {"OPENAI_API_KEY": "sk-older"}
    for number in range(JOBS):
        queued = older("create", f"A fox runs, take {number}", "--queue", "--json")
        _, stderr = queued.communicate()
        assert queued.returncode == 0, stderr
    worker = older("worker", "--interval", "0.2", "--json")
    assert worker.stderr
    assert any('"submission.accepted"' in line for line in worker.stderr)

    assert place.run("create", "An owl sleeps", "--queue", "--json").returncode == 0
    drained = place.run("worker", "--drain", "--interval", "0.2", "--lease", "2", "--json")
    worker.terminate()
    _, stderr = worker.communicate()

    assert worker.returncode in {0, 7}, stderr  # an upgrade of the schema may end it: docs/upgrading.md
    drained = place.run("worker", "--drain", "--interval", "0.2", "--lease", "2", "--json")
    assert drained.returncode == 0, drained.stderr
    assert [job["state"] for job in place.jobs()] == ["stored"] * (JOBS + 1)
    assert len(place.json("list", "--json")["data"]) == JOBS + 1
    assert place.run("audit", "--json").returncode == 0
    assert place.is_intact()
    refused = older("jobs", "--json")
    _, stderr = refused.communicate()
    assert refused.returncode == 7
    assert "upgrade sora-ledger" in json.loads(stderr.splitlines()[-1])["message"]
