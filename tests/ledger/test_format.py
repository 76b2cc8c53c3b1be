"""`docs/FORMAT.md` says what the code does, and its worked example comes out as printed."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.events import EVENT_TYPES, EventBase, Part
from ledger.job import TRANSITIONS, Asset, Job
from ledger.verify import checks, strict, verify_bundle

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "FORMAT.md").read_text(encoding="utf-8")
EXAMPLE = re.findall(r"^\$ (.*)\n(.*)$", TEXT, re.MULTILINE)
STEPS_OF_EXAMPLE = 5


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def table(title: str, columns: int) -> list[tuple[str, ...]]:
    """Return the rows of all tables of a section that have `columns` columns."""
    rows = [tuple(row.strip("| ").split(" | ")) for row in section(title).splitlines() if row[:1] == "|"]
    return [row for row in rows if len(row) == columns and not row[0].startswith("---")]


def codes(title: str) -> set[str]:
    """Return the codes of findings that the tables of a section name."""
    return {code for row in table(title, 2) for code in quoted(row[0]) if re.fullmatch("[A-Z_]+", code)}


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def run(command: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", command], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    return ran.stdout


def test_the_worked_example_is_there() -> None:
    assert len(EXAMPLE) == STEPS_OF_EXAMPLE


@pytest.mark.parametrize(("command", "printed"), EXAMPLE, ids=range(1, len(EXAMPLE) + 1))
def test_a_step_of_the_worked_example_prints_what_it_says(command: str, printed: str) -> None:
    assert run(command) == f"{printed}\n"


def test_the_worked_example_is_a_record_of_the_frozen_ledger() -> None:
    path = ROOT / "tests" / "golden" / "v1" / "ledger.db"
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    record, payload, leaf = db.execute(
        "SELECT record, payload, leaf FROM events WHERE position = 3"
    ).fetchone()
    db.close()
    example = section("Worked example")
    parts = [record.decode(), payload.decode(), leaf.hex()]
    assert [part for part in parts if part not in example] == []


def test_the_worked_example_is_made_of_its_own_results() -> None:
    digests = [printed.split()[0] for _, printed in EXAMPLE]
    commands = [command for command, _ in EXAMPLE]
    used = [(0, 1), (1, 2), (2, 4), (3, 4)]
    assert [(step, later) for step, later in used if digests[step] not in commands[later]] == []


@pytest.mark.parametrize("type_", sorted(EVENT_TYPES))
def test_the_fields_of_an_event_are_named_in_order(type_: str) -> None:
    [fields] = [quoted(row[2]) for row in table("Events", 3) if row[0] == f"`{type_}`"]
    assert fields == list(EVENT_TYPES[type_].__struct_fields__)


def test_the_events_and_their_kinds_are_those_of_the_code() -> None:
    facts = {row[0].strip("`"): row[1] for row in table("Events", 3)[1:]}
    assert facts == {type_: model.kind.value for type_, model in EVENT_TYPES.items()}


def test_the_parts_of_payloads_are_those_of_the_code() -> None:
    facts = {row[0]: quoted(row[1]) for row in table("Events", 2)[1:]}
    parts = [part for part in Part.__subclasses__() if part is not EventBase]
    assert facts == {part.__name__: list(part.__struct_fields__) for part in parts}


def test_the_record_has_the_keys_of_the_code() -> None:
    assert {row[0].strip("`") for row in table("Record", 2)[1:]} == strict.RECORD_KEYS


def test_the_transitions_are_those_of_the_code() -> None:
    rows = [row for row in table("Jobs", 2) if "→" in row[1]][1:]
    facts = {row[0]: dict(re.findall(r"`([^`]+)` → (\w+)", row[1])) for row in rows}
    ours = {
        state.value if state else "—": {step: after.value for step, after in steps.items()}
        for state, steps in TRANSITIONS.items()
    }
    assert facts == ours


def test_the_fields_of_a_job_are_those_of_the_code() -> None:
    rows = table("Jobs", 2)
    start = rows.index(("field", "from"))
    names = sorted(name for row in rows[start + 1 :] for name in quoted(row[0]))
    assert names == sorted(Job.__struct_fields__)


def test_the_fields_of_an_asset_are_those_of_the_code() -> None:
    [row] = [row for row in table("Jobs", 2) if row[0] == "`assets`"]
    assert quoted(row[1])[:-1] == list(Asset.__struct_fields__)


def permission_codes() -> set[str]:
    """Return the codes of what both checkers find by `Permissions`."""
    source = Path(verify_bundle.__file__).read_text(encoding="utf-8")
    return set(re.findall(r"\"((?:REQUEST|APPROVAL|CHANGE|DECISION|ACCESS)_[A-Z_]+)\"", source))


def test_the_codes_of_verification_are_those_of_the_code() -> None:
    package = Path(str(checks.__file__)).parent
    modules = [module for module in package.glob("*.py") if module.name != "verify_bundle.py"]
    source = "".join(module.read_text(encoding="utf-8") for module in modules)
    codes_in_code = set(re.findall(r"add\(\s*\"([A-Z_]+)\"", source))
    assert codes("Verification") == codes_in_code | permission_codes()


def test_the_codes_of_a_bundle_are_those_of_the_code() -> None:
    source = Path(verify_bundle.__file__).read_text(encoding="utf-8")
    codes_in_code = set(re.findall(r"(?:add|Damaged)\(\s*\"([A-Z_]+)\"", source))
    assert codes("Bundles") == codes_in_code | permission_codes()


def test_the_limits_of_a_bundle_are_those_of_the_code() -> None:
    limits = [
        f"nested deeper than {verify_bundle.MAX_DEPTH}",
        f"a line of more than {verify_bundle.MAX_LINE_BYTES >> 20} MiB",
        f"more than {verify_bundle.MAX_FILES:,} entries",
        f"{verify_bundle.MAX_TOTAL_BYTES >> 30} GiB",
        f"more than {verify_bundle.SMALL_BYTES >> 20} MiB that unpacks",
        f"more than {verify_bundle.MAX_RATIO} times",
    ]
    message = " ".join(section("Bundles").split())
    assert [limit for limit in limits if limit not in message] == []


def test_the_tables_are_those_of_the_schema() -> None:
    db = sqlite3.connect(":memory:")
    for file in sorted((ROOT / "ledger/store/sqlite/migrations").glob("*.sql")):
        db.executescript(file.read_text(encoding="utf-8"))
    tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    names = [name for (name,) in tables if not name.startswith("search_")]  # FTS5's own, under `search`
    columns = {name: [row[1] for row in db.execute(f"PRAGMA table_info({name})")] for name in names}
    db.close()
    facts = {row[0].strip("`"): row[1].replace(" = 1", "").split(", ") for row in table("Tables", 3)[1:]}
    assert facts == columns


def test_the_example_of_a_record_is_canonical() -> None:
    record = re.search(r"'(\{\"actor\".*?\})'", section("Worked example"))
    assert record
    document = json.loads(record[1])
    assert json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False) == record[1]
