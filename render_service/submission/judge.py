"""Ask the judge of the policy about a remix, before anything is decided.

The prompt and its fields are private: they go only to the endpoint in the policy, or to the render server if
the policy has none, and nowhere if a term of the policy already denies the prompt. Only the result is
recorded, as inputs of the decision. A failure is a result too, and leaves the offline verdict unchanged. The
encoder in this program is a judge that sends the text nowhere.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from decision.engine.guardrails import is_denied_by_terms
from decision.engine.judge import find_judge
from decision.one_change.lexicon import DEFAULT_ASPECT
from decision.one_change.verdict import JudgeResult, JudgeStatus, Place, check_remix
from decision.request.prompt import CHANGE_ASPECTS
from decision.request.request import RenderRequest
from decision.rules.policy import ENCODER, LOCAL, Judge, Policy
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Trace, begin_trace
from render_service.session.connecting import connection
from render_service.session.connections import find_usable_profile
from render_service.session.session import Session
from sora_adapter.errors import AnswerError, ServerTrouble, ServerUnreadable, SettingsUnusable
from sora_adapter.profiles import profile

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient
    from sora_adapter.moderations import Judgement

LONGEST_S = 20.0
"""Time limit for a judge."""
MOST_CACHED = 128


async def judge_of(session: Session, request: RenderRequest) -> JudgeResult | None:
    """Return the verdict of the policy's judge on `request`; None if it is not to be asked."""
    judge = _wanted(session.policy, request)
    if judge is None:
        return None
    if judge.url == LOCAL:
        return await asyncio.to_thread(_ask_here, judge, request)
    if judge.url is None:
        async with session.connect(session.profile(request.profile)) as client:
            return await _ask(client, judge, request)
    return await _ask_elsewhere(session.settings, session.trace, judge, request)


def judge_ahead(
    settings: Settings, policy: Policy, request: RenderRequest, *, even_if_retired: bool = False
) -> JudgeResult | None:
    """Return the same without a session, for a preview; must not be called in an event loop."""
    judge = _wanted(policy, request)
    if judge is None:
        return None
    if judge.url == LOCAL:
        return _ask_here(judge, request)
    parts = [
        judge.model_dump(mode="json"),
        request.profile,
        settings.base_url,
        request.prompt,
        dict(request.fields),
    ]
    key = hashlib.sha256(json.dumps(parts).encode()).digest()
    if key not in _CACHE:
        result = asyncio.run(_ahead(settings, judge, request, even_if_retired=even_if_retired))
        if result.status is not JudgeStatus.CHECKED:
            return result
        while len(_CACHE) >= MOST_CACHED:
            _CACHE.pop(next(iter(_CACHE)), None)
        _CACHE[key] = result
    return _CACHE[key]


_CACHE: dict[bytes, JudgeResult] = {}
"""Results of previews by a digest of the question: a form asks again whenever one of its fields changes."""


def _wanted(policy: Policy, request: RenderRequest) -> Judge | None:
    guardrails = policy.guardrails
    if guardrails and is_denied_by_terms(request.sent_prompt, guardrails, request.purpose):
        return None
    return find_judge(policy, request)


async def _ahead(
    settings: Settings, judge: Judge, request: RenderRequest, *, even_if_retired: bool
) -> JudgeResult:
    if judge.url is not None:
        return await _ask_elsewhere(settings, begin_trace(), judge, request)
    try:
        server = find_usable_profile(settings, request.profile, even_if_retired=even_if_retired)
        async with connection(settings, begin_trace(), server) as client:
            return await _ask(client, judge, request)
    except (BadInput, SettingsUnusable):
        return JudgeResult(status=JudgeStatus.NOT_ASKED)


def _ask_here(judge: Judge, request: RenderRequest) -> JudgeResult:
    """Ask the encoder in this program; the first time, its weights are loaded. Other weights are not here."""
    from decision.one_change.encoder import EncoderMissing, check_by_encoder  # noqa: PLC0415  # of an extra

    if judge.model != ENCODER:
        return JudgeResult(status=JudgeStatus.NOT_INSTALLED)
    try:
        verdict, changes = check_remix(request.prompt, request.fields, check_by_encoder)
    except EncoderMissing:
        return JudgeResult(status=JudgeStatus.NOT_INSTALLED)
    places = (
        ()
        if verdict == "ambiguous"
        else tuple(Place(change.aspect, change.start, change.end) for change in changes)
    )
    return JudgeResult(status=JudgeStatus.CHECKED, model=judge.model, verdict=verdict, places=places[:50])


async def _ask_elsewhere(
    settings: Settings, trace: Trace, judge: Judge, request: RenderRequest
) -> JudgeResult:
    """Ask the endpoint in the policy, with a separate key: never with the render server's key."""
    from sora_adapter.client import VideosClient  # only if the policy names an endpoint

    async with AsyncExitStack() as stack:
        try:
            client = VideosClient(
                profile("custom"),
                judge.url,
                settings.judge_key,
                timeout_s=LONGEST_S,
                traceparent=lambda: trace.traceparent,
            )
        except SettingsUnusable:  # the key cannot be sent
            return JudgeResult(status=JudgeStatus.NOT_ASKED)
        return await _ask(await stack.enter_async_context(client), judge, request)


async def _ask(client: "VideosClient", judge: Judge, request: RenderRequest) -> JudgeResult:
    from sora_adapter.moderations import NotAVerdict, ask_judge  # noqa: PLC0415  # only if a policy asks for it

    try:
        async with asyncio.timeout(LONGEST_S):
            judgement = await ask_judge(client, judge.model, request.prompt, request.fields, CHANGE_ASPECTS)
    except (TimeoutError, ServerTrouble):
        return JudgeResult(status=JudgeStatus.UNREACHABLE)
    except (NotAVerdict, ServerUnreadable):
        return JudgeResult(status=JudgeStatus.UNREADABLE)
    except AnswerError:
        return JudgeResult(status=JudgeStatus.REFUSED)
    return _result(judgement, request)


def _result(judgement: "Judgement", request: RenderRequest) -> JudgeResult:
    """Return the answer if it is consistent: the words are in the prompt, and match the verdict's count."""
    places = tuple(_places(judgement, request))
    fits = {"single": len(places) == 1, "multiple": len(places) > 1, "none": not places}
    if len(places) != len(judgement.changes) or not fits.get(judgement.verdict, True):
        return JudgeResult(status=JudgeStatus.UNREADABLE, model=judgement.model)
    places = () if judgement.verdict == "ambiguous" else places
    return JudgeResult.model_validate(
        {
            "status": JudgeStatus.CHECKED,
            "model": judgement.model,
            "verdict": judgement.verdict,
            "places": places,
        }
    )


def _places(judgement: "Judgement", request: RenderRequest) -> Iterator[Place]:
    """Yield the place of each quotation; one from a field is not in the prompt, and is at 0."""
    after = 0
    for aspect, words in judgement.changes:
        quote = words.strip()
        known = aspect if aspect in CHANGE_ASPECTS else DEFAULT_ASPECT
        start = request.prompt.find(quote, after) if quote else -1
        if quote and start < 0:
            start = request.prompt.find(quote)
        if start >= 0:
            after = start + len(quote)
            yield Place(known, start, after)
        elif quote and any(quote in text for text in request.fields.values()):
            yield Place(known, 0, 0)
