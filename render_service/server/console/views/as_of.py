"""The jobs as of a position of the log, or a time: how many were in each state, and which.

It is what `sora-ledger replay --as-of` shows, of the jobs that the person may see.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from ledger.log.ledger import Ledger
from ledger.log.replay import AsOf, JobThen, position_at
from ledger.store.filters import RecordFilter
from ledger.terms import State
from render_service.runtime.errors import BadInput
from render_service.server.console.pages import Page, View, Visit
from render_service.server.console.views.log import moment_in, position_in
from render_service.server.console.views.waiting import prompt_of

PATH = "/operations/as-of"
ROWS = 50


class JobRow(View):
    """A job as it was; `state_now` is what became of it, and `title` its prompt, None once it is erased."""

    job_id: str
    title: str | None
    state: str
    state_now: str
    requester: str
    changed_at: str
    position: int


class AsOfView(View):
    """The page; `older` is the query of the rest of the list, `recorded_at` the time of the position."""

    position: int
    size: int
    recorded_at: str | None
    states: Mapping[str, int]
    state: str | None
    jobs: tuple[JobRow, ...]
    older: str | None

    @property
    def total(self) -> int:
        """How many jobs there were."""
        return sum(self.states.values())


def read(visit: Visit) -> AsOfView:
    """Read the jobs as of the position or the time in the address; the end of the log without either."""
    ledger = visit.session.ledger
    size = ledger.head().size
    position = _position(visit, ledger, size)
    state, before = _state(visit), position_in(visit, "before")
    then = AsOf(ledger, position, visit.caller.sees)
    jobs = then.newest(ROWS + 1, state=state, before=before)
    shown = jobs[:ROWS]
    chosen = {"position": position} | ({"state": state.value} if state else {})
    here = ledger.newest(RecordFilter(), before=position + 1, limit=1)
    return AsOfView(
        position=position,
        size=size,
        recorded_at=here[0].recorded_at if here else None,
        states={each.value: then.states[each] for each in State if then.states.get(each)},
        state=state,
        jobs=tuple(_row(visit, row) for row in shown),
        older=urlencode(chosen | {"before": shown[-1].began}) if len(jobs) > ROWS else None,
    )


def _position(visit: Visit, ledger: Ledger, size: int) -> int:
    if (moment := moment_in(visit, "time")) is not None:
        return min(position_at(ledger, moment), size)
    position = position_in(visit, "position")
    if position is None:
        return size
    if position > size:
        raise BadInput(f"position: expected at most {size:,}, the end of the log; found {position:,}")
    return position


def _state(visit: Visit) -> State | None:
    text = visit.query("state")
    if text is None:
        return None
    try:
        return State(text)
    except ValueError:
        raise BadInput(f"state: {text[:40]!r} is not the state of a job") from None


def _row(visit: Visit, then: JobThen) -> JobRow:
    job = then.job
    now = visit.session.ledger.store.job(job.job_id)
    return JobRow(
        job_id=job.job_id,
        title=prompt_of(visit.session, job),
        state=job.state,
        state_now=now.state if now else job.state,
        requester=job.actor,
        changed_at=job.updated_at,
        position=job.position,
    )


def rows(view: AsOfView) -> Sequence[Mapping[str, object]]:
    """Return the jobs of the list."""
    return [job.model_dump() for job in view.jobs]


PAGE = Page(PATH, "Jobs as of a position", "as_of.html", read, rows=rows, menu=False)
