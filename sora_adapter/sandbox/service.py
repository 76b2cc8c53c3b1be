"""Carry out parsed requests: blocking code, run in threads by `server`; and the documents of the API.

Parsing is in `requests` and HTTP in `server`. A job is in the store before its render is queued and before
its answer is sent; a crash in between leaves a job whose clip is rendered on the first request for it.

A draft is a job without id, time and caller, derived only from the request and the source. An extension
consists of the source's acts and one more: each at most 20 seconds, at most six of them, at most 120 seconds
in total. A video is always shown with all thirteen fields of the official VideoResource.
"""

import math
import threading
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sora_adapter.sandbox.renderer import Studio
from sora_adapter.sandbox.settings import SandboxSettings
from sora_adapter.sandbox.state.database import Database
from sora_adapter.sandbox.state.jobs import Act, Job, JobStore, sha256_of
from sora_adapter.sandbox.state.lifecycle import BLOCKED, Moment
from sora_adapter.sandbox.state.uploads import Character, CharacterStore, UploadedFile, UploadStore
from sora_adapter.sandbox.webhooks import fixtures
from sora_adapter.sandbox.webhooks.outbox import Outbox
from sora_adapter.sandbox.wire.media import Film, Variant
from sora_adapter.sandbox.wire.refusals import too_many_requests, too_many_running
from sora_adapter.sandbox.wire.requests import (
    CharacterRequest,
    CreateRequest,
    EditRequest,
    ExtendRequest,
    ListRequest,
    RemixRequest,
)
from sora_adapter.serving.bodies import Upload
from sora_adapter.serving.errors import ApiError

_EVERYTHING = 1_000_000
_MINUTE_S = 60.0


@dataclass(frozen=True)
class Caller:
    """The request, as identified by the sandbox and by the client."""

    request_id: str
    client_request_id: str | None
    traceparent: str | None


