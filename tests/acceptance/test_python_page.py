"""The examples of docs/python.md run as they are written, and their types are right."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Place
from tests.forks import CODE
from tools import reference

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- tested -->\n```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == PAGE.count("```python")


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_page_runs_as_written(place: Place, example: str) -> None:
    environment = {name: text for name, text in place.environment.items() if not name.startswith("SORA_L")}
    program = [f"import warnings\nwarnings.simplefilter('error')\n{example}"]
    with place.forks.popen(program, place.folder, environment, program=CODE) as ran:
        out, err = ran.communicate()
    assert (ran.returncode, err) == (0, "")
    assert "stored" in out


def test_the_examples_of_the_page_have_the_types_that_strict_mypy_wants(tmp_path: Path) -> None:
    for number, example in enumerate(EXAMPLES):
        (tmp_path / f"example_{number}.py").write_text(example, encoding="utf-8")
    # With the settings and the cache of `make types`: with others, mypy would read the whole product anew.
    command = [sys.executable, "-m", "mypy", *map(str, tmp_path.glob("*.py"))]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout


def test_every_package_says_that_it_is_typed() -> None:
    packages = ("ledger", "decision", "sora_adapter", "render_service", "cli")
    assert [name for name in packages if not (ROOT / name / "py.typed").is_file()] == []


def test_the_reference_is_what_the_docstrings_say() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run make commands"
