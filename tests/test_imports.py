"""Imports go one way, and commands that only read the ledger load nothing that calls or decodes."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from benchmarks.figures import (
    cycles,
    folder_graph,
    import_graph,
    import_statements,
    longest_chain,
    mutual_pairs,
    read_sources,
)

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "ledger": {"ledger"},
    "decision": {"decision", "ledger"},
    "sora_adapter": {"sora_adapter", "ledger"},
    "render_service": {"render_service", "sora_adapter", "decision", "ledger"},
    "cli": {"cli", "render_service", "sora_adapter", "decision", "ledger"},
}
SANDBOX = ROOT / "sora_adapter" / "sandbox"
OF_THE_LEDGER_FOR_DECISION = {
    "ledger.canonical",
    "ledger.errors",
    "ledger.events",
    "ledger.private",
    "ledger.terms",
}
HEAVY = {"obstore", "openai", "httpx2", "av", "PIL", "uvicorn", "starlette", "sqlite_utils"}
LONGEST_CHAIN = 16
NOT_FOR_READING = {
    "decision.engine",
    "render_service.recovery",
    "render_service.settlement",
    "render_service.worker",
}
READING = ["status", "show", "jobs", "log", "verify", "checkpoint", "replay"]
RUN = """
import contextlib, io, json, sys
from cli.main import run
with contextlib.redirect_stdout(io.StringIO()):
    code = run(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]))
"""


@cache
def imported(path: Path) -> list[str]:
    """Return the modules that a file imports, wherever in it."""
    names = []
    for node in import_statements(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        else:
            assert node.level == 0, f"{path}: imports are absolute, so that this test can read them"
            names.append(node.module or "")
    return names


def modules_of(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield every module under `folder` with each module it imports."""
    for path in folder.rglob("*.py"):
        yield from ((path, name) for name in imported(path))


def found(folder: Path, top: str) -> set[str]:
    """Return which modules of the package `top` are imported under `folder`."""
    return {name for _, name in modules_of(folder) if name.partition(".")[0] == top}


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Return which modules of the product each of them imports, functions and type checking included."""
    return import_graph(read_sources())


def test_no_two_folders_import_each_other(imports: dict[str, set[str]]) -> None:
    assert mutual_pairs(folder_graph(imports, {name.rpartition(".")[0] for name in imports})) == []


def test_no_modules_import_each_other_in_a_circle(imports: dict[str, set[str]]) -> None:
    assert cycles(imports) == []


def test_no_chain_of_imports_has_more_than_sixteen_modules(imports: dict[str, set[str]]) -> None:
    chain = longest_chain(imports)
    assert len(chain) <= LONGEST_CHAIN, " -> ".join(chain)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way(package: str) -> None:
    ours = {name.partition(".")[0] for _, name in modules_of(ROOT / package)} & set(MAY_IMPORT)
    assert ours <= MAY_IMPORT[package]


def test_decision_sees_only_the_vocabulary_of_the_ledger() -> None:
    assert found(ROOT / "decision", "ledger") <= OF_THE_LEDGER_FOR_DECISION


def test_the_sandbox_imports_nothing_of_ours_but_itself_and_what_every_server_needs() -> None:
    ours = {name for _, name in modules_of(SANDBOX) if name.partition(".")[0] in MAY_IMPORT}
    assert {
        name for name in ours if not name.startswith(("sora_adapter.sandbox", "sora_adapter.serving"))
    } == set()


def test_the_adapter_imports_its_sandbox_nowhere() -> None:
    outside = {name for path, name in modules_of(ROOT / "sora_adapter") if SANDBOX not in path.parents}
    assert {name for name in outside if name.startswith("sora_adapter.sandbox")} == set()


def test_openai_is_imported_by_the_adapter_alone() -> None:
    importers = {
        path.relative_to(ROOT)
        for package in MAY_IMPORT
        for path, name in modules_of(ROOT / package)
        if name.partition(".")[0] == "openai"
    }
    assert importers == {Path("sora_adapter/transport.py"), Path("sora_adapter/webhooks.py")}


def test_verification_shares_no_code_with_the_writer() -> None:
    ours = {
        name for _, name in modules_of(ROOT / "ledger" / "verify") if name.partition(".")[0] in MAY_IMPORT
    }
    assert {name for name in ours if not name.startswith("ledger.verify")} == set()


def test_the_console_is_imported_by_its_routes_and_the_two_apps_alone(imports: dict[str, set[str]]) -> None:
    console = "render_service.server.console"
    importers = {
        name for name, those in imports.items() if any(f"{each}.".startswith(f"{console}.") for each in those)
    }
    outside = {name for name in importers if not name.startswith(f"{console}.")}
    assert outside == {
        "render_service.server.app",
        "render_service.server.console_routes",
        "render_service.server.front",
    }


@pytest.mark.parametrize("package", sorted(set(MAY_IMPORT) - {"cli"}))
def test_click_is_imported_by_the_command_line_alone(package: str) -> None:
    assert found(ROOT / package, "click") == set()


def test_the_first_instant_of_a_command_loads_only_click() -> None:
    code = "import sys, cli.main; print(sorted({'pydantic', 'ledger', 'rich', 'asyncio'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def finished_job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a ledger with one finished job, and the job's id; a denial needs no server."""
    folder = tmp_path_factory.mktemp("reading")
    asked = ["create", "--prompt", "a fox", "--max-cost", "0.01", "--ledger", str(folder / "ledger.db")]
    command = [sys.executable, "-m", "cli", *asked, "--profile", "sandbox"]
    made = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    return folder / "ledger.db", json.loads(made.stdout)["job_id"]


@pytest.mark.parametrize("command", READING)
def test_a_command_that_only_reads_the_ledger_loads_nothing_heavy(
    finished_job: tuple[Path, str], command: str
) -> None:
    ledger, job_id = finished_job
    arguments = [command, *([job_id] if command in {"status", "show"} else []), "--ledger", str(ledger)]
    ran = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], check=True, capture_output=True, text=True, cwd=ledger.parent
    )
    code, loaded = json.loads(ran.stdout)
    assert (code, HEAVY & set(loaded)) == (3 if command == "status" else 0, set())
    if command != "status":  # of this job it says why it was denied
        assert (NOT_FOR_READING | {"pydantic"}) & set(loaded) == set()
