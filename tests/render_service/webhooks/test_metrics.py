"""The metrics say what the ledger says, at the moment of the scrape."""

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from decision.request.request import RenderRequest
from ledger.errors import LedgerUnusable
from ledger.job import Job
from render_service.rules.budget_names import parse_name
from render_service.rules.budgets import set_limit
from render_service.session.session import Session
from render_service.submission.submit import place
from tests.conftest import Faults
from tests.render_service.webhooks.conftest import Sender


def told(sender: Any) -> dict[str, float]:
    """Return every number that is not zero, except those of this process."""
    lines = sender.client.get(f"{sender.url}/metrics").text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    of_process = ("_duration_seconds", "_build_info", "_created")
    return {
        name: float(value)
        for name, value in values.items()
        if float(value) and not any(word in name for word in of_process)
    }


@pytest.mark.anyio
async def test_a_render_shows_as_records_jobs_and_money(
    session: Session, serving: Callable[[Session], Sender], stored: Callable[..., Awaitable[Job]]
) -> None:
    sender = serving(session)
    assert told(sender) == {'sora_ledger_events_total{type="ledger.created"}': 1}
    for number in (1, 2):
        await stored(session)
        seen = told(sender)
        assert seen['sora_ledger_jobs{state="stored"}'] == number
        assert seen['sora_ledger_renders_closed_total{outcome="stored"}'] == number
        assert seen['sora_ledger_events_total{type="submission.accepted"}'] == number
        assert seen['sora_ledger_spend_usd_total{basis="estimated"}'] == pytest.approx(0.4 * number)


@pytest.mark.anyio
async def test_a_lost_answer_shows_as_an_unknown_outcome(
    at: Callable[[str], Session],
    faults: Faults,
    serving: Callable[[Session], Sender],
    request_for: Callable[..., RenderRequest],
) -> None:
    faults.then(500, b'{"error": {"message": "no"}}')
    session = at(faults.base_url)
    await place(session, request_for())
    assert told(serving(session))["sora_ledger_unknown_outcomes"] == 1


def test_the_queue_shows_by_depth_and_by_how_late_it_is(
    serving: Callable[[Session], Sender], at: Callable[[str], Session]
) -> None:
    session = at("http://127.0.0.1:9")
    session.ledger.store.queue.schedule("job_1", -5_000)
    session.ledger.store.queue.schedule("job_2", 60_000)
    seen = told(serving(session))
    assert (seen["sora_ledger_queue_due"], seen["sora_ledger_queue_waiting"]) == (1, 1)
    assert 5 <= seen["sora_ledger_queue_lag_seconds"] < 60


def test_a_destination_of_forward_shows_by_how_many_records_and_how_long_it_is_behind(
    serving: Callable[[Session], Sender], at: Callable[[str], Session]
) -> None:
    session = at("http://127.0.0.1:9")
    for name, position in (("lake", 0), ("bus", 1)):
        assert session.ledger.store.outbox.begin_turn(f"forward:{name}", position, 10_000)
    seen = told(serving(session))
    assert seen['sora_ledger_forward_behind{destination="lake"}'] == 1
    assert seen['sora_ledger_forward_lag_seconds{destination="lake"}'] > 0
    assert 'sora_ledger_forward_behind{destination="bus"}' not in seen, "it has read everything"


def test_health_and_readiness_are_distinguished(
    serving: Callable[[Session], Sender], at: Callable[[str], Session]
) -> None:
    session = at("http://127.0.0.1:9")
    sender = serving(session)
    assert sender.client.get(f"{sender.url}/readyz").json() == {"ready": True, "size": 1}
    session.ledger.store.head = _unusable  # type: ignore[method-assign]  # a ledger that cannot be reached
    alive, ready = (sender.client.get(f"{sender.url}/{name}").status_code for name in ("healthz", "readyz"))
    assert (alive, ready) == (200, 503)


def _unusable() -> Any:
    raise LedgerUnusable("the disk is gone")


