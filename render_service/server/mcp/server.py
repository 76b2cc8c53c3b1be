"""Serve the tools over stdio, with job documents and prompt templates as resources."""

import asyncio
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
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
from decision.request.prompt import template, templates
from ledger.errors import AmbiguousJob, JobNotFound
from ledger.job import State
from ledger.store.interface import JobFilter
from render_service.runtime.documents import Json, job_document
from render_service.server.mcp.answers import error_answer, error_document
from render_service.server.mcp.calls import Agent
from render_service.server.mcp.tools import TOOLS
from render_service.session.session import Session
from render_service.worker.worker import stop_signals
from sora_adapter.errors import loggable

ANSWER_S = 25.0
"""Most clients give up on a tool after 60 seconds."""
LISTED_JOBS = 20
JSON = "application/json"
JOBS, TEMPLATES = "sora-ledger://jobs/", "sora-ledger://templates/"
REFUSED = (State.DENIED, State.HELD, State.APPROVED, State.REFUSED)
INSTRUCTIONS = (
    "Renders AI videos. Every paid call is decided by policy and budget, recorded before it is sent, and "
    "billed at most once. Call decide first. Give each render a request key of its own, and keep it: after a "
    "time-out or a lost answer, call wait with the job, or repeat the same call with the same key, and never "
    "use a new key for the same render. Each answer names the next allowed call. You cannot approve a held "
    "render: give the person the command from the answer, and wait."
)

Context: TypeAlias = ServerRequestContext[Any, Any]


class ToolServer:
    """The handlers of the protocol, for one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def list_tools(self, _: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        """List the tools, those that only read first."""
        return ListToolsResult(tools=[tool.described() for tool in TOOLS.values()])

    async def call_tool(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        """Call a tool; what goes wrong is an answer too, so that the agent reads what to do next."""
        tool = TOOLS.get(params.name)
        if tool is None:
            known = ", ".join(TOOLS)
            return _result(
                error_document("unknown_tool", f"there is no tool {params.name!r}; known: {known}")
            )
        client = context.session.client_params
        agent = self._agent.named(client.client_info.name if client else None)
        try:
            document = await tool.handler(agent, tool.arguments.model_validate(params.arguments or {}))
        except Exception as error:  # noqa: BLE001  # an agent reads answers, not tracebacks
            document = error_answer(error) or _unexpected(agent, error)
        return _result(document)

    async def list_resources(self, _: Context, __: PaginatedRequestParams | None) -> ListResourcesResult:
        """List the prompt templates and the newest jobs."""
        ledger = self._agent.session.ledger
        jobs = await asyncio.to_thread(lambda: list(ledger.each_job(JobFilter(), LISTED_JOBS)))
        listed = [
            Resource(
                uri=TEMPLATES + name, name=name, title=one.title, description=one.use_when, mime_type=JSON
            )
            for name, one in templates().items()
        ]
        listed += [
            Resource(uri=JOBS + job.job_id, name=job.job_id, description=f"a {job.state} job", mime_type=JSON)
            for job in jobs
        ]
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
                    uri_template=TEMPLATES + "{name}",
                    name="template",
                    description="A prompt template with its blanks",
                    mime_type=JSON,
                ),
            ]
        )

    async def read_resource(self, _: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        """Return a job or a template as JSON."""
        uri = params.uri
        try:
            document = await asyncio.to_thread(self._read, uri)
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
                    title=one.title,
                    description=one.use_when,
                    arguments=[
                        PromptArgument(
                            name=blank, description=f"{asked.ask} Such as: {asked.example}", required=True
                        )
                        for blank, asked in one.blanks.items()
                    ],
                )
                for name, one in templates().items()
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

    def _read(self, uri: str) -> Json:
        name = unquote(urlsplit(uri).path.removeprefix("/"))
        if uri.startswith(JOBS):
            ledger = self._agent.session.ledger
            return job_document(ledger.job(name), ledger)
        if uri.startswith(TEMPLATES):
            return {"name": name} | template(name).model_dump(mode="json")
        raise DecisionError(f"expected {JOBS}JOB or {TEMPLATES}NAME")


def _result(document: Json) -> CallToolResult:
    """Return an answer as text and as structure; a refusal is marked as an error."""
    text = json.dumps(document, ensure_ascii=False, default=str)
    text = text.encode("utf-8", "replace").decode()  # a server's words may hold half of a character
    refused = "error" in document or document.get("state") in REFUSED
    return CallToolResult(
        content=[TextContent(text=text)], structured_content=json.loads(text), is_error=refused
    )


def _unexpected(agent: Agent, error: Exception) -> Json:
    agent.session.log.warning("mcp.failed", **loggable(error))
    message = (
        f"{type(error).__name__}: this is a defect of sora-ledger, and its log has more; before you request "
        "anything again, look with find: the same request key returns the same job"
    )
    return error_document("internal", message, "same_key")


async def serve_stdio(session: Session, *, folder: Path, answer_s: float = ANSWER_S) -> None:
    """Serve one client on stdin and stdout until it closes stdin, or until SIGTERM or Ctrl-C.

    A submission under way is finished and recorded before this returns.
    """
    agent = Agent(session, session.settings.actor, folder, answer_s)
    handlers = ToolServer(agent)
    server: Server[Any] = Server(
        "sora-ledger",
        version=version("sora-ledger"),
        instructions=INSTRUCTIONS,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_resource_templates,
        on_read_resource=handlers.read_resource,
        on_list_prompts=handlers.list_prompts,
        on_get_prompt=handlers.get_prompt,
    )
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
