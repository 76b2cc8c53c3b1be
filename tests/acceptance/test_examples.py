"""The programs of examples/ and the commands of the tutorials run as they are written."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Place
from tests.forks import CODE
from tests.outside.cluster import free_port

ROOT = Path(__file__).parents[2]
EXAMPLES, TUTORIALS = ROOT / "examples", ROOT / "docs" / "tutorials"
BLOCKS = re.compile(r"<!-- tutorial -->\n```bash\n(.*?)```", re.DOTALL)
PORT = 8780
BEHIND_A_GATEWAY = {"official_sdk.py", "webhooks.py"}
PROGRAMS = sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".sh"})
SHOWS = {
    "approve.sh": "approval.granted by",
    "denied.py": "denied",
    "evidence.sh": "Nothing is wrong with it.",
    "many_at_once.py": "crane: stored, 0.40 USD",
    "official_sdk.py": "sent twice, one video: True",
    "render_desk.py": "cost: 0.40 USD",
    "webhooks.py": "video.completed: video_",
}


@pytest.fixture
def environment(place: Place) -> dict[str, str]:
    """Return an environment with `sora-ledger` and `python` on the path and no settings of ours."""
    folder = place.folder / "bin"
    place.forks.install(folder / "sora-ledger")
    variables = {name: text for name, text in place.environment.items() if not name.startswith("SORA_L")}
    path = f"{folder}:{Path(sys.executable).parent}:{variables['PATH']}"
    return variables | {
        "PATH": path,
        "SORA_SANDBOX_SECONDS": "0",
        "XDG_DATA_HOME": str(place.folder / "data"),
    }


@pytest.fixture
def gateway(place: Place) -> Callable[[], dict[str, str]]:
    """Run a gateway; return the variables of a program behind it."""
    ledger = {"SORA_LEDGER_URL": "sqlite:///renders.db"}

    def begin() -> dict[str, str]:
        granted = place.json("access", "grant", "example", "--role", "requester", "--json", **ledger)
        process = place.start("serve", "--port", "0", "--interval", "0.1", "--json", **ledger)
        lines = [process.stdout.readline()]
        while lines[-1] not in {"}\n", ""}:
            lines.append(process.stdout.readline())
        url = json.loads("".join(lines))["serving"]
        return {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": granted["key"]}

    return begin


def shell(command: list[Any], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program of the shell to its end."""
    return subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=150
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_runs_as_it_is_written(
    place: Place, environment: dict[str, str], gateway: Callable[[], dict[str, str]], name: str
) -> None:
    variables = gateway() if name in BEHIND_A_GATEWAY else {}
    if name.endswith(".py"):
        code = (EXAMPLES / name).read_text(encoding="utf-8")
        with place.forks.popen([code], place.folder, environment | variables, program=CODE) as ran:
            out, err = ran.communicate()
            exit_code = ran.returncode
    else:
        ended = shell(["/bin/sh", str(EXAMPLES / name)], place.folder, environment)
        out, err, exit_code = ended.stdout, ended.stderr, ended.returncode
    assert exit_code == 0, err
    assert SHOWS[name] in out


def test_every_example_is_listed() -> None:
    listed = re.findall(
        r"^\| \[([\w.]+)\]", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(listed) == PROGRAMS


@pytest.mark.parametrize("name", sorted(path.name for path in TUTORIALS.glob("[a-z]*.md")))
def test_a_tutorial_works_as_it_is_written(place: Place, environment: dict[str, str], name: str) -> None:
    page = (TUTORIALS / name).read_text(encoding="utf-8")
    commands = "\n".join(BLOCKS.findall(page)).replace(str(PORT), str(free_port()))
    commands = commands.replace("sora-ledger serve", f"{sys.executable} -m cli serve")  # a process to end
    assert "sora-ledger verify" in commands
    begin = "set -m\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT"
    ran = shell(["/bin/bash", "-ec", f"{begin}\n{commands}"], place.folder, environment)
    assert ran.returncode == 0, ran.stderr
    assert '"clean": true' in ran.stdout