BOUNDED = {"type", "state", "outcome", "basis", "profile", "budget", "version", "python", "le"}
PARTS = {"counter": {"_total"}, "gauge": {""}, "histogram": {"_bucket", "_sum", "_count"}}


@pytest.mark.anyio
async def test_every_metric_is_named_and_labelled_as_prometheus_asks(
    session: Session,
    serving: Callable[[Session], Sender],
    stored: Callable[..., Awaitable[Job]],
    delivered: Callable[..., bytes],
) -> None:
    sender = serving(session)
    job = await stored(session)
    sender.post(delivered(job.video_id))
    families = list(parsed(sender.client.get(f"{sender.url}/metrics").text))
    families = [one for one in families if not one.name.endswith("_created")]
    assert len(families) > 10
    for family in families:
        assert re.fullmatch(r"sora_ledger(_[a-z]+)+", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert not re.search(r"_(ms|minutes|micros|kb)$", family.name), "seconds, bytes and USD are the units"
        names = {sample.name for sample in family.samples} - {f"{family.name}_created"}
        assert names <= {f"{family.name}{part}" for part in PARTS[family.type]}
        assert {label for sample in family.samples for label in sample.labels} <= BOUNDED


@pytest.mark.anyio
async def test_what_is_left_of_a_budget_and_how_long_renders_take_shows(
    session: Session, serving: Callable[[Session], Sender], stored: Callable[..., Awaitable[Job]]
) -> None:
    set_limit(session.ledger, parse_name("all"), 2_000_000, None, session.clock(), session.provenance)
    sender = serving(session)
    await stored(session)
    text = sender.client.get(f"{sender.url}/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values['sora_ledger_budget_limit_usd{budget="all"}']) == 2
    assert float(values['sora_ledger_budget_held_usd{budget="all"}']) == pytest.approx(0.4)
    assert float(values['sora_ledger_render_duration_seconds_count{outcome="stored"}']) == 1
    assert (
        float(values['sora_ledger_submit_duration_seconds_count{outcome="accepted",profile="openai"}']) == 1
    )
    assert (
        float(values['sora_ledger_download_duration_seconds_count{outcome="stored",profile="openai"}']) == 1
    )
    assert float(values['sora_ledger_decision_duration_seconds_count{outcome="decided"}']) == 1
    assert float(values["sora_ledger_append_duration_seconds_count"]) > 1


@pytest.mark.anyio
async def test_the_age_of_the_oldest_running_render_shows(
    rendering: Session, serving: Callable[[Session], Sender], request_for: Callable[..., RenderRequest]
) -> None:
    sender = serving(rendering)
    assert "sora_ledger_oldest_running_seconds" not in told(sender)
    job = (await place(rendering, request_for())).job
    age_s = (rendering.clock() - datetime.fromisoformat(job.created_at)).total_seconds()
    millisecond = 0.001  # the database's clock counts whole ones
    assert told(sender)["sora_ledger_oldest_running_seconds"] >= age_s - millisecond


def test_a_counter_of_events_begins_at_zero(
    serving: Callable[[Session], Sender], at: Callable[[str], Session]
) -> None:
    sender = serving(at("http://127.0.0.1:9"))
    lines = sender.client.get(f"{sender.url}/metrics").text.splitlines()
    assert 'sora_ledger_events_total{type="asset.lost"} 0.0' in lines
    assert 'sora_ledger_webhook_deliveries_total{outcome="forged",profile="openai"} 0.0' in lines


def test_who_posts_to_invented_profiles_makes_no_series(
    serving: Callable[[Session], Sender], at: Callable[[str], Session]
) -> None:
    sender = serving(at("http://127.0.0.1:9"))
    for number in range(20):
        sender.client.post(f"{sender.url}/webhooks/invented-{number}", content=b"{}")
    counted = {name: value for name, value in told(sender).items() if "deliveries_total" in name}
    name = 'sora_ledger_webhook_deliveries_total{outcome="unknown_profile",profile="other"}'
    assert counted == {name: 20}
