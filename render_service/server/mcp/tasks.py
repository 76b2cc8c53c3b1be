"""The extension Tasks: a job as a task, for clients that declare it.

A task has the id of its job, so it outlives this process, and any process on the ledger can answer for it. A
client that polls its task does what `wait` does. A task that waits for an approval sends its request, once,
when it is polled after the approval. Clients that do not declare the extension get jobs as before.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolResult,
    InputResponses,
    RequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel

from decision.rules.roles import Permission
from ledger.errors import SoraLedgerError
from ledger.job import Job
from ledger.terms import State
from render_service.runtime.documents import Json
from render_service.runtime.errors import NotPermitted
from render_service.server.mcp.acting import wait_tool
from render_service.server.mcp.answers import job_answer
from render_service.server.mcp.approval import HELD, Approval
from render_service.server.mcp.arguments import WaitArguments
from render_service.server.mcp.calls import Agent
from render_service.submission.resume import cancel, resume

TASKS = "io.modelcontextprotocol/tasks"
POLL_MS = 5_000
WORKING = (State.REQUESTED, State.SUBMITTING, State.UNKNOWN, State.RUNNING, State.COMPLETED)
Context = ServerRequestContext[Any, Any]


class TaskParams(RequestParams):
    """The params of the three methods."""

    task_id: str
    input_responses: InputResponses | None = None


def takes_tasks(context: Context) -> bool:
    """Return whether the client declares the extension for this request."""
    capabilities = context.session.client_capabilities
    extensions = (capabilities.extensions if capabilities else None) or {}
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS and TASKS in extensions


def is_task(document: Json) -> bool:
    """Return whether the job of an answer is under way, so that its end is worth polling for."""
    return document.get("state") in {state.value for state in WORKING}


async def task_handle(agent: Agent, document: Json) -> Json:
    """Return the handle of the task that a paid call began."""
    job = await agent.job(document["job"])
    return {"resultType": "task", **_task(job, "working", document["summary"])}


class Tasks:
    """The handlers of the extension; `result_of` makes the result of a tool from its answer."""

    def __init__(
        self, agent_of: Callable[[Context], Agent], result_of: Callable[[Json], CallToolResult]
    ) -> None:
        self._agent_of, self._result_of = agent_of, result_of

    def add_to(self, server: Server[Any]) -> None:
        """Add the three methods to a server."""
        server.add_request_handler("tasks/get", TaskParams, self.get)
        server.add_request_handler("tasks/update", TaskParams, self.update)
        server.add_request_handler("tasks/cancel", TaskParams, self.cancel)

    async def get(self, context: Context, params: TaskParams) -> HandlerResult:
        """Return the state of a task: ask the server, store the video, and send what was approved."""
        agent, job = await self._task(context, params, Permission.READ)
        if job.state is State.DECIDED and job.outcome is None:
            await self._send(agent, job)
            job = await agent.job(job.job_id)
        if job.state in WORKING and _may_request(agent):
            document = agent.shown(await wait_tool(agent, WaitArguments(job=job.job_id, seconds=0)))
        else:
            document = agent.shown(await asyncio.to_thread(job_answer, agent.session, job))
        job = await agent.job(job.job_id)
        about = document.get("summary")
        if job.state.value in HELD:
            questions = await Approval(context, agent, job.job_id).requests()
            shown = {name: _wire(question) for name, question in questions.items()}
            more = {"inputRequests": shown} if shown else {}
            return {**_task(job, "input_required" if shown else "working", about), **more}
        if job.state is State.CANCELLED:
            return _task(job, "cancelled", about)
        if job.state in WORKING or (job.state is State.DECIDED and job.outcome is None):
            return _task(job, "working", about)
        return {**_task(job, "completed", about), "result": _wire(self._result_of(document))}

    async def update(self, context: Context, params: TaskParams) -> HandlerResult:
        """Acknowledge an answer of the client; only the ledger says whether a person approved."""
        await self._task(context, params, Permission.REQUEST)
        return {"resultType": "complete"}

    async def cancel(self, context: Context, params: TaskParams) -> HandlerResult:
        """Withdraw what was not sent; a render under way is billed whatever the client wants."""
        agent, job = await self._task(context, params, Permission.REQUEST)
        if job.state.value in HELD or job.state is State.DECIDED:
            try:
                agent.check_own(job)
                await cancel(agent.session, job, "the client cancelled its task")
            except SoraLedgerError as error:
                raise MCPError(INVALID_PARAMS, str(error)) from error
        return {"resultType": "complete"}

    async def _task(self, context: Context, params: TaskParams, permission: Permission) -> tuple[Agent, Job]:
        if not takes_tasks(context):
            raise MCPError(
                MISSING_REQUIRED_CLIENT_CAPABILITY,
                f"{context.method} needs the extension {TASKS}; without it, call the tool wait with the job",
                {"requiredCapabilities": {"extensions": {TASKS: {}}}},
            )
        agent = self._agent_of(context)
        try:
            agent.check(permission)
            return agent, await agent.job(params.task_id)
        except SoraLedgerError as error:
            raise MCPError(INVALID_PARAMS, str(error)) from error

    @staticmethod
    async def _send(agent: Agent, job: Job) -> None:
        """Send an approved request in a task of its own; another process may have sent it already."""
        if not _may_request(agent):
            return
        try:
            agent.check_own(job)
            name, work = job.request_key or job.job_id, resume(agent.session, job)
            sending = agent.calls.start(agent.session, name, work)
            await asyncio.wait([sending], timeout=agent.answer_s)
        except SoraLedgerError as error:
            agent.session.log.info("mcp.task_not_sent", job_id=job.job_id, because=str(error))


def _wire(value: BaseModel) -> Json:
    return value.model_dump(by_alias=True, mode="json", exclude_none=True)


def _may_request(agent: Agent) -> bool:
    try:
        agent.check(Permission.REQUEST)
    except NotPermitted:
        return False
    return True


def _task(job: Job, status: str, about: str | None) -> Json:
    return {
        "taskId": job.job_id,
        "status": status,
        "statusMessage": about or "",
        "createdAt": job.created_at,
        "lastUpdatedAt": job.updated_at,
        "ttlMs": None,
        "pollIntervalMs": POLL_MS,
    }
