"""A decision in text: the ruling, the four questions, the candidates, the next commands."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cli.text.printable import escape
from decision.engine.explain import what_now, why
from decision.engine.guardrails import was_asked
from decision.money import format_usd
from decision.request.request import RenderRequest
from ledger.events import Considered, RenderDecided
from render_service.runtime.documents import Json
from render_service.runtime.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 14
SHOWN_OF_A_DIGEST = 12
RULINGS = {
    "ALLOW": "[bold green]allowed[/]",
    "DENY": "[bold red]denied[/]",
    "HOLD": "[bold yellow]held[/]",
}


def show_ruling(
    console: "Console",
    ruling: Considered,
    request: RenderRequest | None = None,
    *,
    job_id: str = "JOB",
    draft: str | None = None,
    answered: bool = False,
) -> None:
    """Print a decision with its reasons and, unless it was allowed or `answered`, the next steps."""
    console.print(RULINGS[ruling.decision])
    for reason in why(ruling):
        console.print(f"  {escape(printable(reason))}")
    if not isinstance(ruling, RenderDecided) and not answered:
        for step in what_now(ruling, request, job_id=job_id, draft=draft):
            console.print(f"  [bold]→[/] {escape(printable(step))}")  # may be a command to copy


def what_was_sent(*rulings: Considered) -> str:
    """Return what previews sent: a policy may want prompts moderated before anything is decided."""
    if any(was_asked(ruling.basis.inputs) for ruling in rulings):
        return "nothing was sent but the prompt, to be moderated"
    return "nothing was sent"


def show_explanation(console: "Console", document: Json) -> None:
    """Print the answers to a reviewer's four questions."""
    _question(console, "What was decided?", _decided(document))
    reasons = document["why"]
    _question(console, "Why?", reasons["reasons"])
    show_candidates(console, reasons["candidates"])
    for step in reasons["what_now"]:
        _line(console, f"→ {step}")
    _question(console, "By whose authority?", _authority(document["authority"]))
    if document["reviews"]["given"]:
        _question(console, "What did reviewers say?", _reviews(document["reviews"]))
    if lines := list(_origin(document["provenance"])):
        _question(console, "What shows where the video is from?", lines)
    _question(console, "Can the record be trusted?", _trust(document["record"]))


def _origin(document: Json) -> Iterable[str]:
    yield from (entry["words"] for entry in document["observed"])
    yield from (f"signed: {entry['words']}" for entry in document["signed"])
    for entry in document["published"]:
        label = f", {entry['label']}" if entry["label"] else ""
        where = f"{entry['target']} by {entry['by']} at {entry['at'][:19]}Z"
        yield f"published at {where} (marking: {entry['marking']}{label})"


def _reviews(document: Json) -> Iterable[str]:
    yield document["agreement"]["words"]
    for review in document["given"]:
        scores = "".join(f", {name} {score}" for name, score in review["scores"].items())
        notes = f": “{review['notes']}”" if review["notes"] else ""
        yield f"{review['verdict']} by {review['reviewer']} at {review['at'][:19]}Z{scores}{notes}"
        for note in review["timed_notes"]:
            yield f"  at {note['at_ms'] / 1000:g} s: “{note['text']}”"


def show_why_not(console: "Console", document: Json) -> None:
    """Print why a job was denied, and the commands that would be allowed."""
    ruling, state = RULINGS[document["decision"]], document["state"]
    since = f"; the job is {state} now" if document["people"] and state != ruling else ""
    console.print(f"{document['job_id']}: {ruling}{since}")
    for reason in (*_failed(document["failure"]), *document["why"], *_people(document["people"])):
        _line(console, reason)
    console.print()
    show_candidates(console, document["candidates"])
    if document["what_now"] or document["commands"] or document["request_again"]:
        console.print("\n[bold]What now?[/]")
    for step in document["what_now"]:
        _line(console, f"→ {step}")
    for command in document["commands"]:
        console.print(f"    {printable(command)}", markup=False)
    if document["request_again"]:
        console.print("  with changes:")
        console.print(f"    {printable(document['request_again'])}", markup=False)


