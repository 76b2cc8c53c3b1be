"""Mutation testing: change the product in one place at a time and see whether its tests notice.

``make mutants`` draws a fixed sample of mutants for each module of `modules.toml`, runs the tests named
there against each mutant in a copy of the tree, and prints how many were killed and which survived. Half of
a sample comes from cosmic-ray (comparisons, conditions, numbers, loops); the other half leaves something
out: a statement, an operand of ``and`` or ``or``, a keyword argument.

The sample depends only on the lines themselves, so it stays the same when a module moves or grows. Not drawn
are mutants that `equivalent.toml` explains, and those that change only what no test should pin: annotations
and decorators (the type checker holds them), log lines, the words of an error message, and by how much a
constant of eight or more is off.
"""

import argparse
import ast
import difflib
import hashlib
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SEED = 7
UNFIT = re.compile(
    "ReplaceBinaryOperator|Exception|RemoveDecorator|Variable|_(Eq_Is|NotEq_IsNot|Is_Eq|IsNot_NotEq)$"
)
"""Operators of cosmic-ray whose mutants mostly end in an error that any test notices, or behave the same."""
LOGS = re.compile(r"\blog\.\w+$|\b_warn$")
LARGE = 8
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["__main__", "hypothesis.strategies", "httpx2", "openai", "PIL.Image", "pydantic"]
)
"""Each run of tests is forked from a process that has imported what takes long and is not ours."""
LEAST_S = 60.0
"""A run of tests may take three times as long as without a mutant, and at least this many seconds."""


@dataclass(frozen=True)
class Mutant:
    """One changed module."""

    module: str
    name: str
    code: str
    line: int
    change: str
    """The lines before and after, as `equivalent.toml` has them."""


@dataclass(frozen=True)
class Outcome:
    """What the tests made of a mutant."""

    mutant: Mutant
    word: str
    """killed, survived, or timed out (which counts as killed: in the suite a hang is a failure)."""


class Bare(ast.NodeTransformer):
    """Take from a tree what no test should pin."""

    def visit(self, node: ast.AST) -> ast.AST:
        """Replace `node` by a placeholder, or what it holds."""
        match node:
            case ast.Expr(value=ast.Constant()):  # a docstring
                return ast.Pass()
            case ast.Expr(value=ast.Call(func=called)) if LOGS.search(ast.unparse(called)):
                return ast.Pass()
            case ast.If(test=ast.Name("TYPE_CHECKING") | ast.UnaryOp(operand=ast.Name("TYPE_CHECKING"))):
                return ast.Pass()
            case ast.Raise(exc=ast.AST() as error):
                node.exc = Wordless().visit(error)
            case ast.Module():
                for item in node.body:
                    if isinstance(item, ast.Assign) and _is_large(item.value):
                        item.value = ast.Constant(0)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                node.decorator_list = []
                node.returns = None
            case ast.arg() | ast.AnnAssign():
                node.annotation = ast.Constant(0)
            case _:
                pass
        return self.generic_visit(node)


class Wordless(ast.NodeTransformer):
    """Take the text from the arguments of an error."""

    def visit_JoinedStr(self, _: ast.JoinedStr) -> ast.AST:
        """Replace an f-string by a placeholder."""
        return ast.Constant("")


def _is_large(value: ast.AST) -> bool:
    number = value.value if isinstance(value, ast.Constant) else None
    return isinstance(number, int | float) and number >= LARGE - 1  # a mutant is one less


def _bare(code: str) -> str:
    """Return `code` as a tree of what tests should pin."""
    return ast.dump(Bare().visit(ast.parse(code)))


