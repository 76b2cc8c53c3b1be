"""What the sandbox does with a request once it is understood: blocking code, run in threads by `app`.

Leaves parsing to `requests` and HTTP to `app`. A job is in the store before its render is queued and before
its answer is sent; a crash in between leaves a job whose clip is rendered when somebody asks for it.
"""

import uuid
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from sora_adapter.sandbox.errors import ApiError
from sora_adapter.sandbox.jobs import Job, JobStore, sha256_of
from sora_adapter.sandbox.life import Moment
from sora_adapter.sandbox.requests import CreateRequest, ListRequest, RemixRequest, Variant
from sora_adapter.sandbox.settings import SandboxSettings
from sora_adapter.sandbox.studio import Studio

_EVERYTHING = 1_000_000


@dataclass(frozen=True)
class Caller:
    """Which request it was, as the sandbox and the client name it."""

    request_id: str
    client_request_id: str | None
    traceparent: str | None


class Desk:
    """The jobs and files of one data dir, and what may be done with them."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self.store = JobStore(settings.data_dir / "jobs.sqlite3")
        self._studio = Studio(settings.data_dir / "media", self.store, settings.media)

    def close(self) -> None:
        """Stop rendering and let go of the store."""
        self._studio.close()
        self.store.close()

    def create(self, wanted: CreateRequest, caller: Caller) -> Job:
        """Take in a new job."""
        sha256 = sha256_of(wanted.reference)
        job = self._new_job(wanted.model, wanted.size, wanted.seconds, (wanted.prompt,), sha256, None, caller)
        return self._taken_in(job, wanted.reference)

    def remix(self, source_id: str, wanted: RemixRequest, caller: Caller) -> Job:
        """Take in a job that changes a completed one."""
        source, moment = self.find(source_id)
        if moment.status != "completed":
            message = f"Only a completed video can be remixed; '{source_id}' is {moment.status}."
            raise ApiError.invalid(message, code="video_not_completed", param="video_id")
        line = (*source.prompts, wanted.prompt)
        image = source.reference_sha256
        job = self._new_job(source.model, source.size, source.seconds, line, image, source.id, caller)
        return self._taken_in(job, self.store.reference_image(source))

    def find(self, job_id: str) -> tuple[Job, Moment]:
        """Return a job and where it stands now."""
        job = self.store.get(job_id)
        if job is None:
            raise ApiError.no_such_video(job_id)
        return job, self._now(job)

    def page(self, wanted: ListRequest) -> tuple[list[tuple[Job, Moment]], bool]:
        """Return a page of jobs and whether there are more."""
        newest_first = wanted.order == "desc"
        jobs = self.store.page(limit=wanted.limit + 1, newest_first=newest_first, after=wanted.after)
        if jobs is None:
            raise ApiError.no_such_video(str(wanted.after), "after")
        return [(job, self._now(job)) for job in jobs[: wanted.limit]], len(jobs) > wanted.limit

    def everything(self) -> list[tuple[Job, Moment]]:
        """Return all jobs, oldest first."""
        return [(job, self._now(job)) for job in self.store.page(limit=_EVERYTHING, newest_first=False) or []]

    def delete(self, job_id: str) -> None:
        """Forget a job that is over, and its files."""
        job, moment = self.find(job_id)
        if not moment.is_over:
            message = f"Only a completed or failed video can be deleted; '{job_id}' is {moment.status}."
            raise ApiError.invalid(message, code="video_not_finished", param="video_id")
        if not self.store.delete(job_id):
            raise ApiError.no_such_video(job_id)
        self._studio.discard(job)

    def asset(self, job_id: str, variant: Variant) -> Future[Path]:
        """Return the file of a completed job that has not expired, perhaps still being made."""
        job, moment = self.find(job_id)
        if moment.done_at is None:
            raise _not_ready(job, moment)
        if self._settings.clock() >= moment.done_at + job.expire_seconds:
            message = (
                f"The content of video '{job_id}' has expired; it was kept for {job.expire_seconds} seconds."
            )
            raise ApiError.not_found(message, code="video_expired", param="video_id")
        return self._studio.asset(job, variant)

    def _now(self, job: Job) -> Moment:
        return job.at(self._settings.clock())

    def _new_job(
        self,
        model: str,
        size: str,
        seconds: str,
        prompts: tuple[str, ...],
        image: str | None,
        source: str | None,
        caller: Caller,
    ) -> Job:
        return Job(
            id=f"video_{uuid.uuid4().hex}",
            model=model,
            size=size,
            seconds=seconds,
            prompts=prompts,
            reference_sha256=image,
            remixed_from_video_id=source,
            created_at=self._settings.clock(),
            render_seconds=self._settings.render_seconds,
            expire_seconds=self._settings.expire_seconds,
            request_id=caller.request_id,
            client_request_id=caller.client_request_id,
            traceparent=caller.traceparent,
        )

    def _taken_in(self, job: Job, reference: bytes | None) -> Job:
        self.store.add(job, reference)
        self._studio.start(job)
        return job


def _not_ready(job: Job, moment: Moment) -> ApiError:
    if moment.status == "failed":
        message = f"Video '{job.id}' failed and has no content."
        return ApiError.not_found(message, code="video_failed", param="video_id")
    message = (
        f"Video is not ready yet, its status is {moment.status}. Use GET /v1/videos/{job.id} to check it."
    )
    return ApiError.not_found(message, code="video_not_ready", param="video_id")
