"""A process killed at any boundary is gone on with: nothing is paid for twice, nothing is lost.

`points.txt` holds the boundaries every operation passes; see `machinery` for how it is made.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

POINTS = [tuple(line.split()) for line in (Path(__file__).parent / "points.txt").read_text().splitlines()]
WITHOUT_A_FAULT = [(name, point) for name, fault, point in POINTS if fault == "none"]
NAMES = sorted({(name, fault) for name, fault, _ in POINTS})
Survives = Callable[..., None]


@pytest.mark.parametrize(("name", "point"), WITHOUT_A_FAULT)
def test_a_kill_is_survived(place: Callable[..., Any], survives: Survives, name: str, point: str) -> None:
    survives(place(), name, "none", point)


@pytest.mark.parametrize(("name", "fault"), NAMES)
def test_every_boundary_has_its_point_and_a_fault_alone_is_survived(
    place: Callable[..., Any], machinery: ModuleType, is_accounted_for: Survives, name: str, fault: str
) -> None:
    here, operation = place(), machinery.OPERATIONS[name]
    known = Counter(" ".join(point) for point in POINTS if point[:2] == (name, fault))
    passed = Counter(machinery.traced(here, operation, fault))
    assert passed == known, "run `python tests/faults/machinery.py > tests/faults/points.txt` and review it"
    here.go_on(operation, fault)
    is_accounted_for(here, operation)


@pytest.mark.soak
@pytest.mark.parametrize(("name", "fault", "point"), POINTS)
def test_a_kill_beside_a_fault_is_survived_on_sqlite(
    place: Callable[..., Any], survives: Survives, name: str, fault: str, point: str
) -> None:
    survives(place(), name, fault, point)


@pytest.mark.soak
@pytest.mark.parametrize(("name", "fault", "point"), POINTS)
def test_a_kill_beside_a_fault_is_survived_on_postgresql(
    place: Callable[..., Any], survives: Survives, postgres_url: str, name: str, fault: str, point: str
) -> None:
    survives(place(postgres_url), name, fault, point)
