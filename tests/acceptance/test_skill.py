"""The agent skill is valid, its command lines work as they are written, and the wheel holds it."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.conftest import Place
from tests.forks import Forks

ROOT = Path(__file__).parents[2]
SKILL = ROOT / "skills" / "sora-ledger"
PAGES = sorted(SKILL.rglob("*.md"))
REFERENCES = {
    "cli",
    "video-api",
    "prompting",
    "sample-prompts",
    "cinematic-shots",
    "social-ads",
    "troubleshooting",
    "network",
}
EXPECTED_WARNINGS = {"disclosure.metadata-budget"}
"""It recommends 100 tokens; the description names what should trigger the skill."""
SHOT = ("--camera", "85mm", "--lighting", "soft", "--palette", "grey, white")


def run_tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that is installed beside this Python."""
    program = str(Path(sys.executable).with_name(name))
    return subprocess.run([program, *arguments], check=False, capture_output=True, text=True)


def lines_of(page: Path) -> str:
    """Return the shell lines of a page, in order."""
    return "".join(
        re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> tuple[Path, str]:
    """Return a folder whose ledger has a completed job, and the job's id."""
    folder = tmp_path_factory.mktemp("finished")
    environment = {**os.environ, "SORA_LEDGER_URL": "sqlite:///ledger.db", "SORA_SANDBOX_SECONDS": "0"}
    command = ["create-and-poll", "--profile", "sandbox", "--prompt", "A mug on a table", *SHOT]
    code, out, err = forks.run([*command, "--poll-interval", "0.05"], folder, environment)
    assert code == 0, err
    return folder, json.loads(out)["final"]["job_id"]


@pytest.fixture
def agent(place: Place, finished: tuple[Path, str]) -> Place:
    """A place with `sora-ledger` on the path and `JOB`, a completed job to work on."""
    folder, job = finished
    shutil.copytree(folder, place.folder, dirs_exist_ok=True)
    programs = place.folder / "bin"
    place.forks.install(programs / "sora-ledger")
    place.environment |= {"PATH": f"{programs}:{place.environment['PATH']}", "JOB": job}
    return place


def test_the_reference_validator_accepts_the_skill() -> None:
    ended = run_tool("agentskills", "validate", str(SKILL))
    assert (ended.returncode, ended.stderr) == (0, "")


def test_skillcheck_finds_nothing_but_the_length_of_the_description() -> None:
    ended = run_tool("skillcheck", "--format", "json", str(SKILL))
    [result] = json.loads(ended.stdout)["results"]
    found = {each["rule"] for each in result["diagnostics"] if each["severity"] != "info"}
    assert (ended.returncode, result["valid"], found) == (0, True, EXPECTED_WARNINGS)


def test_the_skill_is_within_the_limits_of_the_convention_and_has_its_references() -> None:
    page = (SKILL / "SKILL.md").read_text(encoding="utf-8")
    description = re.search(r'^description: "(.*)"$', page, re.MULTILINE)
    assert description
    assert (len(description[1]) <= 1024, len(page.splitlines()) < 500) == (True, True)
    assert {path.stem for path in SKILL.rglob("*.md")} - {"SKILL"} == REFERENCES
    assert [path for path in PAGES if len(path.relative_to(SKILL).parts) > 2] == []


@pytest.mark.parametrize("page", [page for page in PAGES if lines_of(page)], ids=lambda page: page.stem)
def test_the_command_lines_of_a_page_work_as_written(agent: Place, page: Path) -> None:
    ended = subprocess.run(
        ["/bin/sh", "-ec", lines_of(page)],
        check=False,
        cwd=agent.folder,
        env=agent.environment,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr if ended.returncode else "") == (0, "")
    assert agent.is_intact()


def test_every_page_with_commands_is_tested() -> None:
    assert {page.stem for page in PAGES if "sora-ledger " in lines_of(page)} == REFERENCES | {"SKILL"}


def test_the_skill_never_tells_an_agent_to_approve_spending() -> None:
    commands = "".join(map(lines_of, PAGES))
    assert re.findall(r"sora-ledger (approve|policy activate|budget set|erase|key|access)\b", commands) == []


def test_the_wheel_holds_the_skill(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, check=True, cwd=ROOT, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    install = ["-m", "cli", "skill", "install", "--to", "skills"]
    subprocess.run(
        [sys.executable, "-P", *install],
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed"), "HOME": str(tmp_path)},
        capture_output=True,
    )
    copied = tmp_path / "skills" / "sora-ledger"
    assert {path.relative_to(copied): path.read_bytes() for path in copied.rglob("*.md")} == {
        path.relative_to(SKILL): path.read_bytes() for path in PAGES
    }


def test_installing_again_writes_nothing_and_keeps_what_was_changed(place: Place) -> None:
    first = place.json("skill", "install", "--to", "skills")
    again = place.json("skill", "install", "--to", "skills")
    assert (len(first["written"]), again["written"]) == (len(PAGES), [])
    page = place.folder / "skills" / "sora-ledger" / "SKILL.md"
    page.write_text("mine")
    (page.parent / "references" / "cli.md").unlink()
    refused = place.run("skill", "install", "--to", "skills")
    assert (refused.returncode, "SKILL.md" in refused.stdout, "--force" in refused.stdout) == (2, True, True)
    assert (page.read_text(), (page.parent / "references" / "cli.md").exists()) == ("mine", False)
    forced = place.json("skill", "install", "--to", "skills", "--force")
    assert (forced["written"], page.read_bytes()) == (
        ["SKILL.md", "references/cli.md"],
        (SKILL / "SKILL.md").read_bytes(),
    )


def test_a_folder_that_cannot_be_made_is_named(place: Place) -> None:
    (place.folder / "skills").write_text("a file")
    refused = place.run("skill", "install", "--to", "skills")
    assert (refused.returncode, "skills/sora-ledger: the folder cannot be made" in refused.stdout) == (
        1,
        True,
    )
