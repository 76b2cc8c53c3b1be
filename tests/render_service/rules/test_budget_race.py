"""Fifty processes race for the last five dollars."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ledger.log.opening import open_ledger, open_or_create
from ledger.record import ActorSource, Authority, Provenance
from ledger.terms import State
from render_service.rules.budget_names import Period, read_name
from render_service.rules.budgets import set_limit
from render_service.runtime.settings import Settings
from render_service.session.session import utc_now

ROOT = Path(__file__).parents[3]
PROCESSES = 50
FIVE_DOLLARS = 5_000_000
CLIP = 400_000

RACE = """
import asyncio, os, sys
from decision.rules.toml import default_catalog
from decision.request.request import parse_request
from render_service.submission.submit import place
from render_service.api.sessions import open_session
from render_service.runtime.settings import read_settings
from render_service.runtime.telemetry import Log, begin_trace

async def race(ledger, ready, go):
    trace = begin_trace()
    settings = read_settings(ledger=ledger, profile="sandbox", environment={})
    session = open_session(settings, trace, Log(trace, quiet=True))
    request = parse_request(catalog=session.catalog, operation="create", prompt="a fox", profile="sandbox")
    os.write(ready, b".")
    os.read(go, 1)  # ends when the parent closes its end
    placed = await place(session, request, queue=True)
    await session.close()
    os.write(1, f"{placed.job.state}\\n".encode())

default_catalog()
(is_ready, ready), (go, start) = os.pipe(), os.pipe()
children = []
for _ in range(int(sys.argv[2])):
    children.append(os.fork())
    if children[-1] == 0:
        os.close(start)
        asyncio.run(race(sys.argv[1], ready, go))
        os._exit(0)
os.close(ready)
for _ in children:
    os.read(is_ready, 1)
os.close(start)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


def test_fifty_processes_racing_for_the_last_five_dollars_never_overspend(
    settings: Settings, intact: Callable[[], bool]
) -> None:
    _allow(settings)
    command = [sys.executable, "-c", RACE, settings.ledger_url, str(PROCESSES)]
    raced = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert sorted(set(raced.stdout.split())) == ["decided", "denied"]
    with open_ledger(settings.ledger_url) as ledger:
        jobs = ledger.jobs()
        held = ledger.store.held("all")
    assert len(jobs) == PROCESSES
    assert held == FIVE_DOLLARS // CLIP * CLIP <= FIVE_DOLLARS
    assert sum(job.state is State.DECIDED for job in jobs) == FIVE_DOLLARS // CLIP
    assert {job.detail_code for job in jobs if job.state is State.DENIED} == {"BUDGET_EXHAUSTED"}
    assert intact()


def _allow(settings: Settings) -> None:
    who = Provenance("ana", ActorSource.FLAG, Authority.HUMAN, "1" * 32, "2" * 16)
    with open_or_create(settings.ledger_url, who, utc_now()) as ledger:
        set_limit(ledger, read_name("all", Period.NONE), FIVE_DOLLARS, None, utc_now(), who)
