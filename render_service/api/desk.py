"""`RenderDesk`, the Python API for async programs."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, Unpack

from decision.advice.reading import missing_details
from decision.engine.explain import list_reasons, what_now
from decision.errors import DecisionError
from decision.request.attachments import SERVER_OPTIONS, SEVERAL_IMAGES
from decision.request.request import RenderRequest, parse_request
from ledger.errors import JobNotFound
from ledger.events import RenderDecided, RenderHeld
from ledger.job import JOB_PREFIX, Job
from ledger.record import Record
from ledger.store.filters import JobFilter
from ledger.terms import State, Variant
from render_service.adoption.adopt import adopt
from render_service.adoption.characters import KnownCharacter, check_film, create_character
from render_service.adoption.external import record_external
from render_service.adoption.server_library import delete
from render_service.api.sessions import open_session
from render_service.api.values import (
    ChangeOptions,
    CreateOptions,
    Decided,
    LedgerEvent,
    Spend,
    VideoPage,
    usd,
    usd_micros,
)
from render_service.approvals.approvals import approve
from render_service.approvals.reviews import Verdict, review
from render_service.assets.fit import first_frame
from render_service.assets.inputs import NOTHING, Material, read_source_file
from render_service.assets.store import check_target
from render_service.evidence.keys import read_signer
from render_service.recovery.attempts import GRACE_S
from render_service.recovery.reconcile import reconcile_job
from render_service.recovery.verdict import Settlement
from render_service.reports.find import find_each
from render_service.reports.spending import Grouping, spending
from render_service.rules.measurements import Duration
from render_service.rules.policies import Rules
from render_service.runtime.errors import BadInput, ServiceError
from render_service.runtime.settings import read_settings
from render_service.runtime.telemetry import Log, begin_trace
from render_service.session.session import Session
from render_service.settlement.settle import fetch, settle
from render_service.submission.preview import ruling_on
from render_service.submission.result import Placed, Shortfall, denial, shortfall, submission_trouble
from render_service.submission.resume import cancel, resume
from render_service.submission.retry import Patience
from render_service.submission.sources import source_ahead, source_of
from render_service.submission.submit import place

SUBMITTED = (
    State.RUNNING,
    State.COMPLETED,
    State.STORED,
    State.FAILED,
    State.LOST,
    State.ABANDONED,
    State.DELETED,
)
INTERVAL_S = 10.0
TIMEOUT_S = 1_800.0
EVENTS_S = 1.0
EVENTS_AT_ONCE = 500


class NotSubmitted(ServiceError):
    """The job was denied, held or refused, or the answer was lost; the message says why and what to do."""

    def __init__(self, message: str, job: Job, lacks: Shortfall) -> None:
        super().__init__(message, param=lacks.param, expected=lacks.expected, found=lacks.found)
        self.job = job
        self.commands = lacks.commands


class RenderDesk:
    """A ledger and a server for async programs; use as ``async with RenderDesk(…) as desk``.

    Arguments that are None come from the environment and ``.env``, as on the command line
    (`render_service.runtime.settings`). A missing ledger is created.
    """

    def __init__(
        self,
        *,
        ledger: str | None = None,
        profile: str | None = None,
        actor: str | None = None,
        team: str | None = None,
        project: str | None = None,
    ) -> None:
        self._settings = read_settings(
            ledger=ledger, profile=profile, actor=actor, team=team, project=project
        )
        self._trace = begin_trace()
        self._opened: Session | None = None

    async def __aenter__(self) -> Self:
        log = Log(self._trace, quiet=True)
        self._opened = await asyncio.to_thread(open_session, self._settings, self._trace, log)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def create(self, prompt: str, **options: Unpack[CreateOptions]) -> Job:
        """Decide, record and submit a render; return the running job, or raise `NotSubmitted`."""
        return await self._create(prompt, Patience(), options)

    async def create_and_poll(
        self,
        prompt: str,
        *,
        poll_interval_s: float = INTERVAL_S,
        timeout_s: float = TIMEOUT_S,
        **options: Unpack[CreateOptions],
    ) -> Job:
        """Create a render, wait for it, and store the video; `PollTimeout` after `timeout_s` seconds.

        A failed render does not raise: the returned job has the `state` ``failed``.
        """
        job = await self._create(prompt, Patience(timeout_s=timeout_s), options)
        return await settle(self._session, job, interval_s=poll_interval_s, timeout_s=timeout_s)

    async def remix(self, name: str, prompt: str, **options: Unpack[ChangeOptions]) -> Job:
        """Change exactly one thing in a finished video; return the running job, or raise `NotSubmitted`."""
        return await self._change("remix", name, prompt, options)

    async def edit(self, name: str, prompt: str, **options: Unpack[ChangeOptions]) -> Job:
        """Change several things in a finished video; return the running job, or raise `NotSubmitted`."""
        return await self._change("edit", name, prompt, options)

    async def extend(
        self, name: str, prompt: str, *, seconds: str | int, **options: Unpack[ChangeOptions]
    ) -> Job:
        """Add seconds to the end of a finished video; return the running job, or raise `NotSubmitted`."""
        return await self._change("extend", name, prompt, options, seconds=seconds)

    async def create_character(self, name: str, video: Path | str) -> KnownCharacter:
        """Create a character from a short video; it costs nothing, and is attempted once."""
        path = Path(video)
        film = await asyncio.to_thread(read_source_file, path)
        await asyncio.to_thread(check_film, film)
        return await create_character(self._session, name, film, path)

    async def decide(
        self,
        prompt: str,
        *,
        operation: Literal["create", "remix", "edit", "extend"] = "create",
        job: str | None = None,
        **options: Unpack[CreateOptions],
    ) -> Decided:
        """Return the decision on a request without recording or sending anything.

        A remix, an edit or an extension names the `job` whose video it changes.
        """
        session = self._session
        values, _ = await self._values(options)
        values |= {"operation": operation, "prompt": prompt}
        if operation != "create":
            if job is None:
                raise BadInput(
                    f"job must be the job whose video is changed by {operation}, found None",
                    param="job",
                    expected=f"the job whose video is changed by {operation}",
                    found="None",
                )
            name = (await self.job(job)).job_id
            source = await asyncio.to_thread(source_ahead, session.ledger, name)
            values |= {"source": source[0], "profile": source[1]}
        return await asyncio.to_thread(_decided, session, values)

    async def resume(self, name: str) -> Job:
        """Submit an approved or queued job; return the running job.

        `NotReady` if it cannot be submitted (any more), `NotSubmitted` if the server does not accept it.
        """
        placed = await resume(self._session, await self._session.job(name))
        if placed.job.state not in SUBMITTED:
            raise await asyncio.to_thread(_not_submitted, self._session, placed)
        return placed.job

    async def reconcile(self, name: str, *, grace_s: float = GRACE_S) -> Settlement:
        """Determine the outcome of a submission whose answer was lost; nothing is submitted again.

        The result has the `verdict`, the updated `job`, and the `commands` that can resolve an open case.
        """
        return await reconcile_job(self._session, await self._session.job(name), grace_s=grace_s)

    async def poll(
        self, name: str, *, poll_interval_s: float = INTERVAL_S, timeout_s: float = TIMEOUT_S
    ) -> Job:
        """Wait for an existing job, and store its video."""
        job = await self.job(name)
        return await settle(self._session, job, interval_s=poll_interval_s, timeout_s=timeout_s)

    async def wait_many(
        self,
        names: Iterable[str],
        *,
        poll_interval_s: float = INTERVAL_S,
        timeout_s: float = TIMEOUT_S,
    ) -> Sequence[Job]:
        """Wait for several jobs at the same time, and store their videos; they are returned in that order.

        `PollTimeout` names the first job that took longer; the other renders are still waited for.
        """
        waits = (self.poll(name, poll_interval_s=poll_interval_s, timeout_s=timeout_s) for name in names)
        ended = await asyncio.gather(*waits, return_exceptions=True)
        failed = [outcome for outcome in ended if isinstance(outcome, BaseException)]
        if failed:
            raise failed[0]
        return [outcome for outcome in ended if isinstance(outcome, Job)]

    async def find(
        self,
        words: str | None = None,
        *,
        states: Sequence[State] | None = None,
        purpose: str | None = None,
        limit: int = 20,
    ) -> Sequence[Job]:
        """Return jobs, newest first: those whose prompts have all `words`, in one of these states."""
        where = JobFilter(states=None if states is None else tuple(states), purpose=purpose)
        ledger = self._session.ledger

        def found() -> Sequence[Job]:
            if words is None:
                return list(ledger.iterate_jobs(where, limit))
            return [match.job for match in find_each(ledger, words, where, limit)]

        return await asyncio.to_thread(found)

    async def events(
        self, after: int = 0, *, follow: bool = True, poll_interval_s: float = EVENTS_S
    ) -> AsyncIterator[LedgerEvent]:
        """Yield the records of the ledger after position `after`, and those that follow.

        Remember the `position` of the last event handled, and continue after it in another run. Without
        `follow` the iterator ends with the newest record.
        """
        ledger = self._session.ledger

        def read(after: int) -> list[Record]:
            return list(ledger.read(after=after, limit=EVENTS_AT_ONCE))

        while True:
            records = await asyncio.to_thread(read, after)
            for record in records:
                after = record.position
                yield LedgerEvent.of(record)
            if records:
                continue
            if not follow:
                return
            await asyncio.sleep(poll_interval_s)

    async def review(
        self,
        name: str,
        verdict: Verdict,
        *,
        scores: Mapping[str, int] | None = None,
        notes: str | None = None,
    ) -> Job:
        """Record a review of a finished video; `scores` from 0 to 100 are clarity, continuity, brand_fit."""
        return await review(self._session, await self.job(name), verdict, scores, notes)

    async def approve(self, name: str, *, comment: str | None = None, key: Path | str | None = None) -> Job:
        """Approve a held job, signed with the key in a file if given; `resume` submits it.

        `BadInput` if this person may not approve it, `NotReady` if it is not held; nothing is recorded then.
        """
        signer = None if key is None else await asyncio.to_thread(read_signer, Path(key))
        return (await approve(self._session, await self._session.job(name), comment, signer)).job

    async def cancel(self, name: str, *, reason: str | None = None) -> Job:
        """Withdraw a job that was not sent; its money is released."""
        return await cancel(self._session, await self._session.job(name), reason)

    async def spend(
        self,
        by: Literal["model", "purpose", "actor", "team", "day", "budget"] = "model",
        *,
        since: str | None = None,
    ) -> Spend:
        """Return the money spent since `since` (RFC 3339, UTC), and the remainder of each budget."""
        session = self._session
        report = await asyncio.to_thread(spending, session.ledger, Grouping(by), session.clock(), since)
        return Spend.of(report)

    async def job(self, name: str) -> Job:
        """Return a job by job id or video id; a video that only the server knows is adopted."""
        try:
            return await self._session.job(name)
        except JobNotFound:
            if name.startswith(JOB_PREFIX):
                raise
            return (await adopt(self._session, name))[0]

    async def expected(self, name: str) -> Duration | None:
        """Return how long the render of a job is expected to take from its request; None if unknown.

        Half of the renders of its model, size and length at its server took at most ``p50_seconds``.
        """
        session = self._session
        return await asyncio.to_thread(session.measuring.expected_of, await self.job(name), session.clock())

    async def download(
        self,
        name: str,
        *,
        variant: Literal["video", "thumbnail", "spritesheet"] = "video",
        to: Path | str | None = None,
        force: bool = False,
    ) -> bytes:
        """Store and verify a completed video and return its bytes; also write them to `to`, if given."""
        if to is not None:
            check_target(Path(to), force=force)
        job = await fetch(self._session, await self.job(name), Variant(variant))
        uri = job.assets[Variant(variant)].storage_uri
        if to is not None:
            await asyncio.to_thread(self._session.assets.copy_out, uri, Path(to), force=force)
        return await asyncio.to_thread(self._session.assets.read, uri)

    async def list(
        self, *, limit: int = 20, after: str | None = None, order: Literal["asc", "desc"] = "desc"
    ) -> VideoPage:
        """Return one page of the server's videos."""
        async with self._session.connect(self._session.profile()) as client:
            return VideoPage.of(await client.list(limit=limit, after=after, order=order))

    async def delete(self, name: str, *, reason: str | None = None) -> Job:
        """Delete a video on the server; its records and its stored file are not touched."""
        return await delete(self._session, await self.job(name), reason)

    async def record(
        self, stream: str, fact: Mapping[str, Any], *, event_id: str | None = None
    ) -> LedgerEvent:
        """Record a fact of another system, such as ``{"videoId": …, "status": …}``; return the record."""
        recorded = await record_external(self._session, stream, fact, event_id=event_id)
        return LedgerEvent.of(recorded.record, repeated=recorded.repeated)

    @property
    def _session(self) -> Session:
        if self._opened is None:
            raise RuntimeError("the desk is not open: use `async with RenderDesk(…) as desk`")
        return self._opened

    async def _create(self, prompt: str, patience: Patience, options: CreateOptions) -> Job:
        values, material = await self._values(options)
        values |= {"operation": "create", "prompt": prompt}
        return await self._placed(values, material, patience)

    async def _change(
        self, operation: str, name: str, prompt: str, options: ChangeOptions, **more: Any
    ) -> Job:
        values, _ = await self._values(options)
        source, profile = await source_of(self._session, (await self.job(name)).job_id)
        values |= {"operation": operation, "prompt": prompt, "source": source, "profile": profile, **more}
        return await self._placed(values, NOTHING, Patience())

    async def _values(self, options: CreateOptions | ChangeOptions) -> tuple[dict[str, Any], Material]:
        """Return the values of a request, and its first image."""
        values: dict[str, Any] = {**options}
        if (most := values.pop("max_cost", None)) is not None:
            values["max_cost_usd_micros"] = usd_micros("max_cost", most)
        paths = values.pop("input_reference", None), values.pop("further_references", ())
        images, material = await asyncio.to_thread(_references, *paths)
        of_servers = {name: values.pop(name) for name in SERVER_OPTIONS if name in values}
        of_servers |= images.pop("options")
        return {**values, **images, "options": of_servers, "profile": self._session.profile().name}, material

    async def _placed(self, values: Mapping[str, Any], material: Material, patience: Patience) -> Job:
        session = self._session
        request = await asyncio.to_thread(_parsed, session, values)
        if questions := missing_details(request):
            text = "; ".join(question.question for question in questions)
            raise BadInput(
                f"{text} (answer it in the prompt)",
                param="prompt",
                expected=text,
                found="a prompt that leaves it open",
            )
        placed = await place(session, request, material, patience)
        if placed.job.state not in SUBMITTED:
            raise await asyncio.to_thread(_not_submitted, session, placed)
        return placed.job


