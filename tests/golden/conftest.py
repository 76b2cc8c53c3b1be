"""Golden files are read, and nothing is written beside them."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _nothing_is_left_beside_the_golden_files() -> Iterator[None]:
    yield
    assert list(Path(__file__).parent.glob("*/*.db-*")) == []