def _failed(failure: Json | None) -> Iterable[str]:
    """Yield how an allowed job failed."""
    if failure is None:
        return
    status = f"HTTP {failure['http_status']} " if failure["http_status"] else ""
    code = f"{status}{failure['code'] or ''}".strip() or "no reason was given"
    yield f"{failure['state']}: {code}" + (f": {failure['message']}" if failure["message"] else "")


def show_candidates(console: "Console", candidates: Iterable[Json]) -> None:
    """Print each model with its cost and score, and the gates it did not pass."""
    for candidate in candidates:
        cost, score = candidate["cost_usd_micros"], candidate["score"]
        price = "no price" if cost is None else format_usd(cost)
        points = "" if score is None else f", score {score}"
        count = len(candidate["gates_passed"])
        gates = f"{count} of {count + len(candidate['gates_failed'])} gates passed"
        mark = "[green]●[/]" if candidate["chosen"] else "[bright_black]○[/]"
        console.print(f"  {mark} {escape(candidate['model'])}: {price}{points}, {gates}")
        for failure in candidate["gates_failed"]:
            _line(console, f"    {failure['gate']}: {failure['reason']} ({failure['detail_code']})")


def _question(console: "Console", question: str, answers: Iterable[str]) -> None:
    console.print(f"[bold]{question}[/]")
    for answer in answers:
        _line(console, answer)


def _line(console: "Console", text: str) -> None:
    console.print(f"  {printable(text)}", markup=False)


def _decided(document: Json) -> Iterable[str]:
    decided = document["decided"]
    cost = decided["cost_usd_micros"]
    model = f" on {decided['model']}, estimated at {format_usd(cost)}" if decided["model"] else ""
    yield f"{decided['decision']}{model}, at {decided['at'][:19]}Z; the job is {document['state']} now"
    for earlier in decided["earlier"]:
        yield f"before that: {earlier['decision']} at {earlier['at'][:19]}Z (position {earlier['position']})"


def _authority(authority: Json) -> Iterable[str]:
    yield f"{'requested by':<{WIDTH}}{_who(authority['requested_by'])}"
    policy, catalog = authority["policy"], authority["catalog"]
    activated = policy["activated"]
    since = f"activated by {_who(activated)}: {activated['why']}" if activated else "comes with the package"
    yield f"{'policy':<{WIDTH}}{_named(policy)}, {since}"
    yield f"{'catalog':<{WIDTH}}{_named(catalog)}; engine {authority['engine']}"
    yield from _people(authority["people"])


def _people(answers: Iterable[Json]) -> Iterable[str]:
    for answer in answers:
        more = f" [{answer['detail_code']}]" if "detail_code" in answer else ""
        key = f", signed with {answer['key_id']}" if "key_id" in answer else ""
        comment = f": {answer['said']}" if answer["said"] else ""
        yield f"{answer['event']}{more} by {_who(answer)}{key}{comment}"


def _who(who: Json) -> str:
    return f"{who['actor']} (identified by {who['identified_by']}) at position {who['position']}"


def _named(document: Json) -> str:
    return f"{document['name'] or 'not kept here'} ({document['sha256'][:SHOWN_OF_A_DIGEST]}…)"


def _trust(record: Json) -> Iterable[str]:
    if record["trusted"]:
        yield (
            f"yes: its {record['records_checked']} records are in the tree of {record['size']}, "
            "recomputed from the stored bytes"
        )
    for trouble in record["trouble"]:
        yield f"NO: {trouble}"
    yield f"position {record['position']}, leaf {record['leaf']}"
    yield f"root {record['root']}"
    yield "only a root kept by another party is a guarantee; check the whole ledger with: sora-ledger verify"
