"""Limits are read strictly, and running jobs are looked at together."""

import pytest

from render_service.runtime.errors import BadInput
from render_service.worker.leases import WorkerOptions, read_limits

INTERVAL_S = 10.0


def test_limits_are_read_by_model() -> None:
    assert read_limits("--running", ["sora-2=5", "sora-2-pro=2"]) == {"sora-2": 5, "sora-2-pro": 2}


@pytest.mark.parametrize("text", ["sora-2", "sora-2=", "sora-2=0", "sora-2=-1", "=5", "a b=5", "sora-2=1.5"])
def test_what_is_no_limit_is_named(text: str) -> None:
    with pytest.raises(
        BadInput, match="expected MODEL=N with N from 1 to 999999, such as --running sora-2=5"
    ):
        read_limits("--running", [text])


@pytest.mark.parametrize("now_s", [1_000.0, 1_001.0, 1_004.9, 1_005.1, 1_009.9])
def test_the_next_look_is_neither_soon_nor_late(now_s: float) -> None:
    assert INTERVAL_S / 2 <= WorkerOptions(interval_s=INTERVAL_S).next_look_s(now_s) <= 1.5 * INTERVAL_S


def test_jobs_seen_at_different_times_are_next_seen_together() -> None:
    terms = WorkerOptions(interval_s=INTERVAL_S)
    assert {now_s + terms.next_look_s(now_s) for now_s in (1_000.5, 1_002.0, 1_004.0)} == {1_010.0}
