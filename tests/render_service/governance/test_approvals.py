"""Somebody else says yes or no to what is held."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from decision.catalog import Catalog
from decision.holding import choice_of
from decision.policy import Policy, default_policy
from ledger.checkpoint import Signer
from ledger.events import ApprovalGranted, RenderDecided, RenderHeld
from ledger.job import Job, State
from ledger.record import ActorSource, draft
from ledger.store.interface import Batch
from render_service.asking.renders import place
from render_service.asking.resuming import resume
from render_service.desk import Desk
from render_service.errors import BadInput, NotReady
from render_service.governance.answers import answers
from render_service.governance.approvals import approve, reject
from render_service.governance.budget_names import Period, read_name
from render_service.governance.budgets import set_limit
from render_service.governance.policies import Rules, activate
from render_service.governance.statements import sign, stands, statement

pytestmark = pytest.mark.anyio

MARIA, OMAR, STRANGER = (
    Signer(name, bytes([seed]) * 32) for name, seed in (("maria", 1), ("omar", 2), ("nobody", 3))
)
KEYS = {"maria": [str(MARIA.verifier)], "omar": [str(OMAR.verifier)], "ana": [str(STRANGER.verifier)]}
HELD = ["render.requested", "render.held"]
CLIP = 1_200_000
"""What four seconds of sora-2-pro cost."""


def policy(*rules: dict[str, Any], **more: Any) -> Policy:
    held = [{"code": "FINALS", "purposes": ["final"]}] if not rules else list(rules)
    return Policy.model_validate({**default_policy().model_dump(), "approvals": held, **more})


def sits(desk: Desk, actor: str, source: ActorSource = ActorSource.OPERATING_SYSTEM, **more: Any) -> Desk:
    settings = replace(desk.settings, actor=actor, actor_source=source)
    return replace(desk, settings=settings, **more)


@pytest.fixture
def ana(desk: Desk) -> Desk:
    """Ana asks, under her own login; a final needs somebody else."""
    return sits(desk, "ana", policy=policy())


@pytest.fixture
def bob(ana: Desk) -> Desk:
    """Bob is somebody else, under his own login."""
    return sits(ana, "bob")


@pytest.fixture
def held(request_for: Callable[..., Any]) -> Callable[..., Any]:
    async def ask(desk: Desk, **changes: Any) -> Job:
        placed = await place(desk, request_for(purpose="final", **changes))
        assert placed.job.state is State.HELD
        return placed.job

    return ask


async def test_an_approved_render_is_decided_again_in_the_same_append_and_not_sent(
    ana: Desk, bob: Desk, held: Any, types: Any, event: Any, intact: Any
) -> None:
    answered = await approve(bob, await held(ana), "fine")
    assert answered.job.state is State.DECIDED
    assert types(answered.job) == [*HELD, "approval.granted", "render.decided"]
    assert "APPROVED" in event(answered.job, RenderDecided).reason_codes
    assert event(answered.job, ApprovalGranted).comment.text == "fine"
    assert intact()


async def test_an_approved_render_is_submitted_by_resume_and_due_for_a_worker(
    ana: Desk, bob: Desk, held: Any
) -> None:
    job = (await approve(bob, await held(ana))).job
    assert [lease.job_id for lease in bob.ledger.store.claim("w1", 1000)] == [job.job_id]
    assert (await resume(bob, job)).job.state is State.RUNNING


async def test_a_refused_render_is_closed(ana: Desk, bob: Desk, held: Any, types: Any, intact: Any) -> None:
    job = (await reject(bob, await held(ana), "not yet")).job
    assert (job.state, job.outcome) == (State.REFUSED, "refused")
    assert types(job) == [*HELD, "approval.refused", "render.closed"]
    assert intact()


# --- who may ---


@pytest.mark.parametrize("answer", [approve, reject])
async def test_nobody_answers_for_their_own_request(ana: Desk, held: Any, types: Any, answer: Any) -> None:
    job = await held(ana)
    with pytest.raises(BadInput, match="was asked for by ana: somebody else"):
        await answer(ana, job)
    assert types(job) == HELD


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (ActorSource.FLAG, "--actor bob says who you want"),
        (ActorSource.ENVIRONMENT, "SORA_LEDGER_ACTOR=bob says"),
    ],
)
async def test_a_name_that_anybody_can_take_is_no_second_pair_of_eyes(
    ana: Desk, held: Any, types: Any, source: ActorSource, said: str
) -> None:
    job = await held(ana)
    with pytest.raises(BadInput, match=said):
        await approve(sits(ana, "bob", source), job)
    assert types(job) == HELD


async def test_a_request_under_such_a_name_takes_a_signature(ana: Desk, bob: Desk, held: Any) -> None:
    job = await held(sits(ana, "ana", ActorSource.FLAG))
    with pytest.raises(BadInput, match=r"a name that anybody can take .* bob included: sign"):
        await approve(bob, job)
    named = replace(bob, policy=policy(approvers=KEYS))
    assert (await approve(named, job, signer=MARIA)).job.state is State.DECIDED


async def test_one_person_approves_once(ana: Desk, held: Any, types: Any, intact: Any) -> None:
    two = sits(ana, "ana", policy=policy({"code": "FINALS", "purposes": ["final"], "people": 2}))
    job, bob, eve = await held(two), sits(two, "bob"), sits(two, "eve")
    first = await approve(bob, job)
    assert (first.job.state, first.needed) == (State.APPROVED, 1)
    with pytest.raises(BadInput, match=r"bob has approved .* already"):
        await approve(bob, job)
    second = await approve(eve, job)
    assert second.job.state is State.DECIDED
    assert types(second.job) == [*HELD, "approval.granted", "approval.granted", "render.decided"]
    assert intact()


async def test_the_second_person_may_still_refuse(ana: Desk, held: Any, intact: Any) -> None:
    two = sits(ana, "ana", policy=policy({"code": "FINALS", "purposes": ["final"], "people": 2}))
    job = await held(two)
    await approve(sits(two, "bob"), job)
    assert (await reject(sits(two, "eve"), job)).job.state is State.REFUSED
    assert intact()


async def test_what_is_not_held_any_more_is_not_answered(ana: Desk, bob: Desk, held: Any, types: Any) -> None:
    job = (await approve(bob, await held(ana))).job
    for answer in (approve, reject):
        with pytest.raises(NotReady, match="is decided, not held"):
            await answer(sits(ana, "eve"), job)
    assert types(job)[-1] == "render.decided"


async def test_of_two_who_answer_at_once_the_later_finds_what_the_earlier_made(
    ana: Desk, held: Any, types: Any, intact: Any
) -> None:
    job = await held(ana)
    answered = await asyncio.gather(
        *(approve(sits(ana, name), job) for name in ("bob", "eve")), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in answered) == ["Answered", "NotReady"]
    assert types(job) == [*HELD, "approval.granted", "render.decided"]
    assert intact()


# --- signed ---


@pytest.fixture
def strict(ana: Desk) -> Desk:
    """Ana's desk under a policy that wants the signature of Maria."""
    rule = {"code": "SIGNED", "purposes": ["final"], "signed_by": ["maria"]}
    return sits(ana, "ana", policy=policy(rule, approvers=KEYS))


