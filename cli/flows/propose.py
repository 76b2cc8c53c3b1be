"""Changes of policy, budgets and access that wait for approval: propose, answer and show them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from ledger.log.ledger import Ledger
from ledger.log.opening import open_or_create
from render_service.access.grants import show_grant
from render_service.approvals.changes import Office, Proposal, waits_for
from render_service.reports.answers import answers
from render_service.runtime.documents import format_count
from render_service.runtime.printable import printable
from render_service.session.session import clock_of, utc_now

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.approvals.answer_changes import Outcome
CHANGE = "change_"


def propose(
    inv: Invocation,
    make: "Callable[[Office], Proposal]",
    show: "Callable[[dict[str, Any]], object] | None" = None,
) -> None:
    """Propose a change, show it, and exit like a held request, naming who must approve it.

    `show` shows its document in another way.
    """
    with _writing(inv) as ledger:
        proposed = make(_office(inv, ledger))
        needed = proposed.event.approvals_needed
        if show is None:
            _show(inv, ledger, proposed, needed)
        else:
            show(change_document(ledger, proposed) | {"approvals_needed": needed})
        say(f"Error: {waits_for(proposed, ledger)}")
    raise click.exceptions.Exit(ExitCode.DENIED)


def answer_change(inv: Invocation, answer: "Callable[[Office], Outcome]") -> None:
    """Answer a proposed change and show the result."""
    inv.ledger().close()  # reports a missing ledger
    with _writing(inv) as ledger:
        outcome = answer(_office(inv, ledger))
        _show(inv, ledger, outcome.proposed, outcome.needed)


def _writing(inv: Invocation) -> "Ledger":
    inv.drain_spool()
    return open_or_create(inv.settings.ledger_url, inv.settings.provenance(inv.trace), utc_now())


def _office(inv: Invocation, ledger: "Ledger") -> "Office":
    return Office(ledger, inv.settings, inv.trace, clock_of(ledger))


def _show(inv: Invocation, ledger: "Ledger", proposed: "Proposal", needed: int) -> None:
    document = change_document(ledger, proposed) | {"approvals_needed": needed}

    def text(console: "Console") -> None:
        for line in change_lines(ledger, proposed):
            console.print(printable(line), markup=False)
        if needed:
            console.print(f"{format_count(needed, 'more approval')} needed")

    inv.emit(document, text)


def change_document(ledger: "Ledger", proposed: "Proposal") -> dict[str, Any]:
    """Return a change as JSON."""
    first, event = proposed.history.first, proposed.event
    return {
        "change": proposed.name,
        "state": proposed.state,
        "operation": event.operation,
        "words": proposed.words,
        "policy_sha256": event.policy_sha256,
        "catalog_sha256": event.catalog_sha256,
        "budget": event.budget,
        "limit_usd_micros": event.limit_usd_micros,
        "access": event.access and show_grant(event.access),
        "why": event.why and event.why.text,
        "reason_codes": list(event.reason_codes),
        "proposed_by": first.actor,
        "actor_source": first.envelope.actor_source,
        "proposed_at": first.recorded_at,
        "position": first.position,
        "answers": [answer.document() for answer in answers(ledger, proposed.history)],
    }


def change_lines(ledger: "Ledger", proposed: "Proposal") -> list[str]:
    """Return a change as lines of text."""
    first, why = proposed.history.first, proposed.event.why
    words = "no reason given" if why is None else why.text or "[erased]"
    by = f"proposed by {first.actor} ({first.envelope.actor_source}) at {first.recorded_at[:16]}Z"
    lines = [f"{proposed.name}  {proposed.state}  {proposed.words}", f"  {by}: {words}"]
    return [*lines, *(f"  {answer.sentence}" for answer in answers(ledger, proposed.history))]
