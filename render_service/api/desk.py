"""`RenderDesk`, the Python API for async programs, and `SyncRenderDesk`, the one for synchronous programs."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack

from decision.advice.reading import missing_details
from decision.engine.explain import what_now, why
from decision.errors import DecisionError
from decision.request.attachments import SEVERAL_IMAGES
from decision.request.request import RenderRequest, parse_request
from ledger.errors import JobNotFound
from ledger.events import RenderHeld
from ledger.job import JOB_PREFIX, Job, State
from ledger.terms import Variant
from render_service.adoption.adopt import adopt
from render_service.adoption.external import record_external
from render_service.adoption.server_library import delete, page_document
from render_service.api.sessions import open_session
from render_service.assets.fit import first_frame
from render_service.assets.inputs import NOTHING, Material
from render_service.assets.store import check_target
from render_service.recovery.attempts import GRACE_S
from render_service.recovery.reconcile import reconcile_job
from render_service.recovery.verdict import Settlement
from render_service.rules.measurements import Duration
from render_service.rules.policies import Rules
from render_service.runtime.documents import record_document
from render_service.runtime.errors import BadInput, ServiceError
from render_service.runtime.settings import read_settings
from render_service.runtime.telemetry import Log, begin_trace
from render_service.session.session import Session
from render_service.settlement.settle import fetch, settle
from render_service.submission.result import Placed, denial, submission_trouble
from render_service.submission.resume import resume
from render_service.submission.retry import Patience
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


class CreateOptions(TypedDict, total=False):
    """Options of `create`. Without `model` the policy chooses one; the defaults are 1280x720 and 4 s.

    `further_references` are sent beside `input_reference`, `seed` and `loop` too; a server that does not take
    one of them has the request denied.
    """

    model: str
    size: str
    seconds: str | int
    input_reference: Path | str
    further_references: Sequence[Path | str]
    seed: int
    loop: bool
    fields: Mapping[str, str]
    augment: bool
    purpose: str
    request_key: str
    max_cost_usd_micros: int
    deadline_minutes: int
    promotes: str
    attested: bool


class NotSubmitted(ServiceError):
    """The job was denied, held or refused, or the answer was lost; the message says why and what to do."""

    def __init__(self, message: str, job: Job) -> None:
        super().__init__(message)
        self.job = job


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
    ) -> dict[str, Any]:
        """Return one page of the server's videos in the form of the API (``data``, ``has_more``, …)."""
        async with self._session.connect(self._session.profile()) as client:
            return page_document(await client.list(limit=limit, after=after, order=order))

    async def delete(self, name: str, *, reason: str | None = None) -> Job:
        """Delete a video on the server; its records and its stored file are not touched."""
        return await delete(self._session, await self.job(name), reason)

    async def record(
        self, stream: str, fact: Mapping[str, Any], *, event_id: str | None = None
    ) -> dict[str, Any]:
        """Record a fact of another system, such as ``{"videoId": …, "status": …}``; return the record."""
        recorded = await record_external(self._session, stream, fact, event_id=event_id)
        return record_document(recorded.record) | {"repeated": recorded.repeated}

    @property
    def _session(self) -> Session:
        if self._opened is None:
            raise RuntimeError("the desk is not open: use `async with RenderDesk(…) as desk`")
        return self._opened

    async def _create(self, prompt: str, patience: Patience, options: CreateOptions) -> Job:
        session = self._session
        values: dict[str, Any] = {**options}
        paths = values.pop("input_reference", None), values.pop("further_references", ())
        images, material = await asyncio.to_thread(_references, *paths)
        options_of_servers = {name: values.pop(name, None) for name in ("seed", "loop")}
        options_of_servers |= images.pop("options")
        values |= {**images, "options": options_of_servers, "profile": session.profile().name}

        def parsed(rules: Rules) -> RenderRequest:
            return parse_request(catalog=rules.catalog, operation="create", prompt=prompt, **values)

        request = await asyncio.to_thread(session.in_force.judge, parsed, (DecisionError,))
        if questions := missing_details(request):
            text = "; ".join(question.question for question in questions)
            raise BadInput(f"{text} (answer it in the prompt)")
        placed = await place(session, request, material, patience)
        if placed.job.state not in SUBMITTED:
            raise await asyncio.to_thread(_not_submitted, session, placed)
        return placed.job


