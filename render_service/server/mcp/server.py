"""Answer the Model Context Protocol for one agent at a time: tools, resources, prompts and tasks.

The same handlers serve stdio and HTTP. A transport only determines which agent made a call.
"""

import asyncio
import base64
import json
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    BlobResourceContents,
    CallToolRequestParams,
    CallToolResult,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    Prompt,
    PromptArgument,
    PromptMessage,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextContent,
    TextResourceContents,
)

from decision.errors import DecisionError
from decision.request.templates import template, templates
from decision.rules.roles import Permission
from ledger.errors import AmbiguousJob, JobNotFound
from ledger.store.filters import JobFilter
from ledger.terms import Variant
from render_service.runtime.documents import Json, job_document
from render_service.runtime.signals import stop_signals
from render_service.server.mcp.acting import TASKS, Approval, Tasks, awaits, is_task, takes_tasks, task_handle
from render_service.server.mcp.answers import error_answer, error_document
from render_service.server.mcp.calls import Agent, Place, ToolEntry
from render_service.server.mcp.card import CARD, CARD_TYPE, UI, card, shows_cards
from render_service.session.session import Session
from sora_adapter.errors import loggable

Tools = Mapping[str, ToolEntry]
"""The tools of a server by name, in list order."""

ANSWER_S = 25.0
"""Most clients give up on a tool after 60 seconds."""


async def serve_stdio(session: Session, tools: Tools, *, folder: Path, answer_s: float = ANSWER_S) -> None:
    """Serve these tools to one client on stdin and stdout until it closes stdin, or until SIGTERM or Ctrl-C.

    A submission under way is finished and recorded before this returns.
    """
    agent = Agent(session, session.settings.actor, Place(folder), answer_s)
    server = protocol_server(lambda context: agent.named(client_name(context)), tools)
    with stop_signals() as stop:
        serving = asyncio.create_task(_serve(server))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        await agent.calls.close()
        if not serving.done():
            await session.close()
            os._exit(0)  # a thread waits for a line on stdin that may never come, and cannot be interrupted
        stopping.cancel()
    await serving


async def _serve(server: Server[Any]) -> None:
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


LISTED_JOBS = 20
MOST_VIDEO_BYTES = 24 * 1024 * 1024
"""Maximum size of a video that a card plays: a host holds all of a resource in memory."""
JSON = "application/json"
JOBS, TEMPLATES = "sora-ledger://jobs/", "sora-ledger://templates/"
VIDEOS = "sora-ledger://videos/"
INSTRUCTIONS = (
    "Renders AI videos. Every paid call is decided by policy and budget, recorded before it is sent, and "
    "billed at most once. Call decide first. Give each render a request key of its own, and keep it: after a "
    "time-out or a lost answer, call wait with the job, or repeat the same call with the same key, and never "
    "use a new key for the same render. Each answer names the next allowed call. You cannot approve a held "
    "render: give the person the command from the answer, and wait."
)

Context: TypeAlias = ServerRequestContext[Any, Any]


