import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def vocabulary() -> ModuleType:
    """Return the module `scribe`: samples of every event."""
    return _load(Path(__file__).parents[1] / "ledger" / "scribe.py")


@pytest.fixture
def scribe(vocabulary: ModuleType) -> Any:
    """Return a fresh `Scribe`."""
    return vocabulary.Scribe()


@pytest.fixture
def check(vocabulary: ModuleType) -> Any:
    """Return the oracle: a function from a ledger's path to code and position of each finding."""
    return vocabulary.findings
