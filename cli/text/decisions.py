"""Decisions in text: the ruling, the four questions, the candidates, the next commands.

A batch is shown as a live table while it runs, and as a summary at its end.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from cli.text import output
from cli.text.jobs import shorten_id, state_style
from cli.text.printable import escape
from cli.text.tables import columns, cut, fold
from decision.engine.explain import list_reasons, what_now
from decision.engine.guardrails import was_sent_to_moderation
from decision.money import format_usd, usd_digits
from decision.request.request import RenderRequest
from ledger.events import Considered, RenderDecided
from ledger.job import Job
from ledger.terms import State
from render_service.rules.measurements import is_under_way
from render_service.runtime.documents import Json, format_count
from render_service.runtime.printable import printable
from render_service.session.session import utc_now

if TYPE_CHECKING:
    from rich.console import Console, Group

    from render_service.batches.folder import BatchFolder
    from render_service.batches.item import Member, Watch
    from render_service.batches.plan import Planned
    from render_service.submission.preview import Preview


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
    for reason in list_reasons(ruling):
        _line(console, reason)
    if not isinstance(ruling, RenderDecided) and not answered:
        for step in what_now(ruling, request, job_id=job_id, draft=draft):
            console.print(f"  [bold]→[/] {escape(printable(step))}")  # may be a command to copy


def what_was_sent(*rulings: Considered) -> str:
    """Return which requests a preview sent: a policy may require moderation before the decision."""
    if any(was_sent_to_moderation(ruling.basis.inputs) for ruling in rulings):
        return "nothing was sent but the prompt, to be moderated"
    return "nothing was sent"


def show_explanation(console: "Console", document: Json) -> None:
    """Print the answers to a reviewer's four questions."""
    _question(console, "What was decided?", _describe_decisions(document))
    reasons = document["why"]
    _question(console, "Why?", reasons["reasons"])
    show_candidates(console, reasons["candidates"])
    for step in reasons["what_now"]:
        _step(console, step)
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
    for reason in (*_explain_failure(document["failure"]), *document["why"], *_people(document["people"])):
        _line(console, reason)
    console.print()
    show_candidates(console, document["candidates"])
    if document["what_now"] or document["commands"] or document["request_again"]:
        console.print("\n[bold]What now?[/]")
    for step in document["what_now"]:
        _step(console, step)
    for command in document["commands"]:
        console.print(f"    {printable(command)}", markup=False)
    if document["request_again"]:
        console.print("  with changes:")
        console.print(f"    {printable(document['request_again'])}", markup=False)


def _explain_failure(failure: Json | None) -> Iterable[str]:
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
    """Print a sentence of an answer; at the end of a terminal line it continues below, indented."""
    shown_text = printable(text)
    margin = " " * (len(shown_text) - len(shown_text.lstrip()) + 2)
    first, *further = fold(console, shown_text.lstrip(), beside=len(margin) + 2)
    console.print(margin + first, markup=False)
    for line in further:
        console.print(f"{margin}  {line}", markup=False)


def _step(console: "Console", step: str) -> None:
    """Print a next step on one line: it may be a command to copy."""
    console.print(f"  → {printable(step)}", markup=False)


def _describe_decisions(document: Json) -> Iterable[str]:
    decided = document["decided"]
    cost = decided["cost_usd_micros"]
    model = f" on {decided['model']}, estimated at {format_usd(cost)}" if decided["model"] else ""
    yield f"{decided['decision']}{model}, at {decided['at'][:19]}Z; the job is {document['state']} now"
    for earlier in decided["earlier"]:
        yield f"before that: {earlier['decision']} at {earlier['at'][:19]}Z (position {earlier['position']})"


def _authority(authority: Json) -> Iterable[str]:
    yield f"{'requested by':<{WIDTH}}{_name_person(authority['requested_by'])}"
    policy, catalog = authority["policy"], authority["catalog"]
    activated = policy["activated"]
    since = (
        f"activated by {_name_person(activated)}: {activated['why']}"
        if activated
        else "comes with the package"
    )
    yield f"{'policy':<{WIDTH}}{_name_file(policy)}, {since}"
    yield f"{'catalog':<{WIDTH}}{_name_file(catalog)}; engine {authority['engine']}"
    yield from _people(authority["people"])


