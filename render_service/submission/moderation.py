"""Ask the server of a render to moderate its prompt, if the policy requires it, before anything is decided.

The prompt is private: it goes only to the server that would render it, and nowhere if a term of the policy
already denies it. Nothing is billed, and only the result is recorded, as inputs of the decision. A failure is
a result too, for which the policy has a rule; a prompt never passes because it could not be moderated.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from decision.engine.guardrails import ModerationResult, ModerationStatus, is_denied_by_terms
from decision.request.request import RenderRequest
from decision.rules.guardrails import Moderation
from decision.rules.policy import Policy
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import begin_trace
from render_service.session.connecting import connection
from render_service.session.connections import find_usable_profile
from render_service.session.session import Session
from sora_adapter.errors import (
    AnswerError,
    OperationUnsupported,
    ServerTrouble,
    ServerUnreadable,
    SettingsUnusable,
)

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

LONGEST_S = 10.0
"""Time limit for a server's moderation of a prompt."""
TOGETHER = 8
"""Prompts of a batch that are moderated at the same time."""
MOST_CACHED = 128

_HOPELESS = frozenset(
    {ModerationStatus.NOT_OFFERED, ModerationStatus.UNREACHABLE, ModerationStatus.NOT_ASKED}
)


async def moderated(session: Session, request: RenderRequest) -> ModerationResult | None:
    """Return its server's moderation of the prompt of `request`; None if the policy does not require it."""
    moderation = _wanted(session.policy, request)
    if moderation is None:
        return None
    async with session.connect(session.profile(request.profile)) as client:
        return await _ask(client, request.sent_prompt, moderation.model)


async def moderate_each(session: Session, requests: Sequence[RenderRequest]) -> list[ModerationResult | None]:
    """Return the same for many requests; an unreachable server is not asked for each of them."""
    given_up: dict[str, ModerationResult] = {}
    turns = asyncio.Semaphore(TOGETHER)

    async def moderate_request(request: RenderRequest) -> ModerationResult | None:
        async with turns:
            if request.profile in given_up:
                return given_up[request.profile]
            result = await moderated(session, request)
            if result is not None and result.status in _HOPELESS:
                given_up[request.profile] = result
            return result

    return await asyncio.gather(*map(moderate_request, requests))


def moderated_ahead(
    settings: Settings, policy: Policy, request: RenderRequest, *, even_if_retired: bool = False
) -> ModerationResult | None:
    """Return the same without a session, for a preview; must not be called in an event loop.

    A server without an address or a key is not asked.
    """
    moderation = _wanted(policy, request)
    if moderation is None:
        return None
    parts = (request.profile, settings.base_url or "", moderation.model or "", request.sent_prompt)
    key = hashlib.sha256("\0".join(parts).encode()).digest()
    if key not in _CACHE:
        result = asyncio.run(_ahead(settings, moderation.model, request, even_if_retired=even_if_retired))
        if result.status is not ModerationStatus.CHECKED:
            return result
        while len(_CACHE) >= MOST_CACHED:
            _CACHE.pop(next(iter(_CACHE)), None)
        _CACHE[key] = result
    return _CACHE[key]


def _wanted(policy: Policy, request: RenderRequest) -> Moderation | None:
    """Return what the policy wants to know of the server; None also where a term denies it."""
    guardrails = policy.guardrails
    if guardrails is None or is_denied_by_terms(request.sent_prompt, guardrails, request.purpose):
        return None
    return guardrails.moderation


_CACHE: dict[bytes, ModerationResult] = {}
"""Results of previews by a digest of the question: a form asks again whenever one of its fields changes."""


async def _ahead(
    settings: Settings, model: str | None, request: RenderRequest, *, even_if_retired: bool
) -> ModerationResult:
    try:
        profile = find_usable_profile(settings, request.profile, even_if_retired=even_if_retired)
        if "moderations" not in profile.operations:
            return ModerationResult(status=ModerationStatus.NOT_OFFERED)
        async with connection(settings, begin_trace(), profile) as client:
            return await _ask(client, request.sent_prompt, model)
    except (BadInput, SettingsUnusable):
        return ModerationResult(status=ModerationStatus.NOT_ASKED)


async def _ask(client: "VideosClient", text: str, model: str | None) -> ModerationResult:
    from sora_adapter.moderations import moderate_text  # noqa: PLC0415  # only if a policy asks for it

    try:
        async with asyncio.timeout(LONGEST_S):
            model, flagged, ppm = await moderate_text(client, text, model)
    except OperationUnsupported:
        return ModerationResult(status=ModerationStatus.NOT_OFFERED)
    except (TimeoutError, ServerTrouble):
        return ModerationResult(status=ModerationStatus.UNREACHABLE)
    except ServerUnreadable:
        return ModerationResult(status=ModerationStatus.UNREADABLE)
    except AnswerError:
        return ModerationResult(status=ModerationStatus.REFUSED)
    return ModerationResult(status=ModerationStatus.CHECKED, model=model, flagged=flagged, ppm=ppm)
