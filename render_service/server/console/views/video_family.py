"""The family of a video on its page: its members, and their drawing."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.terms import State
from render_service.reports.lineage import MOST_WORDS, Member, Step
from render_service.runtime.printable import short
from render_service.server.console import charts
from render_service.server.console.pages import PREFIX, View
from render_service.server.console.rendering import STATES, usd
from render_service.session.history import JobHistory


class Relative(View):
    """A job of the family; `source` is the job it was made from, `change` and `words` say what it changed.

    `more` jobs made from it are not shown.
    """

    job_id: str
    source: str | None
    operation: str | None
    aspects: tuple[str, ...]
    words: str | None
    erased: bool
    state: State
    model: str | None
    size: str | None
    seconds: int | None
    cost_usd_micros: int | None
    created_at: str
    more: int

    @property
    def change(self) -> str:
        """What it changed, in one line."""
        return Step(self.operation or "", self.aspects, self.words, self.erased).label


def drawing(job_id: str, family: Sequence[Relative], *, has_hidden_source: bool) -> Markup:
    """Return the family of a job as a drawing."""
    places = {one.job_id: index for index, one in enumerate(family)}
    nodes = [_node(job_id, one, places) for one in family]
    above = "made from a video that is not shown" if has_hidden_source else None
    return charts.lineage(nodes, "What this video was made from, and what was made from it", above)


def _node(job_id: str, one: Relative, places: Mapping[str, int]) -> charts.Node:
    state, kind = STATES[one.state]
    is_current = one.job_id == job_id
    shape = " · ".join(filter(None, (one.model, one.size, f"{one.seconds} s" if one.seconds else None)))
    price = "" if one.cost_usd_micros is None else f", {usd(one.cost_usd_micros)}"
    words = f"{shape}{price}" if one.source else f"“{one.words}”" if one.words else shape
    return charts.Node(
        words=f"This video: {words}" if is_current else words,
        href=None if is_current else f"{PREFIX}/videos/{one.job_id}",
        kind=kind,
        state=state,
        source=places[one.source] if one.source else None,
        edge=one.change,
        more=f"{one.more:,} more made from it" if one.more else None,
        more_href=f"{PREFIX}/videos/{job_id}?family=all#family" if one.more else None,
        is_current=is_current,
    )


def relative(ledger: Ledger, member: Member) -> Relative:
    """Return a member of a family as the page shows it."""
    job, step = member.job, member.step or Step("", words=_title(ledger, member.job))
    settled = job.settled_usd_micros
    return Relative(
        job_id=job.job_id,
        source=member.source,
        operation=step.operation or None,
        aspects=step.aspects,
        words=step.words,
        erased=step.erased,
        state=job.state,
        model=job.model or job.requested_model,
        size=job.size,
        seconds=job.seconds,
        cost_usd_micros=settled if settled is not None else job.reserved_usd_micros or None,
        created_at=job.created_at,
        more=member.more,
    )


def _title(ledger: Ledger, job: Job) -> str | None:
    """Return the beginning of the prompt of the first job of a family; None if it was erased."""
    began = JobHistory.of(ledger, job)
    first = began.requested or began.adopted
    text = first.prompt.text if first and first.prompt else None
    return short(text, MOST_WORDS) if text else None