async def test_a_signature_says_who_approved_and_stands(
    strict: Desk, held: Any, event: Any, intact: Any
) -> None:
    job = (await approve(strict, await held(strict), signer=MARIA)).job
    assert job.state is State.DECIDED
    [answer] = answers(strict.ledger, strict.ledger.history(job.job_id))
    assert (answer.record.actor, answer.record.envelope["actor_source"]) == ("maria", "signature")
    assert (answer.key_id, answer.signature_stands) == (MARIA.verifier.key_id.hex(), True)
    assert "identified by their signature" in answer.sentence
    assert intact()


async def test_a_policy_that_comes_after_an_answer_does_not_make_it_good(strict: Desk, held: Any) -> None:
    job = await held(strict)
    text = statement(strict.ledger, strict.ledger.history(job.job_id)[-1], "granted", "maria")
    key_id, signature = sign(STRANGER, text)
    forged = ApprovalGranted(comment=None, key_id=key_id, signature=signature)
    maria = replace(strict.settings, actor="maria").provenance(strict.trace)
    now = datetime.now(UTC)
    strict.ledger.append([Batch(job.job_id, job.version, [draft(forged, maria, now)])])
    later = policy(approvers={"maria": [str(STRANGER.verifier)]})
    activate(strict.settings, strict.trace, now, Rules(later, strict.catalog), "her key")
    [answer] = answers(strict.ledger, strict.ledger.history(job.job_id))
    assert answer.signature_stands is False


async def test_a_rule_that_wants_a_signature_takes_no_other_approval(
    strict: Desk, held: Any, types: Any
) -> None:
    job = await held(strict)
    for other in (None, OMAR):
        with pytest.raises(BadInput, match="rule SIGNED wants the signature of maria"):
            await approve(sits(strict, "bob"), job, signer=other)
    assert types(job) == HELD


async def test_a_key_the_policy_does_not_name_says_nothing(strict: Desk, held: Any, types: Any) -> None:
    job = await held(strict)
    with pytest.raises(BadInput, match="is not one the policy default names"):
        await approve(sits(strict, "bob"), job, signer=Signer("maria", bytes([9]) * 32))
    assert types(job) == HELD


async def test_who_asked_does_not_approve_with_a_key_either(strict: Desk, held: Any) -> None:
    with pytest.raises(BadInput, match="was asked for by ana"):
        await approve(sits(strict, "bob"), await held(strict), signer=STRANGER)