class ToolServer:
    """The handlers of the protocol for `tools`; `agent_of` says which agent made a call."""

    def __init__(self, agent_of: Callable[[Context], Agent], tools: Tools) -> None:
        self._agent_of, self._tools = agent_of, tools

    async def list_tools(self, context: Context, _: PaginatedRequestParams | None) -> ListToolsResult:
        """List the tools, those that only read first, with their cards for a client that shows cards."""
        with_cards = shows_cards(context)
        return ListToolsResult(tools=[tool.described(with_card=with_cards) for tool in self._tools.values()])

    async def call_tool(self, context: Context, params: CallToolRequestParams) -> HandlerResult:
        """Call a tool; an error is an answer too, so that the agent reads what to do next."""
        tool = self._tools.get(params.name)
        if tool is None:
            known = ", ".join(self._tools)
            return result_of(
                error_document(
                    "unknown_tool",
                    f"there is no tool {params.name!r}; known: {known}",
                    param="name",
                    expected=known,
                    found=params.name,
                )
            )
        agent = self._agent_of(context)
        document = await _called(agent, tool, params.arguments)
        if tool.pays and awaits(document):
            approval = Approval(context, agent, document["job"])
            if (question := await approval.question(params.input_responses)) is not None:
                return question
            if await approval.is_granted(params.input_responses):
                document = await _called(agent, tool, params.arguments)
        if tool.pays and takes_tasks(context) and is_task(document):
            return await task_handle(agent, document)
        return result_of(document)

    async def list_resources(self, context: Context, _: PaginatedRequestParams | None) -> ListResourcesResult:
        """List the prompt templates, the newest jobs that the agent may see, and the card."""
        agent = self._agent_of(context)
        agent.check(Permission.READ)
        ledger = agent.session.ledger
        pages = await asyncio.to_thread(
            lambda: [list(ledger.iterate_jobs(where, LISTED_JOBS)) for where in agent.visible(JobFilter())]
        )
        newest = sorted({job.job_id: job for jobs in pages for job in jobs}.items(), reverse=True)
        jobs = [job for _, job in newest[:LISTED_JOBS]]
        listed = [
            Resource(
                uri=TEMPLATES + name, name=name, title=entry.title, description=entry.use_when, mime_type=JSON
            )
            for name, entry in templates().items()
        ]
        listed += [
            Resource(uri=JOBS + job.job_id, name=job.job_id, description=f"a {job.state} job", mime_type=JSON)
            for job in jobs
        ]
        listed.append(Resource(uri=CARD, name="job-card", title="A job", mime_type=CARD_TYPE))
        return ListResourcesResult(resources=listed)

    async def list_resource_templates(
        self, _: Context, __: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        """List the forms of resource addresses."""
        return ListResourceTemplatesResult(
            resource_templates=[
                ResourceTemplate(
                    uri_template=JOBS + "{job}", name="job", description="A job", mime_type=JSON
                ),
                ResourceTemplate(
                    uri_template=VIDEOS + "{job}",
                    name="video",
                    description="The stored video of a job",
                    mime_type="video/mp4",
                ),
                ResourceTemplate(
                    uri_template=TEMPLATES + "{name}",
                    name="template",
                    description="A prompt template with its blanks",
                    mime_type=JSON,
                ),
            ]
        )

    async def read_resource(self, context: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        """Return a job or a template as JSON, the video of a job, or the card."""
        uri = params.uri
        if uri == CARD:
            return ReadResourceResult(
                contents=[TextResourceContents(uri=uri, mime_type=CARD_TYPE, text=card())]
            )
        agent = self._agent_of(context)
        try:
            agent.check(Permission.READ)
            name = unquote(urlsplit(uri).path.removeprefix("/"))
            if uri.startswith(VIDEOS):
                return ReadResourceResult(contents=[await _video(agent, uri, name)])
            document = await _read(agent, uri, name)
        except (JobNotFound, AmbiguousJob, DecisionError) as unknown:
            raise MCPError(INVALID_PARAMS, f"{uri}: {unknown}") from unknown
        text = json.dumps(document, ensure_ascii=False)
        return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type=JSON, text=text)])

    async def list_prompts(self, _: Context, __: PaginatedRequestParams | None) -> ListPromptsResult:
        """List the prompt templates, with their blanks as arguments."""
        return ListPromptsResult(
            prompts=[
                Prompt(
                    name=name,
                    title=entry.title,
                    description=entry.use_when,
                    arguments=[
                        PromptArgument(
                            name=blank,
                            description=f"{blank_field.ask} Such as: {blank_field.example}",
                            required=True,
                        )
                        for blank, blank_field in entry.blanks.items()
                    ],
                )
                for name, entry in templates().items()
            ]
        )

    async def get_prompt(self, _: Context, params: GetPromptRequestParams) -> GetPromptResult:
        """Return a filled template as a request to render it."""
        try:
            chosen = template(params.name)
            filled = chosen.fill(params.arguments or {})
        except DecisionError as unknown:
            raise MCPError(INVALID_PARAMS, str(unknown)) from unknown
        shape = {"purpose": chosen.purpose, "size": chosen.size, "seconds": chosen.seconds}
        arguments = {"prompt": filled.prompt, "fields": dict(filled.fields), **shape}
        text = (
            "Call decide with these arguments, tell me the cost, and after I agree call render with them and "
            f"a request key of your choice:\n{json.dumps(arguments, ensure_ascii=False, indent=1)}"
        )
        return GetPromptResult(
            description=chosen.use_when, messages=[PromptMessage(role="user", content=TextContent(text=text))]
        )


