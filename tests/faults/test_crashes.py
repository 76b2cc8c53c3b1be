"""A process killed at any boundary is gone on with: nothing is paid for twice, nothing is lost.

`points.txt` holds the boundaries every operation passes; see `machinery` for how it is made.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.machinery import Place


ROOT = Path(__file__).parents[2]
POINTS = [tuple(line.split()) for line in (Path(__file__).parent / "points.txt").read_text().splitlines()]
OF_A_FILE = ("content.", "flush.", "rename.", "write.")
SAVE_A_FILE_AS_SETTLE_DOES = {"batch-to-the-end", "create-and-poll", "worker"}
WITHOUT_A_FAULT = [
    (name, point)
    for name, fault, point in POINTS
    if fault == "none"
    and point.endswith((".after", ".1.before"))
    and not (name in SAVE_A_FILE_AS_SETTLE_DOES and point.startswith(OF_A_FILE))
]
"""Nothing changes between the far side of a boundary and the near side of the next; `make soak` has all."""
NAMES = sorted({(name, fault) for name, fault, _ in POINTS})
Survives = Callable[..., None]


@pytest.mark.parametrize(("name", "point"), WITHOUT_A_FAULT)
def test_a_kill_is_survived(place: "Callable[..., Place]", survives: Survives, name: str, point: str) -> None:
    survives(place(), name, "none", point)


@pytest.mark.parametrize(("name", "fault"), NAMES)
def test_every_boundary_has_its_point_and_a_fault_alone_is_survived(
    place: "Callable[..., Place]", machinery: ModuleType, is_accounted_for: Survives, name: str, fault: str
) -> None:
    here, operation = place(), machinery.OPERATIONS[name]
    known = Counter(" ".join(point) for point in POINTS if point[:2] == (name, fault))
    passed = Counter(machinery.traced(here, operation, fault))
    assert passed == known, "run `python -m tests.faults.machinery > tests/faults/points.txt` and review it"
    here.go_on(operation, fault)
    is_accounted_for(here, operation)


@pytest.mark.soak
@pytest.mark.parametrize(("name", "fault", "point"), POINTS)
def test_a_kill_beside_a_fault_is_survived_on_sqlite(
    place: "Callable[..., Place]", survives: Survives, name: str, fault: str, point: str
) -> None:
    survives(place(), name, fault, point)


@pytest.mark.soak
@pytest.mark.parametrize(("name", "fault", "point"), POINTS)
def test_a_kill_beside_a_fault_is_survived_on_postgresql(
    place: "Callable[..., Place]", survives: Survives, postgres_url: str, name: str, fault: str, point: str
) -> None:
    survives(place(postgres_url), name, fault, point)


@pytest.mark.soak
def test_two_who_reconcile_at_once_on_postgresql_give_every_video_to_one_job(
    place: "Callable[..., Place]", machinery: ModuleType, is_accounted_for: Survives, postgres_url: str
) -> None:
    here, batch = place(postgres_url), machinery.OPERATIONS["batch"]
    (here.folder / "two.jsonl").write_text('{"prompt": "a fox runs"}\n' * 2)
    here.begin(batch, "kept-but-answer-lost:2")
    command = [sys.executable, "-m", "cli", "reconcile", "--all"]
    both = [subprocess.Popen(command, env=os.environ | here.environment, cwd=ROOT) for _ in range(2)]
    assert {process.wait(120) for process in both} <= {0, 6}
    assert {str(job.state) for job in here.jobs()} == {"running"}
    here.go_on(batch, "none")
    is_accounted_for(here, batch)
