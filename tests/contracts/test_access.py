"""Access keys in both stores: who grants and revokes at once, and what a gateway elsewhere sees of it."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from decision.rules.policy import Policy, default_policy
from decision.rules.roles import Permission
from ledger.log.opening import open_snapshot
from ledger.verify import verify
from render_service.access.gatekeeper import Gatekeeper
from render_service.access.grants import Terms, grant, revoke
from render_service.access.register import Register
from render_service.rules.opening import activate
from render_service.rules.policies import Rules
from render_service.runtime.errors import BadInput, NotAuthenticated
from render_service.session.session import Session, utc_now

ALICE = Terms("alice", ("requester",))


async def outcomes(*calls: Callable[[], Any]) -> list[Any]:
    """Make all calls at once, each in a thread of its own."""
    return await asyncio.gather(*(asyncio.to_thread(call) for call in calls), return_exceptions=True)


@pytest.mark.anyio
async def test_a_key_that_several_revoke_at_once_is_revoked_once(
    process: Callable[[], Session], url: str
) -> None:
    sessions = [process() for _ in range(4)]
    key, _ = grant(sessions[0].ledger, ALICE, utc_now(), sessions[0].provenance)
    revoking = [
        lambda s=session: revoke(s.ledger, key.key_id, "lost", utc_now(), s.provenance)
        for session in sessions
    ]
    granting = [lambda s=session: grant(s.ledger, ALICE, utc_now(), s.provenance) for session in sessions]
    ended = await outcomes(*revoking, *granting)
    refused = [each for each in ended[:4] if isinstance(each, BadInput)]
    assert (len(refused), [each for each in ended if isinstance(each, Exception)]) == (3, refused)
    keys = Register(sessions[1].ledger).keys
    assert (len(keys), keys[key.key_id].revoked is not None) == (5, True)
    with open_snapshot(url) as tables:
        assert verify(tables).findings == []


async def used_for_a_second(gatekeeper: Gatekeeper, bearer: str) -> None:
    """Use a key for a second, and once after it, however busy the machine is."""
    began = time.monotonic()
    while time.monotonic() - began < 1:
        await gatekeeper.identify(bearer)
        await asyncio.sleep(0.02)
    await gatekeeper.identify(bearer)


@pytest.mark.anyio
async def test_a_gateway_sees_grants_revocations_and_other_roles_of_another_process_within_a_second(
    process: Callable[[], Session],
) -> None:
    here, there = process(), process()
    gatekeeper = Gatekeeper(here)
    key, _ = await asyncio.to_thread(grant, there.ledger, ALICE, utc_now(), there.provenance)
    bearer = f"Bearer {key.text}"
    assert Permission.REQUEST in (await gatekeeper.identify(bearer)).permissions

    roles = {"roles": {"requester": ("read",)}}
    policy = Policy.model_validate(default_policy().model_dump(by_alias=True) | roles)
    rules = Rules(policy, there.catalog)
    await asyncio.to_thread(activate, there.settings, there.trace, utc_now(), rules, "they read")
    began = sent_at = time.monotonic()
    while Permission.REQUEST in (await gatekeeper.identify(bearer)).permissions:
        assert sent_at - began < 1, "what is asked after a second sees them, however late the answer comes"
        await asyncio.sleep(0.02)
        sent_at = time.monotonic()

    await asyncio.to_thread(revoke, there.ledger, "alice", None, utc_now(), there.provenance)
    with pytest.raises(NotAuthenticated, match="was revoked"):
        await used_for_a_second(gatekeeper, bearer)