class Service:
    """The jobs and files of one data dir, and the operations on them."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._database = Database(settings.data_dir / "jobs.sqlite3")
        self.store = JobStore(self._database)
        self.outbox = Outbox(self._database, self.store, settings.clock)
        self._characters = CharacterStore(self._database)
        self._uploads = UploadStore(self._database)
        self._limits = Limits(settings.requests_per_minute, settings.running_jobs, self.store.running)
        self._studio = Studio(settings.data_dir / "media", self.store, settings.media)
        if settings.permissive:
            fixtures.provide(self.store, self._characters, self.outbox.endpoints, settings.clock())

    @property
    def permissive(self) -> bool:
        """Whether to accept input that other servers would refuse, for third-party tests."""
        return self._settings.permissive

    def close(self) -> None:
        """Stop rendering and close the store."""
        self._studio.close()
        self._database.close()

    def create(self, wanted: CreateRequest, caller: Caller) -> Job:
        """Add a new job."""
        cast = [
            self._member(character_id, f"characters[{index}].id")
            for index, character_id in enumerate(wanted.character_ids)
        ]
        files = () if wanted.reference is None else (wanted.reference,)
        return self._admit(draw_up(wanted, cast), caller, files)

    def remix(self, source_id: str, wanted: RemixRequest, caller: Caller) -> Job:
        """Add a job that changes a completed one."""
        source = self._find_completed(source_id, "remixed", "video_id")
        return self._admit(draft_change(source, wanted.prompt), caller, self._files(source))

    def edit(self, wanted: EditRequest, caller: Caller) -> Job:
        """Add a job that changes a completed one, or an upload."""
        if isinstance(wanted.source, Film):
            upload = draw_from(wanted.source, wanted.model)
            draft = replace(draft_change(upload, wanted.prompt), remixed_from_video_id=None)
            return self._admit(draft, caller, _film_files(wanted.source))
        source = self._find_completed(wanted.source, "edited", "video.id")
        return self._admit(draft_change(source, wanted.prompt), caller, self._files(source))

    def extend(self, wanted: ExtendRequest, caller: Caller) -> Job:
        """Add a job that continues a completed one, or an upload."""
        if isinstance(wanted.source, Film):
            upload = draw_from(wanted.source, wanted.model)
            draft = draft_extension(upload, wanted.prompt, wanted.seconds)
            return self._admit(draft, caller, _film_files(wanted.source))
        source = self._find_completed(wanted.source, "extended", "video.id")
        draft = draft_extension(source, wanted.prompt, wanted.seconds)
        return self._admit(draft, caller, self._files(source))

    def create_character(self, wanted: CharacterRequest) -> Character:
        """Create a character."""
        return self._characters.create(wanted.name, self._settings.clock())

    def character(self, character_id: str) -> Character:
        """Return a character."""
        return self._member(character_id, "character_id")

    def upload(self, file: Upload, purpose: str) -> UploadedFile:
        """Store a file that a later request may refer to."""
        return self._uploads.add(file, purpose, self._settings.clock())

    def find_upload(self, file_id: str) -> UploadedFile:
        """Return an uploaded file."""
        file = self._uploads.get(file_id)
        if file is None:
            raise _no_such_file(file_id)
        return file

    def read_upload(self, file_id: str) -> bytes | None:
        """Return the bytes of an uploaded file, None if it does not exist."""
        return self._uploads.body(file_id)

    def remove_upload(self, file_id: str) -> None:
        """Delete an uploaded file."""
        if not self._uploads.delete(file_id):
            raise _no_such_file(file_id)

    def find(self, job_id: str, param: str = "video_id") -> tuple[Job, Moment]:
        """Return a job and its current state."""
        job = self.store.get(job_id)
        if job is None:
            raise ApiError.no_such_video(job_id, param)
        return job, self._now(job)

    def show(self, job_id: str) -> tuple[Job, Moment]:
        """Return a job as a server reports it: completed once its clip is ready for download.

        By the clock it may be finished earlier, because clips are rendered one after the other. Requesting a
        job whose render was lost in a crash queues it again.
        """
        job, moment = self.find(job_id)
        return job, self._hold_back(job, moment)

    def clip(self, job: Job) -> Future[Path]:
        """Return the clip of a job, which may still be queued."""
        return self._studio.clip(job)

    def page(self, wanted: ListRequest) -> tuple[list[tuple[Job, Moment]], bool]:
        """Return a page of jobs and whether there are more."""
        newest_first = wanted.order == "desc"
        jobs = self.store.page(limit=wanted.limit + 1, newest_first=newest_first, after=wanted.after)
        if jobs is None and self._settings.permissive:
            jobs = self.store.page(limit=wanted.limit + 1, newest_first=newest_first)
        if jobs is None:
            raise ApiError.no_such_video(str(wanted.after), "after")
        jobs, has_more = jobs[: wanted.limit], len(jobs) > wanted.limit
        return [(job, self._hold_back(job, self._now(job))) for job in jobs], has_more

    def list_all(self) -> list[tuple[Job, Moment]]:
        """Return all jobs, oldest first."""
        return [(job, self._now(job)) for job in self.store.page(limit=_EVERYTHING, newest_first=False) or []]

    def delete(self, job_id: str) -> None:
        """Delete a finished job and its files; its webhook is still sent."""
        job, moment = self.find(job_id)
        if not moment.is_over:
            message = f"Only a completed or failed video can be deleted; '{job_id}' is {moment.status}."
            raise ApiError.invalid(message, code="video_not_finished", param="video_id")
        if self._settings.permissive and job_id == fixtures.STAND_IN_VIDEO:
            return
        self.outbox.announce()
        if not self.store.delete(job_id):
            raise ApiError.no_such_video(job_id)
        self._studio.discard(job)

    def asset(self, job_id: str, variant: Variant) -> Future[Path]:
        """Return the file of a completed job that has not expired; it may still be in progress."""
        job, moment = self.find(job_id)
        if moment.done_at is None:
            raise _not_ready(job, moment)
        if self._settings.clock() >= moment.done_at + job.expire_seconds:
            message = (
                f"The content of video '{job_id}' has expired; it was kept for {job.expire_seconds} seconds."
            )
            raise ApiError.not_found(message, code="video_expired", param="video_id")
        return self._studio.asset(job, variant)

    def _hold_back(self, job: Job, moment: Moment) -> Moment:
        return moment.held_back if moment.done_at is not None and not self._studio.has(job) else moment

    def _now(self, job: Job) -> Moment:
        return job.find_moment(self._settings.clock())

    def _find_completed(self, job_id: str, purpose: str, param: str) -> Job:
        job, moment = self.find(job_id, param)
        if moment.status != "completed":
            message = f"Only a completed video can be {purpose}; '{job_id}' is {moment.status}."
            raise ApiError.invalid(message, code="video_not_completed", param=param)
        return job

    def _member(self, character_id: str, param: str) -> Character:
        character = self._characters.get(character_id)
        if character is None:
            message = f"Character with id '{character_id}' not found."
            raise ApiError.not_found(message, code="character_not_found", param=param)
        return character

    def _files(self, source: Job) -> tuple[bytes, ...]:
        """Return the files that a job is made from; its source may lose them later."""
        files = (self.store.file(sha256) for sha256 in (source.reference_sha256, source.footage_sha256))
        return tuple(body for body in files if body is not None)

    def _admit(self, draft: Job, caller: Caller, files: tuple[bytes, ...]) -> Job:
        now = self._settings.clock()
        job = replace(
            draft,
            id=f"video_{uuid.uuid4().hex}",
            created_at=now,
            render_seconds=self._settings.render_seconds,
            expire_seconds=self._settings.expire_seconds,
            request_id=caller.request_id,
            client_request_id=caller.client_request_id,
            traceparent=caller.traceparent,
        )
        with self._limits.admit(job.model, now):
            self.store.add(job, *files)
        self._studio.start(job)
        return job


def _film_files(film: Film) -> tuple[bytes, ...]:
    return (film.body,) if film.body else ()


def _no_such_file(file_id: str) -> ApiError:
    return ApiError.not_found(f"No such File object: {file_id}", code="file_not_found", param="file_id")


def _not_ready(job: Job, moment: Moment) -> ApiError:
    if moment.status == "failed":
        message = f"Video '{job.id}' failed and has no content."
        return ApiError.not_found(message, code="video_failed", param="video_id")
    message = (
        f"Video is not ready yet, its status is {moment.status}. Use GET /v1/videos/{job.id} to check it."
    )
    return ApiError.not_found(message, code="video_not_ready", param="video_id")


class Limits:
    """Admits new jobs; `running` counts the unfinished jobs of a model."""

    def __init__(
        self, requests_per_minute: int | None, running_jobs: int | None, running: Callable[[str, float], int]
    ) -> None:
        self._requests_per_minute, self._running_jobs, self._running = (
            requests_per_minute,
            running_jobs,
            running,
        )
        self._arrivals: dict[str, deque[float]] = defaultdict(deque)
        self._door = threading.Lock()

    @contextmanager
    def admit(self, model: str, now: float) -> Iterator[None]:
        """Admit one job, which must be in the store when the block ends; raises ApiError."""
        with self._door:
            if self._requests_per_minute is not None:
                self._check_minute(model, now, self._requests_per_minute)
            if self._running_jobs is not None and self._running(model, now) >= self._running_jobs:
                raise too_many_running()
            yield

    def _check_minute(self, model: str, now: float, most: int) -> None:
        arrivals = self._arrivals[model]
        while arrivals and arrivals[0] <= now - _MINUTE_S:
            arrivals.popleft()
        if len(arrivals) >= most:
            wait_s = arrivals[0] + _MINUTE_S - now if arrivals else _MINUTE_S
            raise too_many_requests(model, most, math.ceil(wait_s))
        arrivals.append(now)


MAX_EXTENSIONS = 6
MAX_SECONDS = 120


def draw_up(wanted: CreateRequest, cast: Sequence[Character]) -> Job:
    """Return a draft of a clip made from the prompt alone or from an image."""
    draft = _blank(wanted.model, wanted.size, wanted.seconds, (wanted.prompt,))
    return replace(
        draft,
        reference_sha256=sha256_of(wanted.reference),
        cast_ids=tuple(character.id for character in cast),
        cast_names=tuple(character.name for character in cast),
    )


def draw_from(film: Film, model: str) -> Job:
    """Return a draft of an upload as the source of another job: it has no prompt, and never becomes a job."""
    draft = _blank(model, film.size, str(film.whole_seconds), ())
    return replace(draft, footage_sha256=sha256_of(film.body or None))


def draft_change(source: Job, prompt: str) -> Job:
    """Return a draft that changes the whole source: the same acts, each with one more prompt."""
    return replace(
        source,
        prompts=(*source.prompts, prompt),
        earlier=tuple(Act((*act.prompts, prompt), act.seconds) for act in source.earlier),
        remixed_from_video_id=source.id,
    )


def draft_extension(source: Job, prompt: str, seconds: int) -> Job:
    """Return a draft of a source and its continuation; raises ApiError beyond the limits."""
    total = int(source.seconds) + seconds
    if len(source.earlier) >= MAX_EXTENSIONS:
        message = f"A video can be extended at most {MAX_EXTENSIONS} times; '{source.id}' was."
        raise ApiError.invalid(message, code="too_many_extensions", param="video.id")
    if total > MAX_SECONDS:
        message = (
            f"An extended video can be at most {MAX_SECONDS} seconds long; {source.seconds} and {seconds} "
            f"are {total}."
        )
        raise ApiError.invalid(message, code="video_too_long", param="seconds")
    return replace(
        source,
        prompts=(*source.prompts, prompt),
        seconds=str(total),
        earlier=source.acts,
        remixed_from_video_id=None,
    )


def _blank(model: str, size: str, seconds: str, prompts: tuple[str, ...]) -> Job:
    return Job(
        id="",
        model=model,
        size=size,
        seconds=seconds,
        prompts=prompts,
        reference_sha256=None,
        remixed_from_video_id=None,
        created_at=0.0,
        render_seconds=0.0,
        expire_seconds=0,
        request_id="",
    )


def video_resource(job: Job, moment: Moment) -> dict[str, Any]:
    """Return a job's state in the API's format; times are whole seconds since 1970."""
    done_at = None if moment.done_at is None else int(moment.done_at)
    return {
        "id": job.id,
        "object": "video",
        "model": job.model,
        "status": moment.status,
        "progress": moment.progress,
        "created_at": int(job.created_at),
        "completed_at": done_at,
        "expires_at": None if done_at is None else done_at + job.expire_seconds,
        "prompt": job.prompt,
        "size": job.size,
        "seconds": job.seconds,
        "remixed_from_video_id": job.remixed_from_video_id,
        "error": BLOCKED if moment.status == "failed" else None,
    }


def list_resource(data: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return a page of jobs in the API's format."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}


def deleted_resource(job_id: str) -> dict[str, Any]:
    """Return the confirmation of a deletion."""
    return {"id": job_id, "deleted": True, "object": "video.deleted"}


def character_resource(character: Character) -> dict[str, Any]:
    """Return a character in the API's format."""
    return {"id": character.id, "name": character.name, "created_at": int(character.created_at)}


def file_resource(file: UploadedFile) -> dict[str, Any]:
    """Return an uploaded file in the API's format."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }


def deleted_file(file_id: str) -> dict[str, Any]:
    """Return the confirmation that a file was deleted."""
    return {"id": file_id, "object": "file", "deleted": True}


def job_record(job: Job, moment: Moment) -> dict[str, Any]:
    """Return a job with details for tests: its request, and how long it takes."""
    return {
        **video_resource(job, moment),
        "render_seconds": job.render_seconds,
        "reference_sha256": job.reference_sha256,
        "footage_sha256": job.footage_sha256,
        "act_seconds": [act.seconds for act in job.acts],
        "character_ids": list(job.cast_ids),
        "request_id": job.request_id,
        "client_request_id": job.client_request_id,
        "traceparent": job.traceparent,
    }
