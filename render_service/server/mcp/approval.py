"""A held request: lead the person to the console's page where it is approved.

The question carries only an address. What the client answers opens nothing: whether the request was approved
is read from the ledger, so a model that accepts in the person's place gets the same refusal again. A client
that cannot lead a person to an address gets the refusal at once.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp_types import ElicitRequest, ElicitRequestURLParams, ElicitResult, InputRequiredResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from ledger.terms import State
from render_service.access.local import find_console
from render_service.access.signing import open_signer
from render_service.runtime.documents import Json
from render_service.server.mcp.calls import Agent

APPROVAL = "approval"
LOOK_S = 0.5
HELD = frozenset({State.HELD.value, State.APPROVED.value})
"""States of a job that some person still has to approve."""


def awaits(document: Json) -> bool:
    """Return whether the job of an answer is pending approval."""
    return document.get("state") in HELD and document["next"]["tool"] == "job"


class Approval:
    """The approval of one held job."""

    def __init__(self, context: ServerRequestContext[Any, Any], agent: Agent, job_id: str) -> None:
        self._context, self._agent, self._job_id = context, agent, job_id

    async def question(self, responses: Mapping[str, Any] | None) -> InputRequiredResult | None:
        """Return the question that leads to the page; None if it was asked or cannot be asked."""
        if responses and APPROVAL in responses:
            return None
        questions = await self.requests()
        return InputRequiredResult(input_requests=questions) if questions else None

    async def requests(self) -> dict[str, Any]:
        """Return the requests to the client that lead to the page; none if it cannot show one."""
        if not opens_addresses(self._context) or (where := await self._page()) is None:
            return {}
        message = (
            f"{self._job_id} costs more, or is about something, that a person has to approve. Approve or "
            "reject it on this page; nothing is sent before that."
        )
        return {APPROVAL: ElicitRequest(params=ElicitRequestURLParams(message=message, url=where))}

    async def is_given(self, responses: Mapping[str, Any] | None) -> bool:
        """Wait for a person who opened the page; return whether the ledger has the approval."""
        answer = (responses or {}).get(APPROVAL)
        if not isinstance(answer, ElicitResult) or answer.action != "accept":
            return False
        until = time.monotonic() + self._agent.answer_s
        while True:
            job = await self._agent.job(self._job_id)
            if job.state.value not in HELD:
                return job.state is State.DECIDED
            if time.monotonic() > until:
                return False
            await asyncio.sleep(LOOK_S)

    async def _page(self) -> str | None:
        agent = self._agent
        console = agent.at.console or agent.session.settings.console_url
        if console is None and agent.caller is None:
            console = await asyncio.to_thread(_console_here, agent)
        return None if console is None else f"{console.rstrip('/')}/console/inbox/{self._job_id}"


def _console_here(agent: Agent) -> str | None:
    """Return where the console of this ledger is served on this machine."""
    session = agent.session
    return find_console(session.settings, open_signer(session.settings, session.ledger.ledger_id))


def opens_addresses(context: ServerRequestContext[Any, Any]) -> bool:
    """Return whether the client can lead a person to an address, in a protocol that asks by an answer."""
    capabilities = context.session.client_capabilities
    asks = capabilities.elicitation if capabilities else None
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS and asks is not None and asks.url is not None
