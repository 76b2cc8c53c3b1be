"""Spending, on the command line."""

from collections.abc import Callable

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora


def test_money_is_shown_as_json_and_as_a_chart(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    sora("budget", "set", "all", "--limit", "5")
    sora("create", "--prompt", "a fox")
    document = sora("spend").document
    assert document["parts"] == [
        {
            "name": "sora-2",
            "jobs": 1,
            "reserved_usd_micros": 400_000,
            "settled_usd_micros": 0,
            "settled_estimated_usd_micros": 0,
        }
    ]
    assert document["budgets"][0]["left_usd_micros"] == 4_600_000
    chart = sora("spend", "--by", "purpose", "--format=text").out
    assert "draft" in chart
    assert "░" * 32 in chart
    assert "all: 4.60 USD left of 5.00 USD" in chart


def test_what_it_can_be_recognised_by_is_listed(sora: Sora) -> None:
    ended = sora("spend", "--by", "colour")
    assert ended.code == 2
    assert "budget" in ended.error


def test_without_a_ledger_there_is_nothing_to_tell(sora: Sora) -> None:
    assert sora("spend").code == 7