class Omission(ast.NodeTransformer):
    """Leave out the n-th thing that can be left out: a statement, an operand, a keyword argument."""

    def __init__(self, which: int | None = None) -> None:
        self.which = which
        self.texts: list[str] = []
        """What can be left out, in the order of the numbers."""
        self.lines: list[int] = []

    def visit(self, node: ast.AST) -> ast.AST:
        """Change `node` where it is the one."""
        if isinstance(node, ast.Raise | ast.AugAssign) or (
            isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
        ):
            if self._is_it(node):
                return ast.copy_location(ast.Pass(), node)
        elif isinstance(node, ast.BoolOp):
            for number, operand in enumerate(node.values):
                if self._is_it(operand):
                    node.values.pop(number)
                    return node if len(node.values) > 1 else node.values[0]
        elif isinstance(node, ast.Call):
            for number, keyword in enumerate(node.keywords):
                if self._is_it(keyword):
                    node.keywords.pop(number)
                    return node
        return self.generic_visit(node)

    def _is_it(self, node: ast.stmt | ast.expr | ast.keyword) -> bool:
        self.lines.append(node.lineno)
        self.texts.append(ast.unparse(node))
        return self.which == len(self.texts) - 1


def _shuffled(texts: Iterable[str], seed: int) -> list[int]:
    """Return the numbers of `texts` in an order that looks random and is the same each time.

    The place of a text does not depend on the others: it stays where it was when the code around it changes.
    """
    times: Counter[str] = Counter()
    keys = []
    for text in texts:
        times[text] += 1
        keys.append(hashlib.sha256(f"{seed} {text} {times[text]}".encode()).digest())
    return sorted(range(len(keys)), key=keys.__getitem__)


def omissions(tree: Path, module: str, seed: int) -> Iterator[Mutant]:
    """Yield the mutants of a module that leave something out."""
    source = (tree / module).read_text(encoding="utf-8")
    code = ast.unparse(ast.parse(source))
    places = Omission()
    places.visit(ast.parse(source))
    original = _bare(code)
    for number in _shuffled(places.texts, seed):
        changed = ast.unparse(ast.fix_missing_locations(Omission(number).visit(ast.parse(source))))
        if _bare(changed) != original:
            _, before, after = _difference(code, changed)
            name = f"without {places.texts[number]}"
            yield Mutant(module, name, changed, places.lines[number], f"{before}  ->  {after}")


def replacements(tree: Path, module: str, seed: int) -> Iterator[Mutant]:
    """Yield cosmic-ray's mutants of a module that change what it does."""
    code = (tree / module).read_text(encoding="utf-8")
    lines = code.splitlines()
    original = _bare(code)
    nodes = list(ast_nodes(get_ast(code)))
    places: list[tuple[str, int, str]] = []
    for name in sorted(operator_names()):
        if UNFIT.search(name):
            continue
        positions = [at for node in nodes for at in get_operator(name)().mutation_positions(node)]
        places += [(name, number, lines[at[0][0] - 1].strip()) for number, at in enumerate(positions)]
    for place in _shuffled((f"{name} {line}" for name, _, line in places), seed):
        name, number, _ = places[place]
        changed = mutate_code(code, get_operator(name)(), number)
        if changed is not None and _compiles(changed) and _bare(changed) != original:
            line, before, after = _difference(code, changed)
            yield Mutant(module, name.removeprefix("core/"), changed, line, f"{before}  ->  {after}")