async def _called(agent: Agent, tool: ToolEntry, arguments: Mapping[str, Any] | None) -> Json:
    """Return the answer of a tool, or of its error."""
    try:
        agent.check(tool.permission)
        document = await tool.handler(agent, tool.arguments.model_validate(arguments or {}))
    except Exception as error:  # noqa: BLE001  # an agent reads answers, not tracebacks
        known = tool.arguments.model_fields
        document = error_answer(error, tool.name, arguments, known) or _unexpected(agent, error)
    return agent.shown(document)


async def _read(agent: Agent, uri: str, name: str) -> Json:
    if uri.startswith(JOBS):
        job = await agent.job(name)
        return await asyncio.to_thread(job_document, job, agent.session.ledger)
    if uri.startswith(TEMPLATES):
        return {"name": name} | template(name).model_dump(mode="json")
    raise DecisionError(
        f"expected {JOBS}JOB, {VIDEOS}JOB or {TEMPLATES}NAME",
        param="uri",
        expected=f"{JOBS}JOB, {VIDEOS}JOB or {TEMPLATES}NAME",
        found="another address",
    )


async def _video(agent: Agent, uri: str, name: str) -> BlobResourceContents:
    job = await agent.job(name)
    asset = job.assets.get(Variant.VIDEO)
    if asset is None:
        raise JobNotFound(
            f"{job.job_id} is {job.state}, and its video is not stored",
            param="job",
            expected="a job with a stored video",
            found=f"a {job.state} job",
        )
    if asset.bytes > MOST_VIDEO_BYTES:
        raise JobNotFound(
            f"its video has {asset.bytes} bytes, more than a card plays: call download",
            param="job",
            expected=f"at most {MOST_VIDEO_BYTES} bytes",
            found=asset.bytes,
        )
    content = await asyncio.to_thread(agent.session.assets.read, asset.storage_uri)
    return BlobResourceContents(
        uri=uri, mime_type=asset.media_type, blob=base64.b64encode(content).decode("ascii")
    )


def result_of(document: Json) -> CallToolResult:
    """Return an answer as text and as structure; a refusal is marked as an error."""
    text = json.dumps(document, ensure_ascii=False, default=str)
    text = text.encode("utf-8", "replace").decode()  # a server's words may contain lone surrogates
    refused = "error" in document
    return CallToolResult(
        content=[TextContent(text=text)], structured_content=json.loads(text), is_error=refused
    )


def _unexpected(agent: Agent, error: Exception) -> Json:
    agent.session.log.warning("mcp.failed", **loggable(error))
    message = (
        f"{type(error).__name__}: this is a defect of sora-ledger, and its log has more; before you request "
        "anything again, look with find: the same request key returns the same job"
    )
    return error_document(
        "internal", message, "same_key", otherwise="find", expected="an answer", found=type(error).__name__
    )


def protocol_server(agent_of: Callable[[Context], Agent], tools: Tools) -> Server[Any]:
    """Return the protocol's server of `tools`; `agent_of` says which agent made a call."""
    handlers, tasks = ToolServer(agent_of, tools), Tasks(agent_of, result_of)
    server: Server[Any] = Server(
        "sora-ledger",
        version=version("sora-ledger"),
        instructions=INSTRUCTIONS,
        get_tool_input_schema=lambda name: tools[name].schema if name in tools else None,
        on_list_tools=handlers.list_tools,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_resource_templates,
        on_read_resource=handlers.read_resource,
        on_list_prompts=handlers.list_prompts,
        on_get_prompt=handlers.get_prompt,
    )
    server.add_request_handler("tools/call", CallToolRequestParams, handlers.call_tool)
    tasks.add_to(server)
    server.extensions = {UI: {}, TASKS: {}}
    return server


def client_name(context: Context) -> str | None:
    """Return the client's name for itself."""
    params = context.session.client_params
    return params.client_info.name if params else None
