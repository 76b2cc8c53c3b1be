"""The wheel runs where nothing is installed but what production installs."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tools.try_install import build, run_five

ROOT = Path(__file__).parents[2]
BUILD = (sys.executable, "-m", "hatchling", "build")
PIN = re.compile(r"^[a-z0-9._-]+==[^\\\n]+", re.MULTILINE)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built from the unpacked sdist."""
    return build(tmp_path_factory.mktemp("dist"), BUILD)


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment with the packages of requirements.lock alone, linked from this one."""
    folder = tmp_path_factory.mktemp("production")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    site = Path(paths["purelib"])
    here = Path(sysconfig.get_path("purelib"))
    pins = map(Requirement, PIN.findall((ROOT / "requirements.lock").read_text()))
    for pin in pins:
        if pin.marker and not pin.marker.evaluate():
            continue
        for top in {file.parts[0] for file in distribution(pin.name).files or () if ".." not in file.parts}:
            if top != "__pycache__" and not (site / top).exists():
                (site / top).symlink_to(here / top)
    return folder


def test_the_sdist_and_a_checkout_make_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([*BUILD, "-t", "wheel", "-d", tmp_path], check=True, cwd=ROOT, capture_output=True)
    [of_checkout] = tmp_path.glob("*.whl")
    assert zipfile.ZipFile(wheel).namelist() == zipfile.ZipFile(of_checkout).namelist()


def test_the_wheel_holds_licence_and_notice(wheel: Path) -> None:
    names = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" in name}
    assert names >= {"LICENSE", "NOTICE"}


def test_the_five_commands_run_with_the_wheel_and_the_packages_of_production(
    wheel: Path, production: Path, tmp_path: Path
) -> None:
    python = production / "bin" / "python"
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    imported = (
        "import importlib.util as u; print([bool(u.find_spec(n)) for n in ('cli', 'pytest', 'hatchling')])"
    )
    found = subprocess.run(
        [python, "-I", "-c", imported], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert json.loads(found.stdout.lower()) == [True, False, False]
    assert '"clean": true' in run_five(tmp_path / "work", production / "bin" / "sora-ledger")


def metadata(folder: Path, **variables: str) -> str:
    """Return the metadata of a wheel that is built with these variables."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GITHUB_")}
    build_ = [*BUILD, "-t", "wheel", "-d", folder]
    subprocess.run(build_, check=True, cwd=ROOT, capture_output=True, env=environment | variables)
    [made] = folder.glob("*.whl")
    held = zipfile.ZipFile(made)
    return held.read(next(name for name in held.namelist() if name.endswith("METADATA"))).decode()


def test_a_wheel_names_the_repository_that_built_it_and_no_other(tmp_path: Path) -> None:
    known = metadata(
        tmp_path / "1", GITHUB_SERVER_URL="https://git.example.com", GITHUB_REPOSITORY="video/ledger"
    )
    assert "Project-URL: Issues, https://git.example.com/video/ledger/issues\n" in known
    assert "Project-URL" not in metadata(tmp_path / "2")


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_a_workflow_or_template_is_a_document_whose_commands_exist(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    runs = [step.get("run", "") for job in document.get("jobs", {}).values() for step in job["steps"]]
    named = re.findall(r"(?:tools/\w+\.py|\.ci/run)", "\n".join(runs))
    assert [name for name in named if not (ROOT / name).exists()] == []
    targets = re.findall(r"^make (\w+)$", "\n".join(runs), re.MULTILINE)
    assert set(targets) <= set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.soak
def test_the_wheel_is_installed_by_pip_with_every_hash_checked() -> None:
    program = [sys.executable, ROOT / "tools" / "try_install.py"]
    ran = subprocess.run(program, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
