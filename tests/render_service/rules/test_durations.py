"""How long renders take is what this ledger measured, of the same shape; with too few it is unknown."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
from msgspec import structs

from ledger.log.ledger import Ledger
from ledger.log.opening import open_or_create
from ledger.record import draft
from ledger.store.interface import ANY, Batch
from render_service.rules.measurements import LEAST_OF_A_SHAPE, Duration, expected_duration

SHAPE = {"profile": "sandbox", "model": "sora-2", "size": "1280x720", "seconds": 4}


@pytest.fixture
def ledger(tmp_path: Path, vocabulary: ModuleType) -> Iterator[Ledger]:
    with open_or_create(str(tmp_path / "ledger.db"), vocabulary.provenance(), vocabulary.START) as opened:
        yield opened


@pytest.fixture
def render(ledger: Ledger, vocabulary: ModuleType) -> Callable[..., None]:
    """Return a function that records a stored render that took some seconds."""

    def render(number: int, took: int, **shape: object) -> None:
        begin, *rest = vocabulary.life()
        events = [structs.replace(begin, **shape), *rest]
        ended = vocabulary.START + timedelta(seconds=took)
        times = [vocabulary.START, *[ended] * len(rest)]
        drafts = [draft(event, vocabulary.provenance(), at) for event, at in zip(events, times, strict=True)]
        ledger.append([Batch(f"job_{number:032x}", ANY, drafts)])

    return render


def test_half_and_nine_of_ten_renders_took_at_most_so_long(
    ledger: Ledger, render: Callable[..., None]
) -> None:
    for number in range(1, 11):
        render(number, took=10 * number)
    assert expected_duration(ledger, **SHAPE) == Duration(50, 90, 10)


def test_too_few_renders_say_nothing(ledger: Ledger, render: Callable[..., None]) -> None:
    for number in range(1, LEAST_OF_A_SHAPE):
        render(number, took=60)
    assert expected_duration(ledger, **SHAPE) is None
    render(LEAST_OF_A_SHAPE, took=60)
    assert expected_duration(ledger, **SHAPE) == Duration(60, 60, LEAST_OF_A_SHAPE)


def test_only_renders_of_the_same_shape_count(ledger: Ledger, render: Callable[..., None]) -> None:
    for number in range(1, LEAST_OF_A_SHAPE + 1):
        render(number, took=60)
        render(100 + number, took=600, seconds=12)
        render(200 + number, took=600, size="720x1280")
        render(300 + number, took=600, profile="custom")
    assert expected_duration(ledger, **SHAPE) == Duration(60, 60, LEAST_OF_A_SHAPE)
    assert expected_duration(ledger, **SHAPE | {"seconds": 12}) == Duration(600, 600, LEAST_OF_A_SHAPE)
    assert expected_duration(ledger, **SHAPE | {"model": "sora-2-pro"}) is None
