"""The page about batches names every key of an entry, and its commands work as they are written."""

import re
import shlex
from pathlib import Path

from decision.request.prompt import CHANGE_ASPECTS
from render_service.batches.file import KEYS
from tests.acceptance.conftest import Place

PAGE = (Path(__file__).parents[2] / "docs" / "batches.md").read_text(encoding="utf-8")
ROWS = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]


def block(mark: str) -> str:
    """Return the text of the code block after the comment `mark`."""
    found = re.search(rf"<!-- {re.escape(mark)} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def test_the_page_names_every_key_of_an_entry_and_every_aspect() -> None:
    assert sorted(key for row in ROWS for key in re.findall(r"`(\w+)`", row[0])) == sorted(KEYS)
    [aspects] = [row[1] for row in ROWS if "declare_change" in row[0]]
    assert re.findall(r"`(\w+)`", aspects) == list(CHANGE_ASPECTS)


def test_the_batch_of_the_page_is_rendered_once_by_its_commands(place: Place) -> None:
    (place.folder / "shots.jsonl").write_text(block("tested: shots.jsonl"))
    for command in block("tested").splitlines():
        ended = place.run(*shlex.split(command)[1:])
        assert (ended.returncode, ended.stderr if ended.returncode else "") == (0, "")
    assert [(job["state"], job["attempts"]) for job in place.jobs()] == [("stored", 1)] * 3
    assert "lighthouse.json" in {path.name for path in (place.folder / "shots").iterdir()}
