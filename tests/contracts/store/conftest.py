"""The kinds of stores, one after the other: every test of this folder runs on each of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from msgspec import structs

from ledger.private import Private
from ledger.store.interface import EventStore
from ledger.store.postgres import PostgresStore
from ledger.store.sqlite import SqliteStore
from tests.ledger.scribe import Scribe

LONG = 620
KINDS = ("sqlite", "postgres")


class Kit(NamedTuple):
    """A kind of store: the same name stands for the same database in `open`, `url` and `findings`."""

    open: Callable[[str], EventStore]
    url: Callable[[str], str]
    findings: Callable[[str], list[tuple[str, int | None]]]


@pytest.fixture
def kits(tmp_path: Path, vocabulary: ModuleType, request: pytest.FixtureRequest) -> Callable[[str], Kit]:
    """Return the kits by the name of their database."""

    def kit(kind: str) -> Kit:
        if kind == "sqlite":
            return Kit(
                open=lambda name: SqliteStore(tmp_path / f"{name}.db"),
                url=lambda name: f"sqlite:///{tmp_path}/{name}.db",
                findings=lambda name: vocabulary.findings(tmp_path / f"{name}.db"),
            )
        postgres, databases = (request.getfixturevalue(name) for name in ("postgres", "databases"))
        return Kit(
            open=lambda name: PostgresStore(databases.url(name)),
            url=databases.url,
            findings=lambda name: postgres.findings(databases.url(name)),
        )

    return kit


@pytest.fixture(params=KINDS)
def kit(kits: Callable[[str], Kit], request: pytest.FixtureRequest) -> Kit:
    """Return one kind of store after the other."""
    return kits(request.param)


@pytest.fixture
def store(kit: Kit, scribe: Scribe) -> Iterator[EventStore]:
    """Yield a store that holds ``ledger.created`` at position 1."""
    opened = kit.open("one")
    scribe.begin(opened)
    yield opened
    opened.close()


@pytest.fixture
def clean(kit: Kit) -> Callable[[], bool]:
    """Return the oracle: whether verification finds nothing in the store."""
    return lambda: kit.findings("one") == []


@pytest.fixture
def long_log(store: EventStore, scribe: Scribe, vocabulary: ModuleType) -> EventStore:
    """Return a store of 620 jobs, most of them short, some open for long; few are of the team blue."""
    random, open_jobs, number = Random(11), dict[str, tuple[str, list[Any]]](), 0
    request, *rest, _ = vocabulary.life()
    rest[1] = structs.replace(rest[1], sent_sha256=None, key_digest=None)  # it is sealed for one job
    while number < LONG or open_jobs:
        batches = []
        for _ in range(random.randrange(1, 400)):
            if number < LONG and len(open_jobs) < random.choice((3, 60)):
                words = (
                    f"boat {number} {'odd' if number % 2 else 'even'}{' comet' if number % 300 == 7 else ''}"
                )
                team = "blue" if number % 90 == 0 else None if number % 3 else "film"
                private = {
                    "prompt": Private.seal("prompt", words),
                    "fields": {},
                    "augmented_prompt": None,
                }
                changed = structs.replace(request, team=team, input_reference=None, **private)
                open_jobs[f"job_{number:04}"] = ("ana", "ben")[number % 7 == 0], [changed, *rest]
                number += 1
            elif open_jobs:
                recent = list(open_jobs)[-3:] if random.random() < 0.9 else list(open_jobs)
                job_id = random.choice(recent)
                actor, left = open_jobs[job_id]
                batches.append(scribe.batch(job_id, left.pop(0), actor=actor))
                if not left:
                    del open_jobs[job_id]
        store.append(batches)
    return store
