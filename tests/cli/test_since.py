"""`--since` takes a moment, a day, a month, or how long ago, in every command that has it."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import click
import pytest

from cli.options.since import parse_since
from tests.cli.conftest import Sora

NOW = datetime(2026, 11, 30, 15, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _in_utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("7d", "2026-11-23T15:30"),
        ("24h", "2026-11-29T15:30"),
        ("90m", "2026-11-30T14:00"),
        ("90min", "2026-11-30T14:00"),
        ("2w", "2026-11-16T15:30"),
        ("today", "2026-11-30T00:00"),
        ("yesterday", "2026-11-29T00:00"),
        ("Yesterday", "2026-11-29T00:00"),
        ("2026-10", "2026-10-01T00:00"),
        ("2025", "2025-01-01T00:00"),
        ("2026-10-07", "2026-10-07T00:00"),
        ("2026-10-07T14:00:00Z", "2026-10-07T14:00"),
    ],
)
def test_a_time_is_read_as_people_write_it(text: str, moment: str) -> None:
    assert parse_since(text, NOW) == f"{moment}:00.000000Z"


@pytest.mark.parametrize(
    "text", ["", "d", "-7d", "7 years", "2026-13", "0000", "999999w", "last week", "7d7d", "1.5h", "\uff19d"]
)
def test_another_word_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected 7d, 24h, today"):
        parse_since(text, NOW)


@pytest.mark.parametrize("command", ["jobs", "log", "spend", "audit", "find fox"])
def test_every_command_with_since_takes_it(sora: Sora, denied: str, command: str) -> None:
    assert denied in sora(*command.split(), "--since", "1d").out or command in {"spend", "audit"}
    assert sora(*command.split(), "--since", "1d").code == 0
    refused = sora(*command.split(), "--since", "last week")
    assert (refused.code, "expected 7d, 24h" in refused.error) == (2, True)
