"""The family of a video: its sources, the videos made from it, and the changes of each step.

Only displayed jobs are read, so a video with a thousand remixes costs little more than one with ten. Jobs
that the reader may not see are left out, with everything made from them. Reads only.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from ledger.events import RenderDenied, RenderRequested
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.store.filters import RecordFilter
from ledger.terms import Operation
from render_service.reports.jobs import find_derived, source_job
from render_service.runtime.printable import shorten
from render_service.session.history import JobHistory

FAN = 6
"""Maximum children of one job that are shown: the newest."""

MOST_COUNTED = 500
"""Maximum children of one job that are counted; beyond this there are "more than"."""

MOST_MEMBERS = 40
BEGINNING = 3
"""Number of first records of a job that have its request, a signature of it, and the first decision."""

LONGEST_READ = 2_000
"""Characters of a prompt that are searched for the words of a change."""

MOST_WORDS = 80


@dataclass(frozen=True)
class Step:
    """A job's difference from its source: the operation, and the aspects and words of the change.

    `operation` is ``remix``, ``edit``, ``extend``, ``final`` for the final render of a draft, or ``adopted``.
    `words` are the requester's, None if they were erased or none are known.
    """

    operation: str
    aspects: tuple[str, ...] = ()
    words: str | None = None
    erased: bool = False

    @property
    def label(self) -> str:
        """The step in one line."""
        what = ", ".join(self.aspects) or self.operation
        if self.words:
            return f"{what}: {self.words}"
        return f"{what} (erased)" if self.erased else what


@dataclass(frozen=True)
class Member:
    """A job of a family; `source` is its source among the members, with the `step` that led from there.

    `more` children of it are not shown. `hidden_source` is true if its source is not a member.
    """

    job: Job
    source: str | None = None
    step: Step | None = None
    more: int = 0
    hidden_source: bool = False


@dataclass(frozen=True)
class Family:
    """The members around one job, sources before what was made from them; `is_cut` if some were left out."""

    job_id: str
    members: tuple[Member, ...]
    is_cut: bool = False

    @property
    def is_alone(self) -> bool:
        """Whether the job has neither a source nor children."""
        return len(self.members) == 1 and not self.members[0].more and not self.members[0].hidden_source


def read_family(
    ledger: Ledger, job: Job, may_see: Callable[[Job], bool], *, fan: int = FAN, most: int = MOST_MEMBERS
) -> Family:
    """Return the family of `job` as far as `may_see` allows; up to `fan` children of each, `most` in all."""
    above, has_hidden_source = _ancestors(ledger, job, may_see, most - 1)
    line = [*above, job]
    members = [Member(line[0], hidden_source=has_hidden_source)]
    members += [Member(child, source.job_id, step_of(ledger, child)) for source, child in pairwise(line)]
    below, is_cut = _descendants(ledger, members[-1], may_see, fan, most - len(members) + 1)
    return Family(job.job_id, (*members[:-1], *below), is_cut or len(above) == most - 1)


def _ancestors(ledger: Ledger, job: Job, may_see: Callable[[Job], bool], most: int) -> tuple[list[Job], bool]:
    """Return the visible sources of `job`, oldest first, and whether the oldest has another source."""
    line = [job]
    source = source_job(ledger, job)
    while source and may_see(source) and source not in line and len(line) <= most:
        line.append(source)
        source = source_job(ledger, source)
    has_more = line[-1].source_job is not None or line[-1].remix_video_id is not None
    return line[:0:-1], has_more


def _descendants(
    ledger: Ledger, root: Member, may_see: Callable[[Job], bool], fan: int, most: int
) -> tuple[list[Member], bool]:
    """Return `root` and what was made from it, depth first; and whether some were left out."""
    descendants: list[Member] = []
    waiting = [root]  # popped from the end
    known = {root.job.job_id}
    while waiting and len(descendants) < most:
        member = waiting.pop()
        made = find_derived(ledger, member.job, MOST_COUNTED + 1)
        children = [child for child in made if child.job_id not in known and may_see(child)]
        shown = children[-fan:]
        descendants.append(replace(member, more=len(children) - len(shown)))
        known |= {child.job_id for child in shown}
        waiting += [Member(child, member.job.job_id, step_of(ledger, child)) for child in reversed(shown)]
    return descendants, bool(waiting)


def step_of(ledger: Ledger, job: Job) -> Step:
    """Return the recorded changes of `job` to its source."""
    beginning = ledger.read(RecordFilter(stream=job.job_id), limit=BEGINNING)
    history = JobHistory(list(beginning))
    request = history.requested
    if request is None:
        return Step("adopted")
    if request.operation is Operation.CREATE:
        return Step("final", words=_differences(job))
    if request.operation is Operation.EXTEND:
        return Step("extend", words=f"to {request.seconds} s")
    aspects = _aspects(history)
    words = _words(request, aspects)
    return Step(request.operation.value, aspects, words, erased=words is None)


def _differences(job: Job) -> str:
    length = f"{job.seconds} s" if job.seconds else None
    return ", ".join(filter(None, (job.model or job.requested_model, job.size, length)))


def _aspects(history: JobHistory) -> tuple[str, ...]:
    """Return the aspects found in the prompt at the decision."""
    if history.decision is None:
        return ()
    ruling = history.decision.event
    if isinstance(ruling, RenderDenied) and ruling.denial_trace.changes:
        return tuple(dict.fromkeys(change.aspect for change in ruling.denial_trace.changes))
    recorded = str(ruling.basis.inputs.get("change_aspects") or "")
    return tuple(pair.partition(":")[0] for pair in recorded.split(",") if pair)


def _words(request: RenderRequested, aspects: tuple[str, ...]) -> str | None:
    """Return the words of the change, or else the beginning of the prompt; None if erased."""
    prompt = request.prompt.text
    if prompt is None:
        return None
    fields = {name: field.text for name, field in request.fields.items()}
    if len(prompt) <= LONGEST_READ:
        from decision.one_change.verdict import check_remix  # noqa: PLC0415  # loads the rules: only here

        changes = check_remix(prompt, {name: text or "" for name, text in fields.items()}).changes
        spans = [change for change in changes if change.end and change.aspect in aspects]
        if spans:
            return shorten("; ".join(prompt[change.start : change.end] for change in spans), MOST_WORDS)
        in_fields = [text for name in aspects if (text := fields.get(name))]
        if in_fields:
            return shorten("; ".join(in_fields), MOST_WORDS)
    return shorten(prompt, MOST_WORDS)


def steps_between(
    ledger: Ledger, source: Job, job: Job, may_see: Callable[[Job], bool], most: int = MOST_MEMBERS
) -> list[Step] | None:
    """Return the steps from `source` to `job`; None if no visible steps lead there."""
    above, _ = _ancestors(ledger, job, may_see, most)
    names = [ancestor.job_id for ancestor in above]
    if source.job_id not in names:
        return None
    return [step_of(ledger, child) for child in [*above, job][names.index(source.job_id) + 1 :]]
