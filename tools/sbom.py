"""Write a bill of materials in CycloneDX 1.6: the packages that `requirements.lock` installs.

Everything comes from the lock, and the licences from NOTICE, so the same commit gives the same document. The
Containerfile puts it into the image, and the release workflow next to the wheel.

    python tools/sbom.py --out sbom.json
"""

import argparse
import hashlib
import json
import re
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([a-z0-9._-]+)==([^\s;]+)(?: *; *([^\\\n]+?))?(?: *\\)?$")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
LICENCE = re.compile(r"^  ([a-z0-9._-]+) {2,}(\S.*)$", re.MULTILINE)


def components(lock: str, notice: str) -> list[dict[str, Any]]:
    """Return one component for each pin of the lock, in its order."""
    licences = dict(LICENCE.findall(notice))
    found: list[dict[str, Any]] = []
    for line in lock.splitlines():
        if pin := PIN.match(line):
            name, version, marker = pin.groups()
            purl = f"pkg:pypi/{name}@{version}"
            made = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
            made["licenses"] = [{"license": {"name": licences[name]}}]
            made["properties"] = [{"name": "python:marker", "value": marker}] if marker else []
            found.append(made)
        elif digest := HASH.search(line):
            listed = {"name": "python:wheel-or-sdist-sha256", "value": digest[1]}
            found[-1]["properties"].append(listed)
    return found


def document(lock: str, notice: str, project: str) -> dict[str, Any]:
    """Return the bill of materials; its serial number is derived from the lock."""
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    if version is None:
        raise SystemExit('pyproject.toml: expected a line version = "…", found none')
    parts = components(lock, notice)
    itself = f"pkg:pypi/sora-ledger@{version[1]}"
    serial = uuid.UUID(bytes=hashlib.sha256(lock.encode()).digest()[:16], version=4)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": itself,
                "name": "sora-ledger",
                "version": version[1],
                "purl": itself,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": parts,
        "dependencies": [{"ref": itself, "dependsOn": [part["bom-ref"] for part in parts]}],
    }


def main() -> None:
    """Write the file."""
    about, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    names = ("requirements.lock", "NOTICE", "pyproject.toml")
    made = document(*((ROOT / name).read_text(encoding="utf-8") for name in names))
    parser.parse_args().out.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
