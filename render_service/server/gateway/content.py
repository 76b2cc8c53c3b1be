"""``GET`` and ``HEAD /videos/{video_id}/content``: files from our storage, fetched first if need be."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakValueDictionary

from starlette.requests import Request
from starlette.responses import Response

from ledger.job import Asset, Job
from ledger.terms import State, Status, Variant
from render_service.access.callers import Caller
from render_service.runtime.errors import StorageFailed
from render_service.server.gateway.errors import Refusal, no_such_video
from render_service.server.gateway.headers import job_headers
from render_service.server.gateway.ids import find_job
from render_service.server.gateway.resources import status_of
from render_service.server.gateway.stored_files import READERS, FileAnswer, OpenFile, StoredFiles
from render_service.session.event_ids import public_id
from render_service.session.history import JobHistory
from render_service.session.session import Session
from render_service.settlement.settle import fetch
from sora_adapter.errors import ContentExpired, ContentGone
from sora_adapter.serving.fields import one_of


class Content:
    """Serves the files of videos."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._files = StoredFiles(session.assets)
        self._readers = ThreadPoolExecutor(READERS)
        self._fetching: dict[tuple[str, Variant], asyncio.Task[Job]] = {}
        self._opening: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def serve(self, request: Request, caller: Caller) -> Response:
        """Answer with one variant of a completed video; one that is not stored yet is fetched first."""
        name = request.path_params["video_id"]
        variant = Variant(one_of(dict(request.query_params), "variant", list(Variant), Variant.VIDEO))
        job = await find_job(self._session, caller, name)
        if job.state is State.DELETED:
            raise no_such_video()
        if status_of(job) is not Status.COMPLETED:
            raise _not_ready(job, name)
        job, file = await self._open(caller, job, variant)
        headers = job_headers(job)
        return FileAnswer(
            file, job.assets[variant], public_id(job.job_id), request, headers, readers=self._readers
        )

    async def _open(self, caller: Caller, job: Job, variant: Variant) -> tuple[Job, OpenFile]:
        """Open the file of a variant, after fetching it from the server if it is not here."""
        for attempt in range(2):
            asset = job.assets.get(variant)
            file = await self._open_checked(asset) if asset else None
            if file is not None:
                return job, file
            if attempt == 0:
                job = await self._fetched(caller, job, variant)
        raise StorageFailed(
            f"{job.job_id}: the {variant} was stored, and is not there now",
            expected=f"a stored {variant}",
            found="none",
        )

    async def _open_checked(self, asset: Asset) -> OpenFile | None:
        """Open a file; many who ask for it at once let it be hashed once."""
        lock = self._opening.setdefault(asset.sha256, asyncio.Lock())
        async with lock:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._files.open, asset)

    async def _fetched(self, caller: Caller, job: Job, variant: Variant) -> Job:
        """Fetch a variant once, however many clients wait for it and whichever of them leave."""
        if variant in job.assets:
            history = await asyncio.to_thread(JobHistory.of, self._session.ledger, job)
            if variant in history.lost_variants:
                raise _gone(job, variant)
        key = (job.job_id, variant)
        task = self._fetching.get(key)
        if task is None:
            task = asyncio.create_task(fetch(caller.session(self._session), job, variant))
            self._fetching[key] = task
            task.add_done_callback(lambda _: self._fetching.pop(key, None))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(task)
        except (ContentExpired, ContentGone) as gone:
            raise _gone(job, variant) from gone


def _not_ready(job: Job, name: str) -> Refusal:
    status = status_of(job)
    if status is Status.FAILED:
        return Refusal(
            404,
            "video_failed",
            f"Video '{name}' failed and has no content.",
            param="video_id",
            expected="a completed video",
            found=status,
        )
    message = f"Video is not ready yet, its status is {status}. Use GET /v1/videos/{name} to check it."
    return Refusal(
        404, "video_not_ready", message, param="video_id", expected="a completed video", found=status
    )


def _gone(job: Job, variant: Variant) -> Refusal:
    video = public_id(job.job_id)
    message = f"The {variant} of video '{video}' is not stored here, and its server no longer has it."
    return Refusal(404, "video_expired", message, param="video_id", expected="a stored file", found="none")
