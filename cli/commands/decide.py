"""``decide``: the decision on a request, without making it."""

from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.flows.advise import parse_with_advice
from cli.flows.change import apply_changes, change_option
from cli.flows.submit import expected_document, request_of
from cli.invocation import Invocation, say
from cli.options import common
from cli.options.inputs import LoopCommand, add_ingredient_options
from cli.options.job_names import JOB
from cli.options.prompt import add_prompt_argument, add_prompt_options, require_prompt
from cli.text.decisions import show_candidates, show_ruling, what_was_sent
from cli.text.usage import Usage
from decision.request.request import RenderRequest
from render_service.reports.explain import candidates_of
from render_service.rules.measurements import expected_words
from render_service.submission.preview import expected_on, outlook, ruling_document, ruling_on
from render_service.submission.sources import source_ahead

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.events import Considered
    from render_service.rules.measurements import Duration
    from render_service.submission.preview import Outlook


@click.command("decide", cls=LoopCommand)
@add_prompt_argument
@add_prompt_options
@common.shape
@add_ingredient_options
@common.render
@common.promotes
@click.option("--remix", metavar="JOB", type=JOB, help="Decide on a remix of this job or video.")
@change_option
@click.option("--edit", metavar="JOB", type=JOB, help="Decide on an edit of this job or video.")
@click.option(
    "--extend", metavar="JOB", type=JOB, help="Decide on an extension of this job or video by --seconds."
)
@common.calling
@common.invocation
def decide_command(
    inv: Invocation,
    *,
    remix: str | None,
    edit: str | None,
    extend: str | None,
    changes: tuple[str, ...],
    prompt: str | None,
    **wishes: Any,
) -> None:
    """Show the decision on a request, with every candidate. Records nothing.

    It calls no server, unless the policy has one moderate the prompt.

    The options are those of `create`; exit code 3 if it would be denied or held.

    \b
    Example:
      sora-ledger decide "A teal coupe in the desert" --purpose final
      sora-ledger decide --remix job_01a2 --prompt "Make it night"
      sora-ledger decide --remix job_01a2 --change palette="teal, sand, rust"
    """
    named = {"remix": remix, "edit": edit, "extend": extend}
    chosen = [(operation, name) for operation, name in named.items() if name]
    if len(chosen) > 1:
        raise Usage(
            f"--{chosen[0][0]} and --{chosen[1][0]} are two requests; give one",
            param=chosen[0][0],
            expected="one request",
            found="two",
        )
    if changes and not remix:
        raise Usage(
            "--change is for --remix ID: it changes one line of that shot",
            param="change",
            expected="--remix ID",
            found="nothing",
        )
    request = (
        _parse_change(inv, *chosen[0], changes, prompt, **wishes)
        if chosen
        else request_of(inv, prompt=prompt, **wishes)[0]
    )
    ruling = _consider(inv, request)
    ahead = _outlook(inv, request)
    expected = expected_on(inv.settings, ruling, request)
    document = _document(ruling, request) | ahead.document() | {"expected": expected_document(expected)}
    inv.emit(document, lambda console: _text(console, ruling, request, document, expected))
    for line in ahead.lines():
        say(line)
    if ruling.decision != "ALLOW":
        raise click.exceptions.Exit(ExitCode.DENIED)


def _parse_change(
    inv: Invocation,
    operation: str,
    name: str,
    changes: tuple[str, ...],
    prompt: str | None,
    **wishes: Any,
) -> RenderRequest:
    """Return the request for a remix, edit or extension; options that only a new render has are refused."""
    extra = wishes.pop("extra")
    only_for_create = {
        "--input-reference": wishes.pop("input_reference"),
        "--promotes": wishes.pop("promotes"),
    }
    stray = next((flag for flag, value in only_for_create.items() if value), None) or extra.first_flag()
    if stray:
        raise Usage(
            f"{stray} is for a new render; leave it out with --{operation}",
            param=stray.lstrip("-"),
            expected="a new render",
            found=operation,
        )
    model = wishes.pop("model")
    wishes["model"] = None if model == "auto" else model
    if changes:
        if prompt is not None:
            raise Usage(
                "--change writes the prompt; leave out --prompt and --prompt-file",
                param="change",
                expected="--change or a prompt",
                found="both",
            )
        prompt, wishes = apply_changes(inv, name, changes, wishes)
    with inv.ledger() as ledger:
        source, profile = source_ahead(ledger, name)
    return parse_with_advice(inv, operation, source, prompt=require_prompt(prompt), profile=profile, **wishes)


def _consider(inv: Invocation, request: RenderRequest) -> "Considered":
    return ruling_on(inv.settings, request)


def _outlook(inv: Invocation, request: RenderRequest) -> "Outlook":
    return outlook(inv.settings, request, even_if_retired=inv.even_if_retired)


def _document(ruling: "Considered", request: RenderRequest) -> dict[str, Any]:
    return ruling_document(ruling, request) | {"candidates": candidates_of(ruling)}


def _text(
    console: "Console",
    ruling: "Considered",
    request: RenderRequest,
    document: dict[str, Any],
    expected: "Duration | None",
) -> None:
    show_ruling(console, ruling, request)
    show_candidates(console, document["candidates"])
    if ruling.decision != "DENY":
        console.print(f"expected: {expected_words(expected)}", markup=False)
    console.print(f"nothing was recorded, {what_was_sent(ruling)}")
