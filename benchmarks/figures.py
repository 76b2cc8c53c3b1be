"""Figures of the structure: import chains, module sizes, silenced checks, and documentation.

Run it with ``make figures``. It reads the source, runs nothing, and prints one line per figure with its goal.
Every import counts, at the top of a module, in a function or for type checking only.
"""

import ast
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ("ledger", "decision", "sora_adapter", "render_service", "cli")
SILENCED = re.compile(r"#\s*(noqa|type: ignore)")
SHORT_LINES = 60
LONG_FUNCTION_LINES = 70

Graph = Mapping[str, set[str]]


def module_name(path: Path) -> str:
    """Return the dotted name of a module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def read_sources() -> dict[str, str]:
    """Return the text of every module of the product, by dotted name."""
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return {module_name(path): path.read_text(encoding="utf-8") for path in paths}


@cache
def import_statements(text: str) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """Return every import of a module, wherever in the file; expressions have none."""
    due: list[Any] = [ast.parse(text)]
    for node in due:
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            due += getattr(node, part, ())
    return tuple(node for node in due if isinstance(node, ast.Import | ast.ImportFrom))


def imports_of(name: str, text: str, modules: Iterable[str]) -> set[str]:
    """Return the `modules` that a module imports, anywhere in the file."""
    found = set()
    for node in import_statements(text):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules else node.module)
    return {other for other in found if other in modules} - {name}


def import_graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the modules that each module imports."""
    return {name: imports_of(name, text, sources.keys()) for name, text in sources.items()}


def cycles(graph: Graph) -> list[list[str]]:
    """Return the largest groups of nodes that all reach each other."""
    reached = {node: _reachable(graph, node) for node in graph}
    groups = {frozenset(other for other in reached[node] if node in reached[other]) for node in graph}
    return sorted(sorted(group) for group in groups if group)


def _reachable(graph: Graph, node: str) -> set[str]:
    """Return the nodes that a node reaches: itself only through a cycle."""
    found: set[str] = set()
    due = list(graph[node])
    while due:
        other = due.pop()
        if other not in found:
            found.add(other)
            due += graph[other]
    return found


def longest_chain(graph: Graph) -> list[str]:
    """Return the longest chain of imports; a cycle counts as all of its modules, one after the other."""
    together = {name: group for group in cycles(graph) for name in group}
    chains: dict[str, list[str]] = {}

    def chain_from(name: str) -> list[str]:
        group = together.get(name, [name])
        if group[0] not in chains:
            onward = {other for member in group for other in graph[member]} - set(group)
            chains[group[0]] = group + max(
                (chain_from(other) for other in sorted(onward)), key=len, default=[]
            )
        return chains[group[0]]

    return max((chain_from(name) for name in sorted(graph)), key=len)


def folder_graph(graph: Graph, folders: Iterable[str]) -> dict[str, set[str]]:
    """Return which folders each folder imports; a package's own ``__init__`` is in the package."""

    def folder_of(name: str) -> str:
        return name if name in folders else name.rpartition(".")[0]

    arrows = defaultdict[str, set[str]](set)
    for name, others in graph.items():
        arrows[folder_of(name)] |= {folder_of(other) for other in others} - {folder_of(name)}
    return dict(arrows)


def mutual_pairs(graph: Graph) -> list[tuple[str, str]]:
    """Return the pairs that import each other; a folder and its parent count as two."""
    pairs = itertools.combinations(sorted(graph), 2)
    return [(one, other) for one, other in pairs if other in graph[one] and one in graph[other]]


def _long_functions(trees: Mapping[str, ast.Module]) -> Iterator[str]:
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                lines = node.end_lineno - node.lineno + 1
                if lines > LONG_FUNCTION_LINES:
                    yield f"{name}.{node.name} ({lines})"


def _public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Yield a module's public functions and classes, and the public methods of public classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
            yield node
            if isinstance(node, ast.ClassDef):
                kinds = ast.FunctionDef | ast.AsyncFunctionDef
                yield from (m for m in node.body if isinstance(m, kinds) and m.name[0] != "_")


def _print(label: str, figure: object, goal: str = "") -> None:
    print(f"{label:<40} {figure!s:<28} {goal and f'goal: {goal}'}".rstrip())


def main() -> None:
    """Print the figures."""
    sources = read_sources()
    trees = {name: ast.parse(text) for name, text in sources.items()}
    graph = import_graph(sources)
    folders = {name.rpartition(".")[0] for name in sources}
    lines = {name: len(text.splitlines()) for name, text in sources.items()}
    modules = [name for name in sources if not (name in folders and lines[name] < SHORT_LINES)]
    importers = Counter(other for others in graph.values() for other in others)
    short = [name for name in modules if lines[name] <= SHORT_LINES]
    lone = [name for name in modules if importers[name] == 1]
    long = list(_long_functions(trees))
    documented = [ast.get_docstring(node) is not None for tree in trees.values() for node in _public(tree)]
    silenced = sum(len(SILENCED.findall(text)) for text in sources.values())
    chain, loops = longest_chain(graph), cycles(graph)
    pairs = mutual_pairs(folder_graph(graph, folders))
    _print("files and lines", f"{len(sources)} files, {sum(lines.values())} lines")
    _print("modules in import cycles", sum(map(len, loops)), "0")
    _print("folders that import each other, pairs", len(pairs), "0")
    _print("longest import chain, modules", len(chain), "at most 16")
    _print("noqa and type: ignore", silenced, "below 100")
    _print(f"modules of {SHORT_LINES} lines or fewer", f"{len(short)} of {len(modules)}", "below a tenth")
    _print("modules with exactly one importer", len(lone), "at most 50")
    _print(f"functions above {LONG_FUNCTION_LINES} lines", len(long), "0")
    _print(
        "public functions and classes with docs", f"{sum(documented) / len(documented):.1%}", "at least 95 %"
    )
    for title, found in {
        "import cycles": map(", ".join, loops),
        "folders that import each other": (f"{one} and {other}" for one, other in pairs),
        f"functions above {LONG_FUNCTION_LINES} lines": long,
        "the longest chain": chain,
    }.items():
        if listed := list(found):
            print(f"\n{title}:\n  " + "\n  ".join(listed))


if __name__ == "__main__":
    main()
