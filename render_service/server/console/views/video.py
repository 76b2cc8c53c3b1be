"""A video's page: the files to play, the job's state, the reasons for its decision, and its records."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from decision.rules.roles import Permission
from ledger.events import RenderAdopted, RenderRequested
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.terms import State
from render_service.adoption.server_library import DELETABLE
from render_service.reports.answers import HOW
from render_service.reports.explain import explain
from render_service.reports.lineage import FAN, MOST_WORDS, Member, Step, read_family
from render_service.runtime.errors import NotReady
from render_service.runtime.printable import shorten
from render_service.server.console import charts
from render_service.server.console.jobs import find_job
from render_service.server.console.pages import PREFIX, Page, View, Visit
from render_service.server.console.rendering import STATES, usd
from render_service.server.console.views.video_files import File, Media, files, media
from render_service.server.console.views.video_next import Expected, Next, expected, is_final, next_of
from render_service.server.console.views.video_parts import (
    Answered,
    Cost,
    EventLine,
    PrivateText,
    Reviewed,
    answered,
    cost,
    private,
    reviewed,
    timeline,
)
from render_service.session.event_ids import public_id
from render_service.session.history import JobHistory
from render_service.session.splits import find_split_progress
from render_service.settlement.overdue import CAN_BE_GIVEN_UP
from render_service.submission.resume import WITHDRAWABLE


class Relative(View):
    """A job of the family; `source` is its source job, `change` and `words` describe the change.

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
        """The change, in one line."""
        return Step(self.operation or "", self.aspects, self.words, self.erased).label


def drawing(job_id: str, family: Sequence[Relative], *, has_hidden_source: bool) -> Markup:
    """Return the family of a job as a drawing."""
    places = {member.job_id: index for index, member in enumerate(family)}
    nodes = [_node(job_id, member, places) for member in family]
    above = "made from a video not shown here" if has_hidden_source else None
    return charts.lineage(nodes, "What this video was made from, and what was made from it", above)


def _node(job_id: str, member: Relative, places: Mapping[str, int]) -> charts.Node:
    state, kind = STATES[member.state]
    is_current = member.job_id == job_id
    shape = " · ".join(
        filter(None, (member.model, member.size, f"{member.seconds} s" if member.seconds else None))
    )
    price = "" if member.cost_usd_micros is None else f", {usd(member.cost_usd_micros)}"
    words = f"{shape}{price}" if member.source else f"“{member.words}”" if member.words else shape
    return charts.Node(
        words=f"This video: {words}" if is_current else words,
        href=None if is_current else f"{PREFIX}/videos/{member.job_id}",
        kind=kind,
        state=state,
        source=places[member.source] if member.source else None,
        edge=member.change,
        more=f"{member.more:,} more made from it" if member.more else None,
        more_href=f"{PREFIX}/videos/{job_id}?family=all#family" if member.more else None,
        is_current=is_current,
    )


def relative(ledger: Ledger, member: Member) -> Relative:
    """Return a member of a family in the page's format."""
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
    return shorten(text, MOST_WORDS) if text else None


LONGEST_TITLE = 90
WHOLE_FAN = 200
"""Number of a job's children that are shown if all are requested."""

EVERYTHING = 600
REMIXABLE = (State.COMPLETED, State.STORED)


class SplitOnPage(View):
    """Progress of a split remix; `job_id` is the current remix, if that is another job."""

    words: str
    job_id: str | None


class Standing(View):
    """The part of the page that changes while a job is in progress."""

    job_id: str
    version: int
    state: State
    is_final: bool
    progress: int | None
    next: Next
    expected: Expected | None
    split: SplitOnPage | None


class Offer(View):
    """The actions that this person can take on the job now."""

    remix: bool
    cancel: bool
    delete: bool
    resume: bool
    give_up: bool
    fetch: bool
    approve: bool
    review: bool


class VideoView(View):
    """One video: the request, the decision, the record, and the files.

    `prompt` is the requester's text and `sent_prompt` the sent text, if that differs; both contain null if
    erased. `explanation` is the document of ``sora-ledger explain``, or null for a video made by another
    tool.
    """

    job_id: str
    public_id: str
    video_id: str | None
    title: str
    operation: str
    actor: str
    identified_by: str
    created_at: str
    closed_at: str | None
    purpose: str | None
    team: str | None
    project: str | None
    profile: str | None
    server: str | None
    model: str | None
    requested_model: str | None
    size: str | None
    seconds: int | None
    attested: bool | None
    max_cost_usd_micros: int | None
    prompt: PrivateText | None
    sent_prompt: PrivateText | None
    fields: dict[str, PrivateText]
    options: dict[str, str]
    source: str | None
    verdict: str | None
    standing: Standing
    media: Media
    explanation: dict[str, Any] | None
    unexplained: str | None
    timeline: tuple[EventLine, ...]
    cost: Cost
    family: tuple[Relative, ...]
    family_is_cut: bool
    has_hidden_source: bool
    files: tuple[File, ...]
    answers: tuple[Answered, ...]
    reviews: tuple[Reviewed, ...]
    offer: Offer

    def children(self, source: str | None) -> list[Relative]:
        """Return the members of the family made from `source`; for None, the first member."""
        return [member for member in self.family if member.source == source]

    def drawing(self) -> Markup:
        """Return the family as a drawing."""
        return drawing(self.job_id, self.family, has_hidden_source=self.has_hidden_source)

    def how(self, identified_by: str) -> str:
        """Return how a person was identified, in words."""
        return HOW.get(identified_by, identified_by)