def _people(answers: Iterable[Json]) -> Iterable[str]:
    for answer in answers:
        more = f" [{answer['detail_code']}]" if "detail_code" in answer else ""
        key = f", signed with {answer['key_id']}" if "key_id" in answer else ""
        comment = f": {answer['said']}" if answer["said"] else ""
        yield f"{answer['event']}{more} by {_name_person(answer)}{key}{comment}"


def _name_person(who: Json) -> str:
    return f"{who['actor']} (identified by {who['identified_by']}) at position {who['position']}"


def _name_file(document: Json) -> str:
    return f"{document['name'] or 'not kept here'} ({document['sha256'][:SHOWN_OF_A_DIGEST]}…)"


def _trust(record: Json) -> Iterable[str]:
    if record["trusted"]:
        yield (
            f"yes: its {record['records_checked']} records are in the tree of {record['size']}, "
            "recomputed from the stored bytes"
        )
    for trouble in record["trouble"]:
        yield f"NO: {trouble}"
    yield f"position {record['position']}"
    yield f"leaf {record['leaf']}"
    yield f"root {record['root']}"
    yield "only a root kept by another party is a guarantee; check the whole ledger with: sora-ledger verify"


def _narrow(console: "Console", rows: "list[tuple[str, str, str, str]]") -> "list[tuple[str, str, str, str]]":
    """Return rows whose file takes at most a quarter of a terminal, so that the reason has room."""
    if not console.is_terminal:
        return rows
    return [(line, word, cut(file, console.width // 4), reason) for line, word, file, reason in rows]


MOST_ROWS = 12
REFRESHES_PER_SECOND = 8
_DECISIONS = {"ALLOW": "allowed", "HOLD": "held", "DENY": "denied"}


@contextmanager
def progress_table(planned: "Sequence[Planned]") -> "Iterator[Watch | None]":
    """Show the progress of the batch on a terminal, all entries in order; elsewhere the log reports it."""
    if not output.shows_progress():
        yield None
        return
    from rich.live import Live

    latest: dict[int, Member] = {}

    def table() -> "Group":
        return _table(planned, dict(latest), utc_now())

    live = Live(
        get_renderable=table, console=output.console(stderr=True), refresh_per_second=REFRESHES_PER_SECOND
    )
    with live:
        live.refresh()  # the table appears while the first entries are decided

        def watch(member: "Member") -> None:
            latest[member.number] = member

        yield watch


def _table(planned: "Sequence[Planned]", members: "dict[int, Member]", now: datetime) -> "Group":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    states = Counter(_state(members.get(item.entry.number)) for item in planned)
    summary = ", ".join(f"{count} {state}" for state, count in states.items())
    left = time_left(members.values(), len(planned), now)
    title = f"{format_count(len(planned), 'entry', 'entries')}: {summary}; {left}"
    table = Table(box=None, pad_edge=False)
    for name in ("line", "state", "%", "expected"):
        table.add_column(name, no_wrap=True)
    table.add_column("file")  # the only one that may be narrowed
    for item in _select_shown(planned, members):
        file = Text(printable(str(item.entry.out)), no_wrap=True, overflow="ellipsis")
        table.add_row(*_row(item, members.get(item.entry.number)), file)
    return Group(Text(title), table)  # a title of the table would be folded where the table ends


def _select_shown(planned: "Sequence[Planned]", members: "dict[int, Member]") -> "Sequence[Planned]":
    """Return the entries that fit, in order: from the first unfinished one, the last ones at the end."""
    open_ = (index for index, item in enumerate(planned) if not _is_over(members.get(item.entry.number)))
    first = min(next(open_, len(planned)), max(len(planned) - MOST_ROWS, 0))
    return planned[first : first + MOST_ROWS]


def _is_over(member: "Member | None") -> bool:
    return member is not None and not is_under_way(member.job)


def _state(member: "Member | None") -> str:
    return "deciding" if member is None else member.job.state.value


def _row(item: "Planned", member: "Member | None") -> tuple[str, ...]:
    percent = _percent(member.job) if member else ""
    took = ""
    if member is not None and member.job.state is not State.DENIED:
        took = f"{member.expected.p50_seconds} s" if member.expected else "unknown"
    return str(item.entry.line), _state(member), percent, took


def time_left(members: "Iterable[Member]", total: int, now: datetime) -> str:
    """Return when the whole batch is expected to be done: with its slowest render; they run in parallel."""
    all_members = list(members)
    open_ = [member for member in all_members if is_under_way(member.job)]
    if len(all_members) == total and not open_:
        return "done"
    if len(all_members) < total or any(member.expected is None for member in open_):
        return "time left unknown"
    left = max(
        member.expected.p50_seconds - (now - datetime.fromisoformat(member.job.created_at)).total_seconds()
        for member in open_
        if member.expected
    )
    return f"about {max(round(left), 0)} s left" if left > 0 else "longer than usual"


def _percent(job: Job) -> str:
    return str(job.progress) if job.state is State.RUNNING and job.progress is not None else ""


def show_batch(console: "Console", members: "Sequence[Member]", folder: "BatchFolder") -> None:
    """Print every entry with its job, and the total cost; on a narrow terminal with the handle of its job."""
    rows = [
        (
            str(member.planned.entry.line),
            member.job.state.value,
            shorten_id(console, member.job.job_id),
            usd_digits(_cost(member.job)),
            str(member.planned.entry.out),
        )
        for member in members
    ]
    styles = [state_style(member.job.state) for member in members]
    columns(console, ("line", "state", "job", "USD", "file"), rows, styles, cuts=True)
    spent = sum(_cost(member.job) for member in members)
    entries = f"{format_count(len(members), 'entry', 'entries')} in {folder.path}"
    console.print(f"{entries}, {format_usd(spent)} settled or reserved", markup=False)
    following = sum(len(member.planned.following) for member in members if member.job.outcome is None)
    if following:
        console.print(
            f"{format_count(following, 'remix', 'remixes')} to follow, one by one; none is decided yet"
        )
    states = {member.job.state for member in members}
    if State.RUNNING in states:
        console.print("next: the same command with --resume --poll waits and keeps their videos")
    elif State.DECIDED in states:
        itself = "" if following else ", or the same with --resume, not --queue"
        console.print(f"next: a worker submits them (sora-ledger worker){itself}")


def _cost(job: Job) -> int:
    return job.settled_usd_micros if job.settled_usd_micros is not None else job.reserved_usd_micros


def show_preview(console: "Console", previews: "Sequence[tuple[Planned, Preview]]", cost: int) -> None:
    """Print the decision for each entry, and the cost of all that would be allowed."""
    rows = [
        (
            str(planned.entry.line),
            _DECISIONS[preview.ruling.decision],
            str(planned.entry.out) if planned.is_whole else printable(planned.request.prompt),
            list_reasons(preview.ruling)[0],
        )
        for planned, preview in previews
    ]
    columns(console, ("line", "decision", "file", "because"), _narrow(console, rows), cuts=True)
    for planned, preview in previews:
        if not isinstance(preview.ruling, RenderDecided):
            _line(console, f"line {planned.entry.line}: {'; '.join(list_reasons(preview.ruling))}")
            for step in what_now(preview.ruling, planned.request):
                _step(console, step)
    tally = Counter(_DECISIONS[preview.ruling.decision] for _, preview in previews)
    words = ", ".join(f"{tally[word]} {word}" for word in _DECISIONS.values() if tally[word])
    count = len({planned.entry.number for planned, _ in previews})
    renders = f", {len(previews)} renders" if count < len(previews) else ""
    console.print(f"{format_count(count, 'entry', 'entries')}{renders}: {words}; {format_usd(cost)} in total")
    sent = what_was_sent(*(preview.ruling for _, preview in previews))
    console.print(f"dry run: nothing was recorded, {sent}")
