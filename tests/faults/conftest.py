import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from tests.forks import Forks

if TYPE_CHECKING:
    from tests.faults.machinery import Place


def loaded(path: Path) -> ModuleType:
    """Load a module of the tests that is no test."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def machinery() -> Iterator[ModuleType]:
    """Yield the module `machinery`; close its client."""
    module = loaded(Path(__file__).parent / "machinery.py")
    yield module
    module.HTTP.close()


@pytest.fixture(scope="session")
def postgres(testrun_uid: str) -> Iterator[tuple[ModuleType, Any]]:
    """Yield the module that has a real PostgreSQL, and the server."""
    module = loaded(Path(__file__).parents[1] / "ledger" / "store" / "postgres" / "server.py")
    server = module.start(testrun_uid)
    yield module, server
    module.leave(server)


@pytest.fixture
def postgres_url(postgres: tuple[ModuleType, Any]) -> Iterator[str]:
    """Yield the URL of an empty place on a real PostgreSQL."""
    module, server = postgres
    databases = module.Databases(server.get_uri())
    yield databases.url()
    databases.drop()


@pytest.fixture
def place(
    machinery: ModuleType, forks: Forks, media: Path, tmp_path: Path
) -> "Iterator[Callable[..., Place]]":
    """Make the place of a test, at the URL of a ledger."""
    with ExitStack() as stack:
        yield lambda url=None: stack.enter_context(machinery.place_at(forks, tmp_path, media, url))


@pytest.fixture
def survives(machinery: ModuleType) -> Callable[..., None]:
    """Kill an operation at a point, go on as a person does, and look at what came of it."""

    def check(place: "Place", name: str, fault: str, point: str) -> None:
        operation = machinery.OPERATIONS[name]
        assert place.begin(operation, fault, kill=point) == machinery.KILLED, place.said()
        assert place.half_files() == []
        place.go_on(operation, fault)
        accounted_for(place, operation)

    return check


@pytest.fixture
def is_accounted_for() -> Callable[..., None]:
    """Check what has to be true in the end."""
    return accounted_for


def accounted_for(place: "Place", operation: Any) -> None:
    """Check what has to be true in the end, whatever happened in between."""
    made_by, attempts = place.made_by(), place.attempts()
    assert len(set(made_by)) == len(made_by), "an attempt made two videos"
    assert set(made_by) <= set(attempts), "a video nobody intended"
    assert place.billed() == operation.videos, place.said()
    assert {str(job.outcome) for job in place.jobs()} == {"stored"}, place.said()
    states = {str(job.state) for job in place.jobs()}
    if operation.ends == "deleted" and states == {"stored"}:  # deleted, and nobody could record the answer
        assert made_by == []
        assert "proves nothing yet" in place.said(), "a 404 alone may say so a day later"
    else:
        assert states == {operation.ends}, place.said()
    assert place.half_files() == []
    assert place.is_intact()
    assert place.codes()[-1] == 0, f"audit found something: {place.said()}"
