"""The table of tools: each tool's description for agents, its arguments, and true annotations.

The read-only tools are here, too: decision previews, and the contents of the ledger. They record and send
nothing.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from decision.advice.advice import GUARDRAILS, advise
from decision.advice.reading import missing_details
from decision.engine.explain import list_reasons, what_now
from decision.errors import BadRequest
from decision.money import usd_digits
from decision.one_change.verdict import check_single_change
from decision.request.request import RenderRequest
from decision.rules.roles import Permission
from ledger.events import Candidate, Considered, RenderDecided, RenderDenied
from ledger.store.filters import ALL_JOBS, JobFilter
from render_service.reports.explain import candidates_of, explain, explain_denial
from render_service.reports.jobs import find_jobs
from render_service.reports.spending import Grouping, spending
from render_service.runtime.documents import Json
from render_service.server.mcp import acting
from render_service.server.mcp.answers import cost_of, in_tool_terms, job_answer, next_call
from render_service.server.mcp.arguments import (
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
from render_service.server.mcp.calls import Agent, ToolEntry, parsed
from render_service.session.session import Session
from render_service.submission.preview import outlook, ruling_on
from render_service.submission.sources import source_ahead


async def decide_tool(agent: Agent, arguments: DecideArguments) -> Json:
    """Return the decision on a request: cost, model, reasons, and what is missing."""
    values = agent.terms(arguments.values() | {"operation": arguments.operation})
    if arguments.operation == "create":
        source = None
    elif arguments.job is None:
        raise BadRequest(
            f"operation {arguments.operation} needs the job whose video it changes: name it with job",
            param="job",
            expected="the job whose video it changes",
            found="nothing",
        )
    else:
        source = (await agent.job(arguments.job)).job_id
    return await asyncio.to_thread(_decided, agent.session, values, source)


def _decided(session: Session, values: dict[str, Any], source: str | None) -> Json:
    if source is None:
        values["profile"] = session.settings.chosen_profile()
    else:
        values["source"], values["profile"] = source_ahead(session.ledger, source)
    request = parsed(session, values)
    ruling = ruling_on(session.settings, request)
    chosen = _chosen(ruling)
    questions = [question.question for question in missing_details(request)]
    ahead = outlook(session.settings, request)
    return {
        "summary": _summary(ruling.decision, questions, ahead.refused),
        "decision": ruling.decision,
        "model": chosen and chosen.model,
        "cost_usd": _usd(chosen.cost_usd_micros) if chosen else None,
        "why": list_reasons(ruling),
        "what_now": [] if isinstance(ruling, RenderDecided) else _steps(ruling, request),
        "candidates": candidates_of(ruling),
        "missing": questions,
        "advice": [in_tool_terms(advice.message) for advice in advise(request)],
        "refused": ahead.refused and in_tool_terms(ahead.refused),
        "assumes": ahead.assumes,
        "recorded": False,
    }


def _chosen(ruling: Considered) -> Candidate | None:
    """Return the candidate that would be rendered; None for a denial."""
    if isinstance(ruling, RenderDenied):
        return None
    passed = [candidate for candidate in ruling.basis.candidates if candidate.score is not None]
    if isinstance(ruling, RenderDecided):
        passed = [candidate for candidate in passed if candidate.model == ruling.model]
    return max(passed, key=lambda candidate: candidate.score or 0, default=None)


def _summary(decision: str, questions: list[str], refused: str | None) -> str:
    if questions:
        return f"the prompt is incomplete: {'; '.join(questions)}"
    words = {"ALLOW": "it would be allowed", "HOLD": "it would wait for a person to approve it"}
    would = words.get(decision, "it would be denied")
    return f"{would}, but it could not be sent now: {refused}" if refused else would


def _steps(ruling: Any, request: RenderRequest) -> list[str]:
    return [in_tool_terms(step) for step in what_now(ruling, request)]


async def find_tool(agent: Agent, arguments: FindArguments) -> Json:
    """Return jobs, newest first, each with the next allowed call."""
    related = None if arguments.related_to is None else (await agent.job(arguments.related_to)).job_id

    def found() -> Json:
        ledger = agent.session.ledger
        where = JobFilter(
            states=None if arguments.states is None else tuple(arguments.states),
            actor=agent.session.settings.actor if arguments.mine else None,
            purpose=arguments.purpose,
        )
        pages = [find_jobs(ledger, filter_, arguments.limit, of=related) for filter_ in agent.visible(where)]
        newest = sorted({job.job_id: job for jobs in pages for job in jobs}.items(), reverse=True)
        jobs = [job for _, job in newest[: arguments.limit]]
        rows = [
            {
                "job": job.job_id,
                "state": job.state.value,
                "operation": job.operation,
                "purpose": job.purpose,
                "requested_by": job.actor,
                "begun_at": job.created_at,
                "cost": cost_of(job),
                "next": next_call(job, ledger).tool,
            }
            for job in jobs
        ]
        return {"summary": f"{len(rows)} jobs, newest first", "jobs": rows}

    return await asyncio.to_thread(found)


async def job_tool(agent: Agent, arguments: JobArguments) -> Json:
    """Return a job as the ledger knows it."""
    job = await agent.job(arguments.job)
    return await asyncio.to_thread(job_answer, agent.session, job)


async def explain_tool(agent: Agent, arguments: JobArguments) -> Json:
    """Return why a job was decided as it was, and what to do if it was denied or failed."""
    name = (await agent.job(arguments.job)).job_id

    def explained() -> Json:
        ledger = agent.session.ledger
        return explain(ledger, name).document | {"why_not": explain_denial(ledger, name).document}

    return await asyncio.to_thread(explained)


async def budget_tool(agent: Agent, _: Nothing) -> Json:
    """Return the budgets, the remainder of each, and the money spent."""

    def left() -> Json:
        session = agent.session
        sees = ALL_JOBS if agent.caller is None else tuple(agent.visible(JobFilter()))
        report = spending(session.ledger, Grouping.MODEL, session.clock(), sees=sees)
        total = report.total
        budgets = [
            {
                "budget": budget.budget,
                "limit_usd": _usd(budget.limit_usd_micros),
                "left_usd": _usd(budget.usd_micros),
            }
            for budget in report.budgets
            if agent.caller is None or agent.caller.may_see_budget(budget.budget)
        ]
        return {
            "summary": f"{usd_digits(total.settled_usd_micros)} USD spent, "
            f"{usd_digits(total.reserved_usd_micros)} USD reserved; a person sets budgets",
            "budgets": budgets,
            "spent_usd": usd_digits(total.settled_usd_micros),
            "reserved_usd": usd_digits(total.reserved_usd_micros),
            "team": session.settings.team,
            "project": session.settings.project,
        }

    return await asyncio.to_thread(left)


def _usd(micros: int | None) -> str | None:
    return None if micros is None else usd_digits(micros)


async def check_remix_tool(_: Agent, arguments: CheckRemixArguments) -> Json:
    """Return whether a prompt asks for exactly one change, and each change it asks for."""
    verdict, changes = check_single_change(arguments.prompt)
    found = [
        {"aspect": change.aspect, "text": arguments.prompt[change.start : change.end]} for change in changes
    ]
    allowed = verdict == "single"
    return {
        "summary": "one change: a remix may have this prompt"
        if allowed
        else f"{verdict}: name exactly one change; make a remix for each, or use edit for several at once",
        "verdict": verdict,
        "changes": found,
    }


async def policy_tool(agent: Agent, _: Nothing) -> Json:
    """Return the rules in force: the policy, models with sizes, lengths and prices, content rules."""

    def shown() -> Json:
        rules = agent.session.in_force.rules
        agent.session.in_force.renew(rules)
        policy, catalog = agent.session.policy, agent.session.catalog
        return {
            "summary": f"policy {policy.name} with catalog {catalog.name}; a person activates policies",
            "policy": policy.model_dump(mode="json", by_alias=True, exclude_none=True),
            "models": [
                {
                    "model": model.name,
                    "seconds": model.seconds,
                    "usd_per_second": {size: _usd(model.cost_usd_micros(size, 1)) for size in model.sizes},
                }
                for model in catalog.models
            ],
            "content_rules": [f"{rail.rule} {rail.meaning}" for rail in GUARDRAILS],
        }

    return await asyncio.to_thread(shown)


_ONCE = (
    "Costs money. The request key makes it safe to repeat: the same key returns the same job and is billed "
    "once. After a time-out, call wait with the job, or the same tool with the same key; never a new key."
)


TOOLS: Mapping[str, ToolEntry] = {
    tool.name: tool
    for tool in (
        ToolEntry(
            "decide",
            "Ask what would be decided on a request: cost, model, reasons, what is missing. Free; records "
            "and sends nothing. Call it before every paid call.",
            DecideArguments,
            decide_tool,
            reads=True,
        ),
        ToolEntry(
            "find",
            "List jobs, newest first, each with its state and the next tool to call. Look here before you "
            "request something again.",
            FindArguments,
            find_tool,
            reads=True,
        ),
        ToolEntry(
            "job",
            "Show a job as the ledger knows it: state, cost, decision, files, and the next allowed call.",
            JobArguments,
            job_tool,
            reads=True,
        ),
        ToolEntry(
            "explain",
            "Explain why a job was allowed, held, denied or failed, and what would be allowed instead.",
            JobArguments,
            explain_tool,
            reads=True,
        ),
        ToolEntry(
            "budget",
            "Show the budgets, what is left of each, and what was spent. A person sets budgets.",
            Nothing,
            budget_tool,
            reads=True,
        ),
        ToolEntry(
            "check_remix",
            "Check whether a prompt asks for exactly one change, which a remix needs.",
            CheckRemixArguments,
            check_remix_tool,
            reads=True,
        ),
        ToolEntry(
            "policy",
            "Show the rules in force: the policy, models with sizes, lengths and prices, content rules.",
            Nothing,
            policy_tool,
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