def read_video(visit: Visit) -> VideoView:
    """Return the page of one video; `NotHere` for one that this person may not see."""
    ledger = visit.session.ledger
    job = find_job(visit, visit.part("name"))
    history = JobHistory.of(ledger, job)
    request, adopted = history.requested, history.adopted
    document, unexplained = _explained(ledger, job)
    whole = visit.query("family") == "all"
    family = read_family(
        ledger, job, visit.may_see, fan=WHOLE_FAN if whole else FAN, **({"most": EVERYTHING} if whole else {})
    )
    made = files(job, history)
    place = list(family.members)
    own = next(member for member in place if member.job.job_id == job.job_id)
    return VideoView(
        **_named(job, history, request or adopted),
        **_request_fields(request, adopted),
        source=own.source,
        standing=_standing(visit, job, history),
        media=media(job, history, made),
        explanation=document,
        unexplained=unexplained,
        timeline=timeline(visit, history),
        cost=cost(job, history),
        family=() if family.is_alone else tuple(relative(ledger, neighbour) for neighbour in place),
        family_is_cut=family.is_cut,
        has_hidden_source=place[0].hidden_source,
        files=made,
        answers=answered(visit, history),
        reviews=reviewed(history),
        offer=_offer(visit, job),
    )


def read_standing(visit: Visit) -> Standing:
    """Return a job's state: the part that its page polls until the job has ended."""
    job = find_job(visit, visit.part("name"))
    return _standing(visit, job, JobHistory.of(visit.session.ledger, job))


def _standing(visit: Visit, job: Job, history: JobHistory) -> Standing:
    return Standing(
        job_id=job.job_id,
        version=job.version,
        state=job.state,
        is_final=is_final(job),
        progress=job.progress if job.state is State.RUNNING else None,
        next=next_of(visit, job, history),
        expected=expected(visit, job),
        split=_split(visit, job),
    )


def _split(visit: Visit, job: Job) -> SplitOnPage | None:
    standing = find_split_progress(visit.session.ledger, job)
    if standing is None:
        return None
    other = None if standing.job_id == job.job_id else standing.job_id
    return SplitOnPage(words=standing.sentence, job_id=other)


def _explained(ledger: Ledger, job: Job) -> tuple[dict[str, Any] | None, str | None]:
    try:
        return explain(ledger, job.job_id).document, None
    except NotReady:
        return None, "Another tool made this video, so there was no decision to explain."


def _named(job: Job, history: JobHistory, began: RenderRequested | RenderAdopted | None) -> dict[str, Any]:
    prompt = began.prompt.text if began and began.prompt else None
    return {
        "job_id": job.job_id,
        "public_id": public_id(job.job_id),
        "video_id": job.video_id,
        "title": shorten(prompt, LONGEST_TITLE) if prompt else f"Video {job.job_id[-8:]}",
        "operation": job.operation.value if job.operation else "adopted",
        "actor": job.actor,
        "identified_by": history.first.envelope.actor_source,
        "created_at": job.created_at,
        "closed_at": job.closed_at,
        "purpose": job.purpose,
        "team": job.team,
        "project": job.project,
        "profile": job.profile,
        "server": history.server,
        "model": job.model,
        "requested_model": job.requested_model,
        "size": job.size,
        "seconds": job.seconds,
        "verdict": job.verdict,
    }


def _request_fields(request: RenderRequested | None, adopted: RenderAdopted | None) -> dict[str, Any]:
    if request is None:
        return {
            "attested": None,
            "max_cost_usd_micros": None,
            "prompt": private(adopted.prompt) if adopted else None,
            "sent_prompt": None,
            "fields": {},
            "options": {},
        }
    listed = {
        "characters": ", ".join(request.character_ids),
        "file of the server": request.reference_file_id or "",
        **{name: str(value) for name, value in request.options.items()},
    }
    return {
        "attested": request.attested,
        "max_cost_usd_micros": request.max_cost_usd_micros,
        "prompt": private(request.prompt),
        "sent_prompt": private(request.augmented_prompt),
        "fields": {name: PrivateText(text=text.text) for name, text in request.fields.items()},
        "options": {name: value for name, value in listed.items() if value},
    }


def _offer(visit: Visit, job: Job) -> Offer:
    requests, is_open = visit.may(Permission.REQUEST), job.outcome is None
    return Offer(
        remix=requests and job.state in REMIXABLE and job.video_id is not None,
        cancel=requests and is_open and job.state in WITHDRAWABLE,
        delete=requests
        and job.state in DELETABLE
        and job.state is not State.RUNNING
        and job.video_id is not None,
        resume=requests and is_open and job.state in {State.REJECTED, State.ABSENT},
        give_up=visit.may(Permission.OPERATE) and is_open and job.state in CAN_BE_GIVEN_UP,
        fetch=job.state in REMIXABLE and job.video_id is not None,
        approve=visit.may(Permission.APPROVE) and is_open and job.state in {State.HELD, State.APPROVED},
        review=visit.may(Permission.REVIEW) and job.state in {State.COMPLETED, State.STORED, State.DELETED},
    )


PAGES = (
    Page(path="/videos/{name}", title="Video", template="video.html", read=read_video, menu=False),
    Page(
        path="/videos/{name}/state",
        title="Where it stands",
        template="video_standing.html",
        read=read_standing,
        menu=False,
    ),
)