def _parsed(session: Session, values: Mapping[str, Any]) -> RenderRequest:
    def parsed(rules: Rules) -> RenderRequest:
        return parse_request(catalog=rules.catalog, **values)

    return session.in_force.judge(parsed, (DecisionError,))


def _decided(session: Session, values: Mapping[str, Any]) -> Decided:
    request = _parsed(session, values)
    ruling = ruling_on(session.settings, request)
    details = tuple(question.question for question in missing_details(request))
    if isinstance(ruling, RenderDecided):
        return Decided(
            ruling.decision,
            ruling.model,
            usd(ruling.cost_usd_micros),
            tuple(list_reasons(ruling)),
            missing=details,
        )
    chosen = ruling.choice if isinstance(ruling, RenderHeld) else None
    return Decided(
        ruling.decision,
        chosen.model if chosen else None,
        usd(chosen.cost_usd_micros) if chosen else None,
        tuple(list_reasons(ruling)),
        tuple(what_now(ruling, request)),
        details,
    )


def _references(first: Path | str | None, further: Sequence[Path | str]) -> tuple[dict[str, Any], Material]:
    """Return the images of a request as values for it, and their contents."""
    frame = None if first is None else first_frame(Path(first))
    more = [first_frame(Path(path)) for path in further]
    values = {
        "input_reference": frame and frame.image,
        "further_images": [reference.image for reference in more],
        "options": {SEVERAL_IMAGES: bool(more)},
    }
    if frame is None:
        return values, NOTHING
    contents, originals = (
        [reference.content for reference in more],
        [reference.original for reference in more],
    )
    return values, Material(frame.content, frame.original, tuple(contents), tuple(originals))


def _not_submitted(session: Session, placed: Placed) -> NotSubmitted:
    job, reason = placed.job, ""
    if job.state is State.DENIED:
        reason = denial(session.ledger, job)
    elif isinstance(placed.ruling, RenderHeld):
        reason = "; ".join([list_reasons(placed.ruling)[0], what_now(placed.ruling, job_id=job.job_id)[0]])
    else:
        reason = str(submission_trouble(session.ledger, job, session.settings.profiles_file) or "")
    because = reason or f"`sora-ledger show {job.job_id}` says why"
    return NotSubmitted(f"{job.job_id} is {job.state}: {because}", job, shortfall(session.ledger, job))
