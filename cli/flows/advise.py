"""Before a request is placed: questions about missing details, advice, and the guardrails.

Only a missing detail stops a request: on a terminal the person is asked for it, elsewhere it is an error.
Advice and guardrails go to stderr and block nothing; a policy may require ``--attest``.
"""

import shutil
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation, say
from cli.text.usage import Usage
from decision.advice.advice import ATTESTATION, GUARDRAILS, Advice, advise
from decision.advice.reading import Question, apply_answer, missing_details
from decision.request.request import RenderRequest, Source, parse_request
from ledger.errors import LedgerUnusable
from ledger.events import RenderRequested
from ledger.store.filters import RecordFilter
from render_service.approvals.requesters import find_author

if TYPE_CHECKING:
    from render_service.batches.plan import Planned
    from render_service.rules.overrides import Override

MOST_LINES_SHOWN = 10


def parse_with_advice(
    inv: Invocation,
    operation: str = "create",
    source: Source | None = None,
    *,
    after: Sequence[RenderRequest] = (),
    **values: Any,
) -> RenderRequest:
    """Parse a request, ask for missing details, and print advice; never called in an event loop.

    A request that changes a video names it as its `source`. Advice already given for the requests in `after`,
    which precede it in the same command, is not repeated.
    """
    parsed = partial(parse_request, catalog=inv.rules.catalog, operation=operation, source=source)
    request = parsed(**values)
    while questions := missing_details(request):
        prompt, fields = apply_answer(request, questions[0], _ask(questions))
        request = parsed(**(values | {"prompt": prompt, "fields": fields}))
    repeated = {advice for earlier in after for advice in advise(earlier)}
    for advice in advise(request):
        if advice in repeated:
            continue
        if inv.log.quiet:
            say(f"advice: {advice.message}")
        else:
            inv.log.warning("prompt.advice", code=advice.code, field=advice.field, message=advice.message)
    if not after:
        _remind(inv, request)
    return request


def advise_batch(inv: Invocation, planned: "Sequence[Planned]") -> None:
    """Print advice on the entries of a batch, each piece once with its lines."""
    lines: dict[Advice, list[int]] = {}
    for item in planned:
        for advice in advise(item.request):
            lines.setdefault(advice, []).append(item.entry.line)
    for advice, numbers in lines.items():
        if inv.log.quiet:
            say(f"advice ({_name_lines(numbers)}): {advice.message}")
        else:
            inv.log.warning(
                "prompt.advice", code=advice.code, field=advice.field, message=advice.message, lines=numbers
            )
    _remind(inv, planned[0].request)


def say_first_of_split(inv: Invocation, override: "Override | None") -> None:
    """Warn about options that cover only the first remix of a queued split."""
    if override:
        say("the override is for the first remix only; `retry JOB --override CODE` overrides a later denial")
    if find_author(inv.settings, inv.rules.policy).signer:
        say(
            "your signature covers the first remix only; the others count as requested by a name that was"
            " typed, and may need one approval more"
        )


def _name_lines(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:MOST_LINES_SHOWN]))
    more = len(lines) - MOST_LINES_SHOWN
    return f"line{'s' if len(lines) > 1 else ''} {shown}" + (f" and {more} more" if more > 0 else "")


def _remind(inv: Invocation, request: RenderRequest) -> None:
    """Show the guardrails to a person who has never confirmed them or made a request."""
    if not request.attested and not _has_requested_before(inv):
        _show_guardrails(inv)


def _ask(questions: tuple[Question, ...]) -> str:
    """Ask the first question on a terminal; elsewhere raise an error that lists all of them."""
    if sys.stdin.isatty() and sys.stderr.isatty():
        try:
            return str(click.prompt(questions[0].question, prompt_suffix=" ", err=True))
        except click.Abort:
            say("")  # the next output begins a line
            raise
    text = "; ".join(question.question for question in questions)
    raise Usage(
        f"{text} (say it in the prompt; on a terminal you would be asked)",
        param="prompt",
        expected=text,
        found="a prompt that leaves it open",
    )


def _has_requested_before(inv: Invocation) -> bool:
    """Return whether this ledger has a request of this actor, who was shown the guardrails then."""
    where = RecordFilter(type=RenderRequested.type, actor=inv.settings.actor)
    try:
        with inv.ledger() as ledger:
            return any(True for _ in ledger.read(where, limit=1))
    except LedgerUnusable:  # none yet; its other problems are reported when it is written
        return False


def _show_guardrails(inv: Invocation) -> None:
    if not inv.log.quiet:
        inv.log.info("guardrails.shown", rules=[guardrail.rule for guardrail in GUARDRAILS])
        return
    width = shutil.get_terminal_size().columns
    say("Never allowed, on any server:")
    for guardrail in GUARDRAILS:
        say(click.wrap_text(f"{guardrail.rule} {guardrail.meaning}", width, "  - ", "    "))
    say("This is shown until your first request is recorded. --attest records:")
    say(f'  "{ATTESTATION}"')
