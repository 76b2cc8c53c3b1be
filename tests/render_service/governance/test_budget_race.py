"""Fifty processes race for the last five dollars."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ledger.job import State
from ledger.ledger import Ledger
from ledger.record import ActorSource, Authority, Provenance
from render_service.desk import utc_now
from render_service.governance.budget_names import Period, read_name
from render_service.governance.budgets import set_limit
from render_service.settings import Settings

PROCESSES = 50
FIVE_DOLLARS = 5_000_000
CLIP = 400_000

RACE = """
import asyncio, sys
from decision.catalog import default_catalog
from decision.request import parse_request
from render_service.desk import Desk
from render_service.asking.renders import place
from render_service.settings import read_settings
from render_service.telemetry import Log, begin_trace

async def race(ledger):
    trace = begin_trace()
    settings = read_settings(ledger=ledger, profile="sandbox", environment={})
    desk = Desk.open(settings, trace, Log(trace, quiet=True))
    request = parse_request(catalog=desk.catalog, operation="create", prompt="a fox", profile="sandbox")
    print("ready", flush=True)
    sys.stdin.readline()
    placed = await place(desk, request, queue=True)
    await desk.close()
    print(placed.job.state, flush=True)

asyncio.run(race(sys.argv[1]))
"""


def test_fifty_processes_racing_for_the_last_five_dollars_never_overspend(
    settings: Settings, intact: Any
) -> None:
    _allow(settings)
    racers = [_racer(settings.ledger_url) for _ in range(PROCESSES)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    with ThreadPoolExecutor(PROCESSES) as pool:
        said = list(pool.map(lambda racer: racer.communicate("go\n")[0].strip(), racers))
    assert sorted(set(said)) == ["decided", "denied"]
    with Ledger.open(settings.ledger_url) as ledger:
        jobs = ledger.jobs()
        held = ledger.store.held("all")
    assert len(jobs) == PROCESSES
    assert held == FIVE_DOLLARS // CLIP * CLIP <= FIVE_DOLLARS
    assert sum(job.state is State.DECIDED for job in jobs) == FIVE_DOLLARS // CLIP
    assert {job.detail_code for job in jobs if job.state is State.DENIED} == {"BUDGET_EXHAUSTED"}
    assert intact()


def _allow(settings: Settings) -> None:
    who = Provenance("ana", ActorSource.FLAG, Authority.HUMAN, "1" * 32, "2" * 16)
    with Ledger.open_or_create(settings.ledger_url, who, utc_now()) as ledger:
        set_limit(ledger, read_name("all", Period.NONE), FIVE_DOLLARS, None, utc_now(), who)


def _racer(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RACE, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
