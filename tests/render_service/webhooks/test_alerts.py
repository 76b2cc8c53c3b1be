"""Every alert of the operations page is a rule that fires on the metrics of a server in that trouble alone.

The rules are evaluated by Prometheus's own promtool. Its input is what a server showed at ``/metrics`` before
and after something went wrong.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as parsed

from decision.request.request import RenderRequest
from ledger.events import (
    AssetLost,
    BudgetSet,
    CheckpointPublished,
    CostSettled,
    EventBase,
    LedgerVerified,
    RenderAdopted,
    StatusObserved,
)
from ledger.job import Job
from ledger.private import Private
from ledger.store.interface import ANY, Batch
from ledger.store.outbox import FORWARD, NewDelivery
from ledger.terms import Status, Variant
from render_service.session.session import Session
from render_service.submission import submit
from render_service.submission.submit import place
from tests.conftest import Faults
from tests.render_service.webhooks.conftest import FORGED, Sender, event

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "sora-ledger.json"
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ALERTS = {
    rule["alert"].removeprefix("SoraLedger"): rule
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
METRIC = re.compile(r"sora_ledger_[a-z_]+")
_FIRING = 'ALERTS{alertname="SoraLedger%s",alertstate="firing"}'
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")

Series = dict[str, float]


def scraped(sender: Any) -> Series:
    """Return every series that a server shows, times as seconds from now."""
    text = sender.client.get(f"{sender.url}/metrics").text
    series: Series = {}
    for family in parsed(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(sample.labels.items()))
            ago = time.time() if sample.name.endswith("_timestamp_seconds") else 0.0
            series[f"{sample.name}{{{labels}}}"] = sample.value - ago
    return series


def promtool(*arguments: str | Path) -> str:
    """Run promtool, and return what it says; it must succeed."""
    assert PROMTOOL is not None
    ran = subprocess.run([PROMTOOL, *map(str, arguments)], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def firing(folder: Path, before: Series, after: Series, expected: set[str]) -> None:
    """Have promtool check that exactly the `expected` alerts fire once `before` has become `after`.

    The series stay for 70 minutes; those of a server that is gone end.
    """
    names = before.keys() | after.keys()
    values = {name: f"{_times(before.get(name), 30)} {_times(after.get(name), 70)}" for name in sorted(names)}
    tests = [
        {
            "expr": f"count(count_over_time({_FIRING % name}[90m])) > bool 0",
            "eval_time": "90m",
            "exp_samples": [{"labels": "{}", "value": 1}] if name in expected else [],
        }
        for name in ALERTS
    ]
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": value} for name, value in values.items()],
                "promql_expr_test": tests,
            }
        ],
    }
    file = folder / "rules.test.yml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    promtool("test", "rules", file)


def _times(value: float | None, minutes: int) -> str:
    return f"_x{minutes - 1}" if value is None else f"{value!r}x{minutes - 1}"


def record(session: Session, stream: str, *events: EventBase, days_ago: int = 0) -> None:
    """Record facts as an earlier process would have."""
    at = datetime.now(UTC) - timedelta(days=days_ago)
    then = replace(session, clock=lambda: at)
    session.ledger.append([Batch(stream, ANY, [then.draft(one) for one in events])])


def adopted() -> RenderAdopted:
    return RenderAdopted(profile="openai", video_id="video_1", status=Status.IN_PROGRESS)


def verified() -> LedgerVerified:
    return LedgerVerified(size=1, root="0" * 64, jobs=0)


def published() -> CheckpointPublished:
    target = Private.seal("target", "checkpoint")
    return CheckpointPublished(size=1, root="0" * 64, target=target, signed_by=(), cosigned_by=())


JOB = "job_0" + "1" * 31


@dataclass
class Scene:
    """A session whose server is fine, others of the same ledger, and a server with metrics."""

    session: Session
    at: Callable[[str], Session]
    faults: Any
    sender: Any
    stored: Any
    request_for: Any
    monkeypatch: pytest.MonkeyPatch


@pytest.fixture
def scene(  # it gathers fixtures
    session: Session,
    at: Callable[[str], Session],
    faults: Faults,
    serving: Callable[[Session], Sender],
    stored: Callable[..., Awaitable[Job]],
    request_for: Callable[..., RenderRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> Scene:
    return Scene(session, at, faults, serving(session), stored, request_for, monkeypatch)


async def _unknown(scene: Scene) -> None:
    scene.faults.then(500, b"{}")
    await place(scene.at(scene.faults.base_url), scene.request_for())


async def _rejected(scene: Scene) -> None:
    session = scene.at(scene.faults.base_url)
    for number in range(7):
        scene.faults.then(400, b'{"error": {"message": "no"}}')
        await place(session, scene.request_for(request_key=f"key-{number}"))


async def _open(scene: Scene) -> None:
    async def crash(*_: Any) -> Any:
        raise RuntimeError("the process ends here")

    scene.monkeypatch.setattr(submit, "_sent", crash)
    with pytest.raises(RuntimeError):
        await place(scene.at(scene.faults.base_url), scene.request_for())


async def _lag(scene: Scene) -> None:
    scene.session.ledger.store.queue.schedule(JOB, -400_000)


async def _overdue(scene: Scene) -> None:
    record(scene.session, JOB, adopted(), days_ago=1)


async def _lost(scene: Scene) -> None:
    record(scene.session, JOB, adopted(), AssetLost(variant=Variant.VIDEO, cause="expired"))


async def _spent(scene: Scene) -> None:
    cost = CostSettled(
        cost_usd_micros=150_000_000, basis="reported", settled_by="server", difference_usd_micros=0
    )
    done = StatusObserved(video_id="video_1", status=Status.COMPLETED, source="poll")
    record(scene.session, JOB, adopted(), done, cost)


async def _budget(scene: Scene) -> None:
    record(scene.session, "budget_all", BudgetSet(budget="all", limit_usd_micros=450_000))
    await scene.stored(scene.session)


async def _forged(scene: Scene) -> None:
    assert scene.sender.post(event(), secret=FORGED).status_code == 401


async def _dead(scene: Scene) -> None:
    scene.session.ledger.store.outbox.add(None, 1, [NewDelivery("wh_1", "whe_1", 1, is_dead=True)])


async def _behind(scene: Scene) -> None:
    size = scene.session.ledger.head().size
    assert scene.session.ledger.store.outbox.begin_turn(FORWARD + "lake", size, 10_000)
    record(scene.session, "checks", verified(), days_ago=1)


async def _not_verified(scene: Scene) -> None:
    record(scene.session, "checks", verified(), days_ago=3)


async def _not_published(scene: Scene) -> None:
    record(scene.session, "checks", published(), days_ago=3)


TROUBLES = {
    "QueueLag": _lag,
    "UnknownOutcome": _unknown,
    "OpenIntent": _open,
    "OverdueRender": _overdue,
    "AssetLost": _lost,
    "Rejections": _rejected,
    "Spend": _spent,
    "Budget": _budget,
    "ForgedWebhook": _forged,
    "DeadLetter": _dead,
    "ForwardLag": _behind,
    "NotVerified": _not_verified,
    "NotPublished": _not_published,
}


@needs_promtool
@pytest.mark.anyio
@pytest.mark.parametrize("alert", TROUBLES)
async def test_an_alert_fires_on_the_metrics_of_a_server_in_that_trouble_and_no_other_does(
    alert: str, scene: Scene, tmp_path: Path
) -> None:
    before = scraped(scene.sender)
    await TROUBLES[alert](scene)
    firing(tmp_path, before, scraped(scene.sender), {alert})


@needs_promtool
def test_a_server_that_is_gone_raises_an_alert(
    session: Session, serving: Callable[[Session], Sender], tmp_path: Path
) -> None:
    firing(tmp_path, scraped(serving(session)), {}, {"Absent"})


@needs_promtool
@pytest.mark.anyio
async def test_no_alert_fires_on_a_day_without_trouble(
    session: Session,
    serving: Callable[[Session], Sender],
    stored: Callable[..., Awaitable[Job]],
    tmp_path: Path,
) -> None:
    record(session, "checks", verified(), published())
    sender = serving(session)
    before = scraped(sender)
    await stored(session)
    assert sender.post(event("video_2")).status_code == 200
    firing(tmp_path, before, scraped(sender), set())


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", RULES)


def test_every_alert_has_a_test_that_makes_it_fire() -> None:
    assert ALERTS.keys() == TROUBLES.keys() | {"Absent"}


def test_the_operations_page_has_every_alert_as_its_rule_says() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)`(?: for (\d+) min)? \|", PAGE, re.MULTILINE)
    ruled = [(name, rule["expr"], str(rule.get("for", "")).rstrip("m")) for name, rule in ALERTS.items()]
    assert rows == ruled


def test_every_alert_names_a_page_with_the_next_step() -> None:
    for rule in ALERTS.values():
        page, _, heading = rule["annotations"]["runbook"].partition("#")
        text = (ROOT / page).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert heading in {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}


def expressions() -> Iterator[str]:
    """Yield the expressions of the rules, and of the dashboard with its variables replaced."""
    yield from (rule["expr"] for rule in ALERTS.values())
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in document["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "5m")


@pytest.mark.anyio
async def test_rules_and_dashboard_name_only_metrics_that_a_server_has(
    session: Session, serving: Callable[[Session], Sender], stored: Callable[..., Awaitable[Job]]
) -> None:
    record(session, "budget_all", BudgetSet(budget="all", limit_usd_micros=450_000))
    record(session, "checks", verified(), published())
    assert session.ledger.store.outbox.begin_turn(FORWARD + "lake", 0, 10_000)
    sender = serving(session)
    await stored(session)
    there = {name.partition("{")[0] for name in scraped(sender)}
    named = {name for expression in expressions() for name in METRIC.findall(expression)}
    assert named <= there


@needs_promtool
def test_every_expression_of_the_dashboard_is_one_that_prometheus_reads(tmp_path: Path) -> None:
    rules = [{"record": f"panel_{number}", "expr": expr} for number, expr in enumerate(expressions())]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    assert "SUCCESS" in promtool("check", "rules", file)
