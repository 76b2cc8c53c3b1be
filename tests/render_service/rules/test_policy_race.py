"""A policy that another process activates between a decision and its append."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from decision.errors import BadRequest
from decision.request.request import RenderRequest
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy, default_policy
from decision.rules.toml import default_catalog
from ledger.errors import WrongExpectedVersion
from ledger.events import RequestSigned
from ledger.job import Job
from ledger.terms import State
from ledger.tree.checkpoint import Signer
from render_service.batches import run
from render_service.batches.file import read_batch
from render_service.batches.plan import plan
from render_service.batches.run import enrol
from render_service.rules import budgets
from render_service.rules.opening import activate
from render_service.rules.overrides import Override
from render_service.rules.policies import Rules
from render_service.runtime.errors import NotReady
from render_service.session.event_ids import batch_id
from render_service.session.session import Session
from render_service.submission.submit import place
from sora_adapter.sandbox.server import SandboxServer

pytestmark = pytest.mark.anyio

FINALS = {"approvals": [{"code": "FINALS", "purposes": ["final"]}]}


@pytest.fixture
def server(sandbox: Callable[..., SandboxServer]) -> SandboxServer:
    return sandbox()


@pytest.fixture
def session(at: Callable[[str], Session], server: SandboxServer) -> Session:
    return at(server.base_url)


def creates(server: SandboxServer) -> int:
    return int(httpx2.get(f"{server.origin}/_sandbox/requests").json().get("creates", 0))


def put_in_force(session: Session, catalog: Catalog | None = None, **more: Any) -> None:
    """Activate a policy as another process does: this session is told nothing."""
    policy = Policy.model_validate({**default_policy().model_dump(), **more})
    activate(
        session.settings,
        session.trace,
        session.clock(),
        Rules(policy, catalog or default_catalog()),
        "agreed",
    )


def before_append(monkeypatch: pytest.MonkeyPatch, session: Session, *actions: Callable[[], None]) -> None:
    """Do one of `actions` before each of the next appends to a job."""
    left = list(actions)
    append = session.ledger.append

    def late(batches: Any, **more: Any) -> Any:
        if left and batches[0].stream.startswith("job_"):
            left.pop(0)()
        return append(batches, **more)

    monkeypatch.setattr(session.ledger, "append", late)


@pytest.mark.parametrize("queue", [False, True])
async def test_what_a_replaced_policy_would_have_allowed_is_held_and_not_sent(
    session: Session,
    server: SandboxServer,
    request_for: Callable[..., RenderRequest],
    types: Callable[[Job], list[str]],
    intact: Callable[[], bool],
    monkeypatch: pytest.MonkeyPatch,
    queue: Any,
) -> None:
    before_append(monkeypatch, session, lambda: put_in_force(session, **FINALS))
    placed = await place(session, request_for(purpose="final"), queue=queue)
    assert (placed.job.state, types(placed.job)) == (State.HELD, ["render.requested", "render.held"])
    assert (len(session.ledger.jobs()), creates(server), session.ledger.store.tally().due) == (1, 0, 0)
    assert intact()


async def test_a_denial_by_a_replaced_catalog_is_not_recorded(
    session: Session, request_for: Callable[..., RenderRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    dear = default_catalog().model_dump(by_alias=True)
    for price in (price for model in dear["models"] for price in model["prices"]):
        price["usd_micros_per_second"] *= 2
    put_in_force(session, Catalog.model_validate(dear), name="dear")
    before_append(monkeypatch, session, lambda: put_in_force(session))
    placed = await place(session, request_for(max_cost_usd_micros=400_000))
    assert (placed.job.state, placed.job.estimate_usd_micros) == (State.RUNNING, 400_000)


async def test_what_a_replaced_policy_refuses_is_asked_of_the_one_in_force(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    wish = Override(("COST_ABOVE_LIMIT",), "the client pays", datetime.now(UTC) + timedelta(hours=1))
    request = request_for(max_cost_usd_micros=1)
    assert (await place(session, request, override=wish)).override_refused
    put_in_force(session, overridable=["COST_ABOVE_LIMIT"])
    assert (await place(session, request, override=wish)).job.state is State.RUNNING
    with pytest.raises(BadRequest, match="is not denied"):
        await place(session, request_for(), override=wish)


async def test_a_policy_that_is_replaced_again_and_again_ends_in_an_error(
    session: Session,
    server: SandboxServer,
    request_for: Callable[..., RenderRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budgets, "MOST_RACES", 3)
    actions = [lambda n=n: put_in_force(session, name=f"policy-{n}") for n in range(9)]
    before_append(monkeypatch, session, *actions)
    with pytest.raises(NotReady, match="the policy was replaced during this decision; nothing was sent"):
        await place(session, request_for())
    assert (session.ledger.jobs(), creates(server)) == ([], 0)


async def test_another_conflict_than_the_policy_is_raised_as_it_is(
    session: Session, request_for: Callable[..., RenderRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise WrongExpectedVersion("stream job_ is at version 7")

    before_append(monkeypatch, session, refuse)
    with pytest.raises(WrongExpectedVersion, match="version 7"):
        await place(session, request_for())


def planned(text: str, folder: Path, **defaults: Any) -> Any:
    values = {"profile": "openai", "augment": False, "purpose": "final"} | defaults
    reading = read_batch(text, Path())
    return plan(reading, name="b", batch=batch_id(folder), defaults=values, catalog=default_catalog())


async def test_a_batch_is_decided_by_the_policy_in_force_at_each_of_its_appends(
    session: Session, tmp_path: Path, intact: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "TOGETHER", 2)
    before_append(monkeypatch, session, lambda: None, lambda: put_in_force(session, **FINALS))
    members = await enrol(session, planned("a fox\na dog\na cat\na hen\nan owl", tmp_path), resume=False)
    assert [member.job.state.value for member in members] == ["decided", "decided", "held", "held", "held"]
    assert intact()


async def test_every_entry_of_a_signed_batch_has_its_own_signature_and_decision(
    session: Session, tmp_path: Path, types: Callable[[Job], list[str]], intact: Callable[[], bool]
) -> None:
    key = Signer.generate("ana")
    file = tmp_path / "ana.key"
    file.write_text(key.secret())
    file.chmod(0o600)
    put_in_force(session, **FINALS, requesters={"ana": [str(key.verifier)]})
    session.in_force.renew(session.in_force.rules)
    signing = replace(session, settings=replace(session.settings, key_file=file))
    members = await enrol(signing, planned("a fox\na fox\na fox", tmp_path, purpose="draft"), resume=False)
    assert {tuple(types(member.job)) for member in members} == {
        ("render.requested", RequestSigned.type, "render.decided")
    }
    assert intact()