def _compiles(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def _difference(code: str, changed: str) -> tuple[int, str, str]:
    """Return the number of the first line that differs, and the differing lines before and after."""
    lines = list(difflib.unified_diff(code.splitlines(), changed.splitlines(), n=0, lineterm=""))[2:]
    number = next(line for line in lines if line.startswith("@@")).split()[1][1:].partition(",")[0]
    before = " ".join(line[1:].strip() for line in lines if line.startswith("-"))
    after = " ".join(line[1:].strip() for line in lines if line.startswith("+"))
    return int(number), before, after


def draw(tree: Path, module: str, count: int, seed: int, equivalent: set[str]) -> list[Mutant]:
    """Return a sample that is the same each time, without the mutants known to change nothing."""
    chosen: list[Mutant] = []
    for mutants, most in (
        (omissions(tree, module, seed), count // 2),
        (replacements(tree, module, seed), count - count // 2),
    ):
        new = (mutant for mutant in mutants if mutant.change not in equivalent)
        chosen += islice(new, most)
    return chosen


def copy_tree(to: Path) -> None:
    """Copy what git knows, as it is in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)


def run_tests(tree: Path, tests: list[str], limit_s: float | None) -> tuple[int | None, float]:
    """Run tests in a tree; return pytest's exit code, None where time ran out, and the seconds it took.

    The run without a limit is that without a mutant: it leaves the bytecode that the others read.
    """
    began = time.monotonic()
    process = SERVER.Process(target=_test, args=(tree, tests, limit_s is None))
    process.start()
    process.join(limit_s)
    code = process.exitcode
    if code is None and process.pid is not None:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    process.close()
    return code, time.monotonic() - began


def _test(tree: Path, tests: list[str], writes_bytecode: bool) -> None:  # noqa: FBT001  # an argument of Process
    os.setsid()
    os.chdir(tree)
    os.environ["PYTHONPATH"] = sys.path[0] = str(tree)
    sys.dont_write_bytecode = not writes_bytecode
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    quietly = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    os._exit(pytest.main(["-n0", "-x", *quietly, *tests]))


def test_module(tree: Path, module: str, tests: list[str], mutants: list[Mutant]) -> list[Outcome]:
    """Run the tests of a module against each of its mutants."""
    code, took_s = run_tests(tree, tests, None)
    if code != 0:
        raise SystemExit(
            f"{module}: its tests fail without a mutant (pytest's exit code {code}): {' '.join(tests)}"
        )
    limit_s = max(LEAST_S, 3 * took_s)
    path = tree / module
    original = path.read_text(encoding="utf-8")
    outcomes = []
    for mutant in mutants:
        path.write_text(mutant.code, encoding="utf-8")
        code, _ = run_tests(tree, tests, limit_s)
        word = {0: "survived", None: "timed out"}.get(code, "killed")
        outcomes.append(Outcome(mutant, word))
        print(f"  {word:9} {module}:{mutant.line}: {mutant.change[:150]}", flush=True)
    path.write_text(original, encoding="utf-8")
    return outcomes


def report(outcomes: list[Outcome]) -> float:
    """Print a table and the survivors; return the share that was killed."""
    modules = sorted({outcome.mutant.module for outcome in outcomes})
    print(f"\n{'module':52} {'mutants':>8} {'killed':>7} {'survived':>9} {'timed out':>10}")
    for module in modules:
        words = [outcome.word for outcome in outcomes if outcome.mutant.module == module]
        counts = [words.count(word) for word in ("killed", "survived", "timed out")]
        print(f"{module:52} {len(words):8} {counts[0]:7} {counts[1]:9} {counts[2]:10}")
    survivors = [outcome.mutant for outcome in outcomes if outcome.word == "survived"]
    for mutant in survivors:
        print(f"survived: {mutant.module}:{mutant.line}: {mutant.change}  [{mutant.name}]")
    share = 1 - len(survivors) / max(1, len(outcomes))
    print(f"{len(outcomes) - len(survivors)} of {len(outcomes)} mutants killed ({share:.1%})")
    return share


def main() -> int:
    """Draw, run, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", metavar="TEXT", action="append", help="modules whose path contains TEXT (repeatable)"
    )
    parser.add_argument(
        "--count", type=int, help="mutants of each module (default: as modules.toml says for each)"
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"another sample (default: {SEED})")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    modules = tomllib.loads((HERE / "modules.toml").read_text(encoding="utf-8"))
    known = tomllib.loads((HERE / "equivalent.toml").read_text(encoding="utf-8"))
    chosen = {
        name: tests for name, tests in modules.items() if any(text in name for text in arguments.only or [""])
    }
    if not chosen:
        parser.error(f"no module of modules.toml contains {arguments.only!r}")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.processes) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(arguments.processes):
            tree = Path(folder) / str(number)
            copy_tree(tree)
            trees.put(tree)

        def test(item: tuple[str, dict[str, Any]]) -> list[Outcome]:
            module, entry = item
            tree = trees.get()
            try:
                equivalent = {mutant["line"] for mutant in known.get(module, [])}
                mutants = draw(tree, module, arguments.count or entry["mutants"], arguments.seed, equivalent)
                return test_module(tree, module, entry["tests"], mutants)
            finally:
                trees.put(tree)

        outcomes = [outcome for outcomes in pool.map(test, chosen.items()) for outcome in outcomes]
    report(outcomes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
