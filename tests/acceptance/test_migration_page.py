"""docs/migration.md names commands and flags that exist, covers every flag of a seed, and counts correctly.

`migration_rows.toml` names the tests that show each row. The numbers come from the tables of
`test_seed_command_lines` and `test_seed_examples`, whose tests run every line.
"""

import re
import tomllib
from collections import Counter
from pathlib import Path

import click
import pytest

import render_service
from cli.main import cli
from tests.acceptance import test_seed_command_lines as lines
from tests.acceptance import test_seed_examples as examples

ROOT = Path(__file__).parents[2]
SEEDS = Path(__file__).parent / "seeds"
PAGE = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
NUMBERS, _, TABLES = PAGE.partition("\n## In numbers\n")[2].partition("\n## ")
HEADINGS = ("| you ", "| the skill says ", "| the API has ")
ROWS = [
    tuple(cell.strip() for cell in line.strip("| ").split(" | "))
    for line in TABLES.splitlines()
    if line.startswith("| ") and not line.startswith(HEADINGS)
]
SHOWN_BY = tomllib.loads((Path(__file__).parent / "migration_rows.toml").read_text(encoding="utf-8"))
QUOTED = re.compile(r"`([^`]+)`")
NO_FLAGS_OF_THEIRS = {"--with", "--show-toplevel"}  # of uv and git
TOOLS = {"000": "the Sora skill", "004": "image2video"}
DOCUMENTS = {"002": "the notes on the Videos API", "003": "the Bickford integration"}
REASONS = {
    lines.NO_SEED.says: "`--seed`: OpenAI's API has no seeds; a server profile that has them accepts it",
    "the profile openai does not take --loop": "`--loop`: the same for loops",
    lines.NO_4K.says: "3840x2160: no model offers this size",
    "size 1080x1080 is offered by no model": "1080x1080: no model offers this size",
    "size 2048x858 is offered by no model": "2048x858: no model offers this size",
    lines.NO_5.says: "5 seconds: no model offers this length",
    lines.NO_10.says: "10 seconds: no model offers this length",
    lines.NO_15.says: "15 seconds: no model offers this length",
}


def command_of(words: list[str]) -> click.Command | None:
    """Return the command, or the subcommand of a group, that these words begin with."""
    command = cli.get_command(click.Context(cli), words[0])
    if isinstance(command, click.Group) and len(words) > 1 and not words[1].startswith("-"):
        return command.get_command(click.Context(command), words[1])
    return command


def exists(text: str) -> bool:
    """Say whether a command with its flags, a helper, a setting or a command of make exists."""
    words = text.split()
    if words[0].startswith(("RenderDesk.", "SyncRenderDesk.")):
        name, _, helper = words[0].partition(".")
        return hasattr(getattr(render_service, name), helper)
    if command := command_of(words):
        flags = {
            flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)
        }
        return {word for word in words if word.startswith("-")} <= flags
    return words[0] in {"-", "all", "auto", ".env", "sora-ledger", "make"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_a_row_names_exists(row: tuple[str, str]) -> None:
    assert [words for words in QUOTED.findall(row[1]) if not exists(words)] == []


def test_every_row_is_shown_by_tests_that_exist() -> None:
    assert [row[0] for row in ROWS] == list(SHOWN_BY)
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    names = {name for names in SHOWN_BY.values() for name in names}
    assert [name for name in sorted(names) if f"def test_{name}(" not in sources] == []
    assert all(SHOWN_BY.values())


@pytest.mark.parametrize("seed", TOOLS)
def test_every_flag_of_a_seed_is_in_a_row(seed: str) -> None:
    text = (SEEDS / f"{seed}.txt").read_text(encoding="utf-8")
    flags = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", text)) - NO_FLAGS_OF_THEIRS
    named = {words for row in ROWS for words in QUOTED.findall(row[0])}
    assert flags - named - {"-rf", "-f", "-p"} == set()


def test_every_command_of_the_skill_is_in_a_row() -> None:
    text = (SEEDS / "000.txt").read_text(encoding="utf-8")
    named = {words for row in ROWS for words in QUOTED.findall(row[0])}
    assert set(re.findall(r'SORA_CLI" ([a-z-]+)', text)) <= named


def counted() -> list[str]:
    """Return the rows of the three tables of numbers."""
    rows = []
    refused: Counter[str] = Counter()
    for seed, name in TOOLS.items():
        runs = [row for row in lines.ROWS[seed].values() if isinstance(row, lines.Runs)]
        reasons = [REASONS[row.says] for row in runs if row.code]
        refused.update(reasons)
        rows.append(f"| {name} | {len(runs)} | {len(runs) - len(reasons)} | {len(reasons)} |")
    rows += [f"| {reason} | {number} |" for reason, number in refused.most_common()]
    for seed, name in DOCUMENTS.items():
        kinds = [row for (of, _), row in examples.ROWS.items() if of == seed]
        absent = sum(row is examples.UNPUBLISHED for row in kinds)
        why = f"{absent}: it imports a package that was never published" if absent else "0"
        rows.append(f"| {name} | {len(kinds)} | {len(kinds) - absent} | {why} |")
    return rows


def test_the_numbers_are_those_of_the_lines_that_are_run() -> None:
    headings = ("| command lines of", "| refused in", "| examples of", "|---")
    assert [
        row for row in NUMBERS.splitlines() if row.startswith("|") and not row.startswith(headings)
    ] == counted()
