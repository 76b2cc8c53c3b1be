"""What appending, verifying, replaying and starting cost, in calls of functions, which no machine changes.

Each floor is about a fifth above what was counted when it was set. If a change needs more on purpose, count
again and say why in its commit; the ratios against peers are those of `make bench`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import pytest

from ledger.events import RenderAdopted, StatusObserved
from ledger.log.bundle import Scope, Wish, write_bundle
from ledger.log.ledger import Ledger
from ledger.log.opening import open_ledger, open_or_create
from ledger.log.replay import replay
from ledger.log.verification import verify_ranges
from ledger.record import ActorSource, Authority, Draft, Provenance, draft
from ledger.store.interface import ANY, Batch
from ledger.terms import Status
from ledger.verify.quick_bundle import is_sound
from ledger.verify.verify_bundle import check_bundle
from render_service.evidence.checkpoints import tree_head

WHO = Provenance("floors", ActorSource.FLAG, Authority.SYSTEM, "1" * 32, "2" * 16)
JOB = f"job_{1:032x}"
WARM, COUNTED, MANY = 30, 50, 1_000


def calls_of(work: Callable[[], object]) -> int:
    """Return how many functions `work` calls in this thread, of Python and of C."""
    calls = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def observed(number: int) -> Draft:
    event = StatusObserved(
        video_id="video_1", status=Status.IN_PROGRESS, progress=number % 100, source="poll"
    )
    return draft(event, WHO, datetime.now(UTC))


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return a ledger with one running job."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with open_or_create(url, WHO, datetime.now(UTC)) as ledger:
        adopted = RenderAdopted(profile="sandbox", video_id="video_1", status=Status.QUEUED)
        ledger.append([Batch(JOB, ANY, [draft(adopted, WHO, datetime.now(UTC))])])
    return url


def writing(url: str) -> Ledger:
    return open_or_create(url, WHO, datetime.now(UTC))


def test_a_single_append_calls_few_functions(url: str) -> None:
    batches = [[Batch(JOB, ANY, [observed(number)])] for number in range(WARM + COUNTED)]
    with writing(url) as ledger:
        for batch in batches[:WARM]:
            ledger.append(batch)
        calls = calls_of(lambda: [ledger.append(batch) for batch in batches[WARM:]])
    assert calls / COUNTED < 160


def test_an_append_of_many_calls_few_functions_for_each(url: str) -> None:
    some = [Batch(JOB, ANY, [observed(number) for number in range(MANY)])]
    with writing(url) as ledger:
        ledger.append([Batch(JOB, ANY, [observed(0)])])
        assert calls_of(lambda: ledger.append(some)) / MANY < 42


def test_a_draft_calls_few_functions() -> None:
    observed(0)
    assert calls_of(lambda: [observed(number) for number in range(COUNTED)]) / COUNTED < 25


def test_verifying_calls_few_functions_for_each_record(url: str) -> None:
    with writing(url) as ledger:
        ledger.append([Batch(JOB, ANY, [observed(number) for number in range(MANY)])])
    assert calls_of(lambda: verify_ranges(url, (), 1)) / MANY < 38


def test_replaying_calls_few_functions_for_each_record(url: str) -> None:
    with writing(url) as ledger:
        ledger.append([Batch(JOB, ANY, [observed(number) for number in range(MANY)])])
    with open_ledger(url) as ledger:
        assert calls_of(lambda: replay(ledger)) / MANY < 26


def test_exporting_and_checking_the_bundle_call_few_functions_for_each_record(
    url: str, tmp_path: Path
) -> None:
    with writing(url) as ledger:
        ledger.append([Batch(JOB, ANY, [observed(number) for number in range(MANY)])])
    bundle = tmp_path / "all.zip"
    with open_ledger(url) as ledger, bundle.open("wb") as file:
        head = tree_head(ledger, None)
        assert calls_of(lambda: write_bundle(file, "all.zip", ledger, Scope(), head, Wish())) / MANY < 3
    assert calls_of(lambda: check_bundle(str(bundle))) / MANY < 102
    assert calls_of(lambda: is_sound(str(bundle))) / MANY < 17


def test_reading_one_job_loads_few_modules(url: str, tmp_path: Path) -> None:
    folders = {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    code = (
        "import contextlib, io, json, sys\nfrom cli.main import run\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n    code = run(sys.argv[1:])\n"
        "print(json.dumps([code, len(sys.modules)]))"
    )
    command = [sys.executable, "-c", code, "status", JOB, "--offline", "--json", "--ledger", url]
    root = Path(__file__).parents[1]
    ran = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=root, env=os.environ | folders
    )
    code_, loaded = json.loads(ran.stdout)
    assert code_ == 0
    assert loaded < 290
