"""The policy and catalog that decide, brought as files."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest

from decision.request.request import RenderRequest
from decision.rules.policy import default_policy
from decision.rules.toml import default_catalog
from ledger.errors import LedgerUnusable
from ledger.events import PolicyActivated, RenderDecided
from ledger.log.opening import open_ledger
from ledger.record import draft
from ledger.store.interface import ANY, Batch
from render_service.api import sessions
from render_service.rules.opening import activate
from render_service.rules.policies import Rules, read_active_rules, read_packaged_rules, read_rules
from render_service.runtime.errors import BadInput, NotReady
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Log, Trace
from render_service.session.session import Session
from render_service.submission.submit import place
from tests.render_service.conftest import LastEvent

NOW = datetime(2026, 11, 21, tzinfo=UTC)
TRACE = Trace("1" * 32, "2" * 16)
POLICY = files("decision").joinpath("policy.toml").read_text()
CATALOG = files("decision").joinpath("catalog.toml").read_text()


def dearer(tmp_path: Path) -> Rules:
    policy, catalog = tmp_path / "team.toml", tmp_path / "prices.toml"
    policy.write_text(POLICY.replace('name = "default"', 'name = "team"'))
    catalog.write_text(CATALOG.replace("usd_micros_per_second = 100000", "usd_micros_per_second = 110000"))
    return read_rules(policy, catalog, read_packaged_rules)


def open_session(settings: Settings) -> Session:
    return sessions.open_session(settings, TRACE, Log(TRACE, quiet=True))


def test_without_an_activation_those_of_the_package_decide(settings: Settings) -> None:
    session = open_session(settings)
    assert (session.policy, session.catalog) == (default_policy(), default_catalog())
    session.ledger.close()


def test_what_is_activated_decides_from_then_on(
    settings: Settings, tmp_path: Path, intact: Callable[[], bool]
) -> None:
    rules = dearer(tmp_path)
    record = activate(settings, TRACE, NOW, rules, "prices rose")
    with open_ledger(settings.ledger_url) as ledger:
        active = read_active_rules(ledger)
        assert ledger.store.document(rules.policy.digest) == rules.policy.canonical
        assert ledger.store.document(rules.catalog.digest) == rules.catalog.canonical
    assert (active.policy, active.catalog) == (rules.policy, rules.catalog)
    assert active.activated is not None
    assert active.activated.position == record.position
    assert record.stream == "policy"
    assert intact()


@pytest.mark.anyio
async def test_a_decision_is_made_by_the_active_ones_and_cites_them(
    settings: Settings,
    tmp_path: Path,
    request_for: Callable[..., RenderRequest],
    event: LastEvent,
) -> None:
    rules = dearer(tmp_path)
    activate(settings, TRACE, NOW, rules, "prices rose")
    session = open_session(replace(settings, base_url="http://127.0.0.1:9/v1"))
    decided = event((await place(session, request_for(), queue=True)).job, RenderDecided)
    assert decided.cost_usd_micros == 440_000
    assert decided.basis.policy_sha256 == rules.policy.digest
    assert decided.basis.catalog_sha256 == rules.catalog.digest
    await session.close()


def test_the_catalog_stays_where_only_a_policy_is_brought(settings: Settings, tmp_path: Path) -> None:
    first = dearer(tmp_path)
    activate(settings, TRACE, NOW, first, "prices rose")
    file = tmp_path / "other.toml"
    file.write_text(POLICY.replace('name = "default"', 'name = "other"'))
    with open_ledger(settings.ledger_url) as ledger:
        second = read_rules(file, None, lambda: read_active_rules(ledger))
    assert second.catalog == first.catalog


def test_what_is_active_already_is_not_activated_again(settings: Settings, tmp_path: Path) -> None:
    activate(settings, TRACE, NOW, dearer(tmp_path), "prices rose")
    with pytest.raises(NotReady, match="are active since position 2"):
        activate(settings, TRACE, NOW, dearer(tmp_path), "again")
    with open_ledger(settings.ledger_url) as ledger:
        assert ledger.head().size == 2


def test_a_policy_that_is_cited_and_not_kept_decides_nothing(settings: Settings) -> None:
    session = open_session(settings)
    event = PolicyActivated(policy_sha256="a" * 64, catalog_sha256="b" * 64)
    session.ledger.append([Batch("policy", ANY, [draft(event, settings.provenance(TRACE), NOW)])])
    with pytest.raises(LedgerUnusable, match=r"policy aaaaaaaaaaaa… is cited .* policy activate"):
        read_active_rules(session.ledger)
    session.ledger.close()


@pytest.mark.parametrize(
    ("text", "instead", "message"),
    [
        ("[weights]", "[weights]\nmood = 1", r"line \d+, weights.mood"),
        ("fit_weight = 10", 'fit_weight = "ten"', r"line \d+, weights.fit_weight"),
        (
            'name = "default"',
            'name = "default"\napprovals = [{ code = "A", people = 0 }]',
            "approvals.0.people",
        ),
        ('name = "default"', 'name = "default', r"not valid TOML: .*line \d+"),
    ],
)
def test_a_policy_that_is_wrong_is_refused_with_file_line_and_key(
    tmp_path: Path, text: str, instead: str, message: str
) -> None:
    file = tmp_path / "team.toml"
    file.write_text(POLICY.replace(text, instead, 1))
    with pytest.raises(BadInput, match=f"policy file .*team.toml: .*{message}"):
        read_rules(file, None, read_packaged_rules)


def test_prices_whose_dates_overlap_are_refused_with_the_line(tmp_path: Path) -> None:
    policy, catalog = tmp_path / "team.toml", tmp_path / "prices.toml"
    policy.write_text(POLICY)
    one = next(line for line in CATALOG.splitlines() if "usd_micros_per_second" in line)
    catalog.write_text(CATALOG.replace(one, f"{one}\n{one}", 1))
    with pytest.raises(BadInput, match=r"line \d+, models.0: .*their dates overlap"):
        read_rules(policy, catalog, read_packaged_rules)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"policy file .*cannot be read"):
        read_rules(tmp_path / "none.toml", None, read_packaged_rules)
