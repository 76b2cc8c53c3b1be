"""The table of tools: what each does in an agent's words, its arguments, and true annotations."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mcp_types import Tool, ToolAnnotations

from decision.rules.roles import Permission
from render_service.runtime.documents import Json
from render_service.server.mcp import acting, reading
from render_service.server.mcp.arguments import (
    Arguments,
    CancelArguments,
    ChangeArguments,
    CheckRemixArguments,
    DecideArguments,
    DownloadArguments,
    ExtendArguments,
    FindArguments,
    JobArguments,
    Nothing,
    RenderArguments,
    ReviewArguments,
    WaitArguments,
)
from render_service.server.mcp.calls import Agent
from render_service.server.mcp.card import CARD

_ONCE = (
    "Costs money. The request key makes it safe to repeat: the same key returns the same job and is billed "
    "once. After a time-out, call wait with the job, or the same tool with the same key; never a new key."
)


@dataclass(frozen=True)
class ToolEntry:
    """A tool: its handler, its arguments, and how it acts.

    `reads` means that nothing is recorded, written or sent; `server` that the render server may be called.
    `repeats` means that the same call again changes nothing more. `permission` is what the roles of an access
    key must permit.
    """

    name: str
    description: str
    arguments: type[Arguments]
    handler: Callable[[Agent, Any], Awaitable[Json]]
    reads: bool = False
    server: bool = False
    repeats: bool = True
    destroys: bool = False
    permission: Permission = Permission.READ

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the arguments."""
        return self.arguments.model_json_schema()

    @property
    def pays(self) -> bool:
        """Whether a call may cost money."""
        return issubclass(self.arguments, RenderArguments | ChangeArguments)

    def described(self, *, with_card: bool = False) -> Tool:
        """Return the tool as it is listed; `with_card` names the page that shows its job."""
        shows_job = with_card and (self.pays or self.name in {"job", "wait", "download"})
        return Tool(
            name=self.name,
            description=self.description,
            input_schema=self.schema,
            _meta={"ui": {"resourceUri": CARD}} if shows_job else None,
            annotations=ToolAnnotations(
                read_only_hint=self.reads,
                destructive_hint=self.destroys,
                idempotent_hint=self.repeats,
                open_world_hint=self.server,
            ),
        )


TOOLS = {
    tool.name: tool
    for tool in (
        ToolEntry(
            "decide",
            "Ask what would be decided on a request: cost, model, reasons, what is missing. Free; records "
            "and sends nothing. Call it before every paid call.",
            DecideArguments,
            reading.decide_tool,
            reads=True,
        ),
        ToolEntry(
            "find",
            "List jobs, newest first, each with its state and the next tool to call. Look here before you "
            "request something again.",
            FindArguments,
            reading.find_tool,
            reads=True,
        ),
        ToolEntry(
            "job",
            "Show a job as the ledger knows it: state, cost, decision, files, and the next allowed call.",
            JobArguments,
            reading.job_tool,
            reads=True,
        ),
        ToolEntry(
            "explain",
            "Explain why a job was allowed, held, denied or failed, and what would be allowed instead.",
            JobArguments,
            reading.explain_tool,
            reads=True,
        ),
        ToolEntry(
            "budget",
            "Show the budgets, what is left of each, and what was spent. A person sets budgets.",
            Nothing,
            reading.budget_tool,
            reads=True,
        ),
        ToolEntry(
            "check_remix",
            "Check whether a prompt asks for exactly one change, which a remix needs.",
            CheckRemixArguments,
            reading.check_remix_tool,
            reads=True,
        ),
        ToolEntry(
            "policy",
            "Show the rules in force: the policy, models with sizes, lengths and prices, content rules.",
            Nothing,
            reading.policy_tool,
            reads=True,
        ),
        ToolEntry(
            "render",
            f"Render a new video. {_ONCE}",
            RenderArguments,
            acting.render_tool,
            server=True,
            permission=Permission.REQUEST,
        ),
        ToolEntry(
            "remix",
            f"Change exactly one thing in a finished video; say what stays. {_ONCE}",
            ChangeArguments,
            acting.remix_tool,
            server=True,
            permission=Permission.REQUEST,
        ),
        ToolEntry(
            "edit",
            f"Change several things in a finished video. {_ONCE}",
            ChangeArguments,
            acting.edit_tool,
            server=True,
            permission=Permission.REQUEST,
        ),
        ToolEntry(
            "extend",
            f"Add seconds to the end of a finished video. {_ONCE}",
            ExtendArguments,
            acting.extend_tool,
            server=True,
            permission=Permission.REQUEST,
        ),
        ToolEntry(
            "wait",
            "Wait for a job and store its video. For a job whose answer was lost, look for its video. Never "
            "requests a render, so it is always safe to call again.",
            WaitArguments,
            acting.wait_tool,
            server=True,
            permission=Permission.REQUEST,
        ),
        ToolEntry(
            "download",
            "Copy a file of a finished job into the server's folder, or over HTTP name its URL, which takes "
            "your access key. Never replaces another file.",
            DownloadArguments,
            acting.download_tool,
            server=True,
        ),
        ToolEntry(
            "review",
            "Record your verdict on a finished video, under your name.",
            ReviewArguments,
            acting.review_tool,
            repeats=False,
            permission=Permission.REVIEW,
        ),
        ToolEntry(
            "cancel",
            "Withdraw a job that was not sent: it waits for approval or for its submission.",
            CancelArguments,
            acting.cancel_tool,
            repeats=False,
            permission=Permission.REQUEST,
            destroys=True,
        ),
    )
}
"""Every tool by name, those that only read first."""