def _references(first: Path | str | None, further: Sequence[Path | str]) -> tuple[dict[str, Any], Material]:
    """Return the images of a request as values of it, and their contents."""
    frame = None if first is None else first_frame(Path(first))
    more = [first_frame(Path(path)) for path in further]
    values = {
        "input_reference": frame and frame.image,
        "further_images": [one.image for one in more],
        "options": {SEVERAL_IMAGES: bool(more)},
    }
    if frame is None:
        return values, NOTHING
    contents, originals = [one.content for one in more], [one.original for one in more]
    return values, Material(frame.content, frame.original, tuple(contents), tuple(originals))


def _not_submitted(session: Session, placed: Placed) -> NotSubmitted:
    job, reason = placed.job, ""
    if job.state is State.DENIED:
        reason = denial(session.ledger, job)
    elif isinstance(placed.ruling, RenderHeld):
        reason = "; ".join([why(placed.ruling)[0], what_now(placed.ruling, job_id=job.job_id)[0]])
    else:
        reason = str(submission_trouble(session.ledger, job, session.settings.profiles_file) or "")
    because = reason or f"`sora-ledger show {job.job_id}` says why"
    return NotSubmitted(f"{job.job_id} is {job.state}: {because}", job)


T = TypeVar("T")


class SyncRenderDesk:
    """`RenderDesk` for synchronous programs; use as ``with SyncRenderDesk(…) as desk``.

    Not for use inside a running event loop, nor from several threads at once.
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
        self._session = RenderDesk(ledger=ledger, profile=profile, actor=actor, team=team, project=project)
        self._open = ExitStack()
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> Self:
        with ExitStack() as opening:  # closes the loop if the desk cannot be opened
            self._runner = opening.enter_context(asyncio.Runner())
            self._run(self._session.__aenter__())
            opening.callback(lambda: self._run(self._session.__aexit__()))
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._runner = None

    def create(self, prompt: str, **options: Unpack[CreateOptions]) -> Job:
        """See `RenderDesk.create`."""
        return self._run(self._session.create(prompt, **options))

    def create_and_poll(
        self,
        prompt: str,
        *,
        poll_interval_s: float = INTERVAL_S,
        timeout_s: float = TIMEOUT_S,
        **options: Unpack[CreateOptions],
    ) -> Job:
        """See `RenderDesk.create_and_poll`."""
        return self._run(
            self._session.create_and_poll(
                prompt, poll_interval_s=poll_interval_s, timeout_s=timeout_s, **options
            )
        )

    def resume(self, name: str) -> Job:
        """See `RenderDesk.resume`."""
        return self._run(self._session.resume(name))

    def reconcile(self, name: str, *, grace_s: float = GRACE_S) -> Settlement:
        """See `RenderDesk.reconcile`."""
        return self._run(self._session.reconcile(name, grace_s=grace_s))

    def poll(self, name: str, *, poll_interval_s: float = INTERVAL_S, timeout_s: float = TIMEOUT_S) -> Job:
        """See `RenderDesk.poll`."""
        return self._run(self._session.poll(name, poll_interval_s=poll_interval_s, timeout_s=timeout_s))

    def job(self, name: str) -> Job:
        """See `RenderDesk.job`."""
        return self._run(self._session.job(name))

    def expected(self, name: str) -> Duration | None:
        """See `RenderDesk.expected`."""
        return self._run(self._session.expected(name))

    def download(
        self,
        name: str,
        *,
        variant: Literal["video", "thumbnail", "spritesheet"] = "video",
        to: Path | str | None = None,
        force: bool = False,
    ) -> bytes:
        """See `RenderDesk.download`."""
        return self._run(self._session.download(name, variant=variant, to=to, force=force))

    def list(
        self, *, limit: int = 20, after: str | None = None, order: Literal["asc", "desc"] = "desc"
    ) -> dict[str, Any]:
        """See `RenderDesk.list`."""
        return self._run(self._session.list(limit=limit, after=after, order=order))

    def delete(self, name: str, *, reason: str | None = None) -> Job:
        """See `RenderDesk.delete`."""
        return self._run(self._session.delete(name, reason=reason))

    def record(self, stream: str, fact: Mapping[str, Any], *, event_id: str | None = None) -> dict[str, Any]:
        """See `RenderDesk.record`."""
        return self._run(self._session.record(stream, fact, event_id=event_id))

    def _run(self, use: Coroutine[Any, Any, T]) -> T:
        if self._runner is None:
            use.close()
            raise RuntimeError("the desk is not open: use `with SyncRenderDesk(…) as desk`")
        return self._runner.run(use)
