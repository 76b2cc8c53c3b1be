"""Write schemas.json: the fields of every document with their types, frozen for each version.

Run it after you add a document or a field: ``.venv/bin/python tests/golden/make_schemas.py``. If a field is
removed or means something else, raise the version of the document in `cli.schemas` first; the old version
stays in the file.
"""

import json
from pathlib import Path
from typing import Any

from cli.schemas import DOCUMENTS

FROZEN = Path(__file__).with_name("schemas.json")


def fields_of(schema: Any, path: str = "") -> dict[str, list[str]]:
    """Return every path in a schema with the types it may have."""
    found: dict[str, set[str]] = {}
    for one in schema.get("anyOf", [schema]):
        kind = one.get("type") or ("const" if "const" in one else "enum" if "enum" in one else "any")
        if "anyOf" not in one:
            found.setdefault(path, set()).add(kind)
        inner = dict(one.get("properties", {}))
        if isinstance(one.get("items"), dict):
            inner["[]"] = one["items"]
        if isinstance(one.get("additionalProperties"), dict):
            inner["*"] = one["additionalProperties"]
        for name, part in inner.items():
            for deeper, kinds in fields_of(part, f"{path}.{name}" if path else name).items():
                found.setdefault(deeper, set()).update(kinds)
        if "anyOf" in one:
            for deeper, kinds in fields_of(one, path).items():
                found.setdefault(deeper, set()).update(kinds)
    return {name: sorted(kinds) for name, kinds in sorted(found.items())}


def current() -> dict[str, dict[str, list[str]]]:
    """Return the fields of today's version of every document."""
    return {f"{name}/{one.version}": fields_of(one.make()) for name, one in DOCUMENTS.items()}


if __name__ == "__main__":
    frozen = json.loads(FROZEN.read_text(encoding="utf-8")) if FROZEN.exists() else {}
    FROZEN.write_text(json.dumps(frozen | current(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