async def test_another_actor_than_the_owner_of_the_key_is_refused(strict: Desk, held: Any) -> None:
    job = await held(strict)
    with pytest.raises(BadInput, match="--actor bob, but the key is that of maria"):
        await approve(sits(strict, "bob", ActorSource.FLAG), job, signer=MARIA)


async def test_a_signature_for_one_hold_does_not_stand_for_another(strict: Desk, held: Any) -> None:
    one, other = [strict.ledger.history((await held(strict)).job_id)[-1] for _ in range(2)]
    signed = statement(strict.ledger, one, "granted", "maria")
    key, (_, signature) = str(MARIA.verifier), sign(MARIA, signed)
    assert stands(key, signed, signature)
    assert not stands(key, statement(strict.ledger, other, "granted", "maria"), signature)
    assert not stands(key, statement(strict.ledger, one, "refused", "maria"), signature)
    assert not stands(key, signed, "no signature")


async def test_two_rules_are_met_by_those_they_want(ana: Desk, held: Any) -> None:
    rules = (
        {"code": "FINALS", "purposes": ["final"]},
        {"code": "SIGNED", "purposes": ["final"], "signed_by": ["maria"]},
    )
    desk = sits(ana, "ana", policy=policy(*rules, approvers=KEYS))
    job = await held(desk)
    first = await approve(sits(desk, "bob"), job)
    assert (first.job.state, first.needed) == (State.APPROVED, 1)
    assert (await approve(sits(desk, "eve"), job, signer=MARIA)).job.state is State.DECIDED


# --- decided again ---


async def test_a_gate_that_has_closed_since_denies_what_was_approved(
    ana: Desk, bob: Desk, held: Any, types: Any, intact: Any
) -> None:
    job = await held(ana)
    set_limit(bob.ledger, read_name("all", Period.NONE), 1, None, bob.clock(), bob.provenance)
    answered = await approve(bob, job)
    assert (answered.job.state, answered.job.detail_code) == (State.DENIED, "BUDGET_EXHAUSTED")
    assert types(answered.job)[-3:] == ["approval.granted", "render.denied", "render.closed"]
    assert intact()


async def test_the_money_is_reserved_with_the_approval(ana: Desk, bob: Desk, held: Any, intact: Any) -> None:
    set_limit(bob.ledger, read_name("all", Period.NONE), 9_000_000, None, bob.clock(), bob.provenance)
    job = await held(ana)
    assert bob.ledger.store.held("all") == 0
    await approve(bob, job)
    assert bob.ledger.store.held("all") == CLIP
    assert intact()


async def test_another_model_than_the_one_that_was_approved_is_held_again(
    ana: Desk, bob: Desk, held: Any, types: Any, intact: Any
) -> None:
    job = await held(ana)
    set_limit(bob.ledger, read_name("all", Period.NONE), CLIP - 1, None, bob.clock(), bob.provenance)
    again = await approve(bob, job)
    assert (again.job.state, again.needed) == (State.HELD, 1)
    assert bob.ledger.store.held("all") == 0
    done = await approve(bob, job)
    assert (done.job.state, done.job.model) == (State.DECIDED, "sora-2")
    assert types(job) == [*HELD, "approval.granted", "render.held", "approval.granted", "render.decided"]
    assert intact()


async def test_a_price_holds_from_its_day_on_and_one_that_began_since_is_held_again(
    ana: Desk, held: Any, event: Any
) -> None:
    content = ana.catalog.model_dump(by_alias=True)
    today = ana.clock()
    for model in content["models"]:
        model["prices"] = [
            *model["prices"],
            *(
                {
                    **price,
                    "from": (today + timedelta(days=1)).date(),
                    "usd_micros_per_second": 2 * price["usd_micros_per_second"],
                }
                for price in model["prices"]
            ),
        ]
    catalog = Catalog.model_validate(content)
    job = await held(replace(ana, catalog=catalog), model="sora-2")
    assert choice_of(event(job, RenderHeld)).cost_usd_micros == 400_000
    tomorrow = replace(
        sits(ana, "bob", ActorSource.OPERATING_SYSTEM),
        catalog=catalog,
        clock=lambda: today + timedelta(days=1),
    )
    assert (await approve(tomorrow, job)).job.state is State.HELD


async def test_a_price_that_rose_since_is_held_again(ana: Desk, bob: Desk, held: Any) -> None:
    job = await held(ana, model="sora-2")
    content = bob.catalog.model_dump(by_alias=True)
    for price in (price for model in content["models"] for price in model["prices"]):
        price["usd_micros_per_second"] *= 2
    dearer = replace(bob, catalog=Catalog.model_validate(content))
    assert (await approve(dearer, job)).job.state is State.HELD
