"""Tools that request, wait, store, review and withdraw; and the extension Tasks, a job as a task.

A task has the id of its job, so it outlives this process, and any process on the ledger can answer for it. A
client that polls its task does what `wait` does. A task that waits for an approval sends its request, once,
when it is polled after the approval. Clients that do not declare the extension get jobs as before.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolResult,
    ElicitRequest,
    ElicitRequestURLParams,
    ElicitResult,
    InputRequiredResult,
    InputResponses,
    RequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel

from decision.advice.reading import missing_details
from decision.rules.roles import Permission
from ledger.errors import SoraLedgerError
from ledger.job import Job
from ledger.terms import State, Variant
from render_service.access.local import find_console
from render_service.access.signing import open_signer
from render_service.approvals.reviews import review
from render_service.assets.fit import first_frame
from render_service.assets.inputs import NOTHING, Material
from render_service.assets.names import SUFFIXES
from render_service.assets.store import check_target
from render_service.recovery.reconcile import reconcile_job
from render_service.runtime.documents import Json
from render_service.runtime.errors import BadInput, NotPermitted, ServiceError
from render_service.server.mcp.answers import error_answer, error_document, job_answer
from render_service.server.mcp.arguments import (
    CancelArguments,
    ChangeArguments,
    DownloadArguments,
    ExtendArguments,
    RenderArguments,
    ReviewArguments,
    WaitArguments,
)
from render_service.server.mcp.calls import Agent, parsed
from render_service.session.event_ids import public_id
from render_service.session.session import Session
from render_service.settlement.settle import fetch, settle
from render_service.submission.result import Placed, placed_under
from render_service.submission.resume import cancel, resume
from render_service.submission.sources import source_of
from sora_adapter.errors import AdapterError
from sora_adapter.polling import PollTimeout

APPROVAL = "approval"
LOOK_S = 0.5
HELD = frozenset({State.HELD.value, State.APPROVED.value})
"""States of a job that a person still has to approve."""


def awaits(document: Json) -> bool:
    """Return whether the job of an answer is pending approval."""
    return document.get("state") in HELD and document["next"]["tool"] == "job"


class Approval:
    """The approval of one held job."""

    def __init__(self, context: ServerRequestContext[Any, Any], agent: Agent, job_id: str) -> None:
        self._context, self._agent, self._job_id = context, agent, job_id

    async def question(self, responses: Mapping[str, Any] | None) -> InputRequiredResult | None:
        """Return the elicitation that leads to the page; None if it was sent or cannot be sent."""
        if responses and APPROVAL in responses:
            return None
        questions = await self.requests()
        return InputRequiredResult(input_requests=questions) if questions else None

    async def requests(self) -> dict[str, Any]:
        """Return the client requests that lead to the page; none if the client cannot show one."""
        if not opens_addresses(self._context) or (where := await self._page()) is None:
            return {}
        message = (
            f"{self._job_id} costs more, or is about something, that a person has to approve. Approve or "
            "reject it on this page; nothing is sent before that."
        )
        return {APPROVAL: ElicitRequest(params=ElicitRequestURLParams(message=message, url=where))}

    async def is_granted(self, responses: Mapping[str, Any] | None) -> bool:
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
    """Return the address of this ledger's console on this machine."""
    session = agent.session
    return find_console(session.settings, open_signer(session.settings, session.ledger.ledger_id))


def opens_addresses(context: ServerRequestContext[Any, Any]) -> bool:
    """Return whether the client can show an address to a person, in a protocol with elicitation results."""
    capabilities = context.session.client_capabilities
    asks = capabilities.elicitation if capabilities else None
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS and asks is not None and asks.url is not None


INTERVAL_S = 5.0
"""Polling interval of a running render, unless the server names one."""
OPEN = (State.SUBMITTING, State.UNKNOWN)


async def render_tool(agent: Agent, arguments: RenderArguments) -> Json:
    """Decide, record and submit a new render."""

    async def placing(session: Session) -> Placed:
        values = arguments.values() | {"operation": "create", "profile": session.profile().name}
        material = NOTHING
        if arguments.first_frame is not None:
            path = agent.path(arguments.first_frame, "first_frame")
            frame = await asyncio.to_thread(first_frame, path)
            values["input_reference"] = frame.image
            material = Material(reference=frame.content, original=frame.original)
        if arguments.promotes is not None:
            values["promotes"] = (await agent.job(arguments.promotes)).job_id
        return await _place(agent, values, material)

    return await _answer(agent, arguments.request_key, placing)


async def remix_tool(agent: Agent, arguments: ChangeArguments) -> Json:
    """Change exactly one thing in a finished video."""
    return await _changed(agent, arguments, "remix")


async def edit_tool(agent: Agent, arguments: ChangeArguments) -> Json:
    """Change several things in a finished video."""
    return await _changed(agent, arguments, "edit")


async def extend_tool(agent: Agent, arguments: ExtendArguments) -> Json:
    """Add seconds to the end of a finished video."""
    return await _changed(agent, arguments, "extend")


async def _changed(agent: Agent, arguments: ChangeArguments, operation: str) -> Json:
    async def placing(session: Session) -> Placed:
        job = await agent.job(arguments.job)
        source, profile = await source_of(session, job.job_id)
        values = arguments.values() | {"operation": operation, "source": source, "profile": profile}
        return await _place(agent, values)

    return await _answer(agent, arguments.request_key, placing)


