"""The package is pure: it imports nothing that could tell the time, read the environment or call out."""

import ast
from pathlib import Path

import decision

ALLOWED = {"ledger.errors", "ledger.events", "ledger.private", "ledger.canonical"}
EFFECTS = {
    "time",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "uuid",
    "logging",
}
FOLDER = Path(decision.__file__).parent


def imports() -> set[str]:
    nodes = [
        node for path in FOLDER.glob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def test_nothing_of_ours_is_imported_but_the_vocabulary_of_the_ledger() -> None:
    ours = {
        name
        for name in imports()
        if name.split(".")[0] in {"ledger", "sora_adapter", "render_service", "cli"}
    }
    assert ours <= ALLOWED


def test_nothing_with_effects_is_imported() -> None:
    assert imports() & EFFECTS == set()


def test_dates_are_imported_without_a_clock() -> None:
    clocks = [path.name for path in FOLDER.glob("*.py") if "today(" in path.read_text(encoding="utf-8")]
    assert clocks == []
