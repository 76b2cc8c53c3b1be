"""The examples of docs/python.md run as they are written."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.forks import CODE

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- tested -->\n```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == PAGE.count("```python")


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_page_runs_as_written(place: Any, example: str) -> None:
    environment = {name: text for name, text in place.environment.items() if not name.startswith("SORA_L")}
    program = [f"import warnings\nwarnings.simplefilter('error')\n{example}"]
    with place.forks.popen(program, place.folder, environment, program=CODE) as ran:
        out, err = ran.communicate()
    assert (ran.returncode, err) == (0, "")
    assert "stored" in out