async def _place(agent: Agent, values: dict[str, Any], material: Material = NOTHING) -> Placed:
    request = await asyncio.to_thread(parsed, agent.session, agent.terms(values))
    if questions := missing_details(request):
        text = "; ".join(question.question for question in questions)
        raise BadInput(
            f"{text} (answer it in the prompt); nothing was recorded",
            param="prompt",
            expected=text,
            found="a prompt that leaves it open",
        )
    return await agent.place(request, material)


async def _answer(agent: Agent, key: str, placing: Callable[[Session], Awaitable[Placed]]) -> Json:
    """Place a request in a separate task; answer in time, with the job to wait for if it takes longer."""
    session = agent.session

    async def work() -> Placed:
        return await placing(session)

    key = agent.terms({"request_key": key})["request_key"]
    task = agent.calls.start(session, key, work())
    await asyncio.wait([task], timeout=agent.answer_s)
    if task.done():
        placed = task.result()
        return await asyncio.to_thread(job_answer, session, placed.job, repeated=placed.repeated)
    recorded = await asyncio.to_thread(placed_under, session.ledger, key)
    if recorded is not None:
        return await asyncio.to_thread(job_answer, session, recorded.job, timed_out=True)
    message = (
        f"the request is not recorded after {agent.answer_s:g} s, because the ledger is busy; it continues: "
        f"make the same call with the same request key {key!r} to see its job"
    )
    return error_document(
        "timed_out", message, "same_key", param="request_key", expected="a recorded request", found="none yet"
    )


async def wait_tool(agent: Agent, arguments: WaitArguments) -> Json:
    """Wait for a job, store its video, and find the video of a submission whose answer was lost."""
    seconds = agent.answer_s if arguments.seconds is None else arguments.seconds
    job = await agent.job(arguments.job)
    task = agent.calls.start(agent.session, job.job_id, _waited(agent, job, seconds))
    return await asyncio.shield(task)


async def _waited(agent: Agent, job: Job, seconds: float) -> Json:
    session, began = agent.session, time.monotonic()
    more: Json = {}
    try:
        if job.state in OPEN:
            await agent.calls.answered(job.request_key or job.job_id, seconds)
            job = await session.job(job.job_id)
        if job.state in OPEN:
            settlement = await reconcile_job(session, job)
            job, more = settlement.job, {"recovery": settlement.why, "person": list(settlement.commands)}
        left = max(0.0, seconds - (time.monotonic() - began))
        job = await settle(session, job, interval_s=INTERVAL_S, timeout_s=left)
    except PollTimeout:
        more["timed_out"] = True
    except (AdapterError, ServiceError) as error:
        more |= error_answer(error) or {}
    job = await session.job(job.job_id)
    return await asyncio.to_thread(job_answer, session, job, **more)


async def download_tool(agent: Agent, arguments: DownloadArguments) -> Json:
    """Store a file of a finished job; copy it into the server's folder, or over HTTP return its URL."""
    session, variant = agent.session, Variant(arguments.variant)
    job = await agent.job(arguments.job)
    target = None if arguments.to is None else agent.path(arguments.to, "to")
    fetching = agent.calls.start(session, job.job_id, fetch(session, job, variant))
    job = await asyncio.shield(fetching)
    asset = job.assets[variant]
    facts: Json = {"sha256": asset.sha256, "bytes": asset.bytes}
    if agent.at.origin is not None:
        facts["url"] = (
            f"{agent.at.origin}/v1/videos/{public_id(job.job_id)}/content"
            f"{'' if variant is Variant.VIDEO else f'?variant={variant}'}"
        )
        return await asyncio.to_thread(job_answer, session, job, file=facts)
    if target is None:
        kind = "" if variant is Variant.VIDEO else f".{variant}"
        target = agent.path(f"{job.video_id}{kind}{SUFFIXES.get(asset.media_type, '.bin')}", "to")
    if not await asyncio.to_thread(_holds, target, asset.sha256):
        await asyncio.to_thread(check_target, target, force=False)
        await asyncio.to_thread(session.assets.copy_out, asset.storage_uri, target, force=False)
    return await asyncio.to_thread(job_answer, session, job, file={"path": str(target)} | facts)


def _holds(path: Path, sha256: str) -> bool:
    """Return whether the file is already there, as after a lost answer."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


async def review_tool(agent: Agent, arguments: ReviewArguments) -> Json:
    """Record a review of a finished video, under the agent's name."""
    scores = {
        name: score
        for name in ("clarity", "continuity", "brand_fit")
        if (score := getattr(arguments, name)) is not None
    }
    session = agent.session
    job = await agent.job(arguments.job)
    job = await review(session, job, arguments.verdict, scores, arguments.notes)
    return await asyncio.to_thread(job_answer, session, job, verdict=arguments.verdict)


async def cancel_tool(agent: Agent, arguments: CancelArguments) -> Json:
    """Withdraw a job that was not sent, if it was requested for the same person."""
    session = agent.session
    job = await agent.job(arguments.job)
    agent.check_own(job)
    job = await cancel(session, job, arguments.reason)
    return await asyncio.to_thread(job_answer, session, job)


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
    """Return whether the job of an answer is in progress, so that polling makes sense."""
    return document.get("state") in {state.value for state in WORKING}


async def task_handle(agent: Agent, document: Json) -> Json:
    """Return the handle of the task of a paid call."""
    job = await agent.job(document["job"])
    return {"resultType": "task", **_task(job, "working", document["summary"])}


class Tasks:
    """The handlers of the extension; `result_of` builds a tool's result from its answer."""

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
        """Return the state of a task: ask the server, store the video, and send an approved request."""
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
        """Withdraw an unsent job; a running render is billed whatever the client wants."""
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
        """Send an approved request in a separate task; another process may have sent it already."""
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
