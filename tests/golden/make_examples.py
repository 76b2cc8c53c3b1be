"""Writes `events/<type>.<version>.json` where there is none: one payload, as that version stores it.

An example is frozen once it is there: this never writes over one. Run it after a type or a version was added:

    python tests/golden/make_examples.py
"""

import importlib.util
from pathlib import Path
from types import ModuleType

from ledger.canonical import canonical_json

HERE = Path(__file__).parent
EXAMPLES = HERE / "events"


def vocabulary() -> ModuleType:
    """Load the samples that tests write into ledgers."""
    spec = importlib.util.spec_from_file_location("scribe", HERE.parent / "ledger" / "scribe.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Write what is missing."""
    for event in vocabulary().samples():
        path = EXAMPLES / f"{event.type}.{event.schema_version}.json"
        if not path.exists():
            path.write_bytes(canonical_json(event.as_json()))


if __name__ == "__main__":
    main()
