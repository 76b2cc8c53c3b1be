"""The examples of docs/python.md run as they are written."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- tested -->\n```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == PAGE.count("```python")


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_page_runs_as_written(place: Any, example: str) -> None:
    environment = {name: text for name, text in place.environment.items() if not name.startswith("SORA_L")}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        check=False,
        capture_output=True,
        text=True,
        cwd=place.folder,
        env=environment,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "stored" in ran.stdout
