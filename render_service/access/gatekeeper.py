"""Identify the callers of the gateway by their access keys, and limit their request rates.

Grants are read from the ledger at most `FRESH_S` before they are used, so a revocation, or a new policy with
other roles, takes effect within a second in every process. If the process cannot read the ledger, the request
is refused (`LedgerUnusable`): the key might have been revoked.
"""

import asyncio
import hmac
import math
import time
from collections import deque
from collections.abc import Callable, Collection

from decision.rules.roles import Roles
from ledger.canonical import sha256_hex
from ledger.record import timestamp
from render_service.access.callers import Caller, caller_of
from render_service.access.oidc import SignedIn, looks_like_token, read_provider
from render_service.access.register import AccessKey, KeyState, Register, key_id_of
from render_service.runtime.errors import NotAuthenticated, TooManyRequests
from render_service.session.session import Session

FRESH_S = 0.5
UNKNOWN_WAIT_S = 0.05
"""An unknown key may have been granted just now, so the grants are reread. Made-up keys must not cause a read
each: they wait for one at least this much later than the last.
"""

MINUTE_S = 60.0
HOW = "send it as `Authorization: Bearer slk_…` (in an SDK: OPENAI_API_KEY=slk_…)"
GET_ONE = "`sora-ledger access grant NAME --role requester` makes one"


class Gatekeeper:
    """Identifies callers and counts their requests; one for each process."""

    def __init__(self, session: Session, elapsing: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._elapsing = elapsing
        file = session.settings.oidc_file
        self.signed_in = SignedIn(read_provider(file), elapsing) if file else None
        """Identifies people by the identity provider, if one is configured."""
        self._register: Register | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()
        self._recent: dict[str, deque[float]] = {}
        self._callers: dict[str, tuple[AccessKey, Roles, Caller]] = {}

    async def identify(self, authorization: str | None) -> Caller:
        """Return the caller whose key the header carries; `NotAuthenticated` says what to do.

        Instead of a key it may carry a token of the identity provider, if one is configured.
        """
        text = _bearer(authorization)
        if self.signed_in is not None and looks_like_token(text):
            await self._read_fresh(FRESH_S)  # the roles of the policy in force
            session = self._session
            return await self.signed_in.identify(text, session.policy.roles_in_force, session.clock())
        key_id = key_id_of(text)
        if key_id is None:
            raise NotAuthenticated(
                "this is not an access key of this server: those begin with slk_, and the key of the "
                f"upstream server stays here; {HOW}; {GET_ONE}",
                param="Authorization",
                expected="an access key, which begins with slk_",
                found="another key",
            )
        arrived = self._elapsing()
        key = (await self._read_fresh(FRESH_S)).keys.get(key_id)
        if key is None:
            key = (await self._read_after(arrived)).keys.get(key_id)
        if key is None or not hmac.compare_digest(sha256_hex(text.encode()), key.grant.key_sha256):
            raise NotAuthenticated(
                f"there is no access key {key_id} with this text: check that it was copied completely; "
                f"{GET_ONE}",
                param="Authorization",
                expected="a key that was granted",
                found=f"{key_id} with other text",
            )
        return self._caller(key)

    async def holder(self, key_id: str) -> Caller:
        """Return the caller who signed in with a key earlier; `NotAuthenticated` once the key is invalid."""
        key = (await self._read_fresh(FRESH_S)).keys.get(key_id)
        if key is None:
            raise NotAuthenticated(
                f"there is no access key {key_id}: sign in with another",
                param="Authorization",
                expected="a key that was granted",
                found=key_id,
            )
        return self._caller(key)

    async def member(self, name: str, groups: Collection[str]) -> Caller:
        """Return the person called `name`, whom the identity provider confirmed as a member of `groups`."""
        if self.signed_in is None:
            raise NotAuthenticated(
                "this server believes no identity provider now: sign in with a key",
                param="Authorization",
                expected="an access key",
                found="a token",
            )
        return self.signed_in.caller(name, groups, await self.roles())

    async def roles(self) -> Roles:
        """Return the roles of the policy in force."""
        await self._read_fresh(FRESH_S)
        return self._session.policy.roles_in_force

    def expire(self) -> None:
        """Reread the grants before the next use: this process may just have changed them."""
        self._read_at = -math.inf

    def admit(self, caller: Caller) -> None:
        """Count a request of `caller`; `TooManyRequests` beyond what their key permits per minute.

        The count is per process: behind a load balancer each instance permits as many.
        """
        limit = caller.requests_per_minute
        if limit is None or caller.key_id is None:
            return
        now = self._elapsing()
        recent = self._recent.setdefault(caller.key_id, deque())
        while recent and recent[0] <= now - MINUTE_S:
            recent.popleft()
        if len(recent) >= limit:
            wait_s = recent[0] + MINUTE_S - now if recent else MINUTE_S
            raise TooManyRequests(
                f"the key of {caller.name} permits {limit} requests per minute: try again in {wait_s:.0f} s",
                retry_after_s=wait_s,
                param="Authorization",
                expected=f"at most {limit} requests per minute",
                found="more",
            )
        recent.append(now)

    async def _read_fresh(self, within_s: float) -> Register:
        """Return the register, at most `within_s` old; concurrent requests share one read."""
        async with self._reading:
            if self._register is None or self._elapsing() - self._read_at > within_s:
                return await self._read()
            return self._register

    async def _read_after(self, moment: float) -> Register:
        """Return a register that was read after `moment`; concurrent requests share one read."""
        if self._read_at <= moment:
            await asyncio.sleep(max(0.0, self._read_at + UNKNOWN_WAIT_S - self._elapsing()))
        async with self._reading:
            if self._register is None or self._read_at <= moment:
                return await self._read()
            return self._register

    async def _read(self) -> Register:
        began = self._elapsing()
        self._register = await asyncio.to_thread(self._renew)
        self._read_at = began
        return self._register

    def _renew(self) -> Register:
        register = self._register
        if register is None:
            register = Register(self._session.ledger)
        else:
            register.renew()
        self._session.in_force.follow()
        return register

    def _caller(self, key: AccessKey) -> Caller:
        grant = key.grant
        state = key.state(timestamp(self._session.clock()) if grant.expires_at else "")
        if state is KeyState.REVOKED:
            raise NotAuthenticated(
                f"the access key {grant.key_id} of {grant.name} was revoked: {GET_ONE}",
                param="Authorization",
                expected="a valid key",
                found=f"{grant.key_id}, which was revoked",
            )
        if state is KeyState.EXPIRED:
            ends = (grant.expires_at or "")[:19]
            raise NotAuthenticated(
                f"the access key {grant.key_id} of {grant.name} expired at {ends}Z: {GET_ONE}",
                param="Authorization",
                expected="a valid key",
                found=f"{grant.key_id}, which expired at {ends}Z",
            )
        roles = self._session.policy.roles_in_force
        known = self._callers.get(grant.key_id)
        if known is None or known[0] is not key or known[1] is not roles:
            known = self._callers[grant.key_id] = key, roles, caller_of(key, roles)
        return known[2]


def _bearer(authorization: str | None) -> str:
    """Return the credentials in the header; `NotAuthenticated` if there are none."""
    if not authorization:
        raise NotAuthenticated(
            f"no access key: {HOW}; {GET_ONE}",
            param="Authorization",
            expected="an access key",
            found="nothing",
        )
    scheme, _, text = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise NotAuthenticated(
            f"the header Authorization is not a bearer token: {HOW}",
            param="Authorization",
            expected="a bearer token",
            found="another header",
        )
    return text.strip()
