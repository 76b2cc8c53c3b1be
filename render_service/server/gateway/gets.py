"""The reading operations: list, retrieve, delete, content, models, characters, moderations.

Nothing here calls the video server, except for requests that only the server can fulfil: a deletion, a
character, a moderation, a file that is not stored yet, and for operators a video made by another tool.
Polling takes process time that other clients need, so one key may poll one video only twice a second.
"""

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from datetime import time as time_of_day
from typing import Any
from weakref import WeakValueDictionary

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from decision.rules.catalog import Catalog, Model
from decision.rules.policy import Policy
from ledger.job import Asset, Job
from ledger.terms import State, Status, Variant
from render_service.access.callers import Caller
from render_service.adoption.characters import profile_of
from render_service.adoption.server_library import delete
from render_service.rules.measurements import is_under_way
from render_service.runtime.errors import StorageFailed, TooManyRequests
from render_service.server.gateway.headers import expected_headers, job_headers
from render_service.server.gateway.ids import adopted_job, find_job, known_character, no_such_character
from render_service.server.gateway.projection import LONGEST_NAME, Found, Page, Projection, encode
from render_service.server.gateway.refusals import Refusal, no_such_video
from render_service.server.gateway.resources import ANY_MODEL, status_of
from render_service.server.gateway.stored_files import READERS, FileAnswer, OpenFile, StoredFiles
from render_service.session.event_ids import public_id
from render_service.session.history import JobHistory
from render_service.session.session import Session
from render_service.settlement.settle import fetch
from sora_adapter.errors import ContentExpired, ContentGone, VideoNotFound
from sora_adapter.moderations import moderate
from sora_adapter.serving.bodies import Fields, read_fields
from sora_adapter.serving.fields import read_choice, read_limit

INTERVAL_S = 0.5
BURST = 5
"""Burst of polls allowed, as from several parts of one program."""

MOST_WATCHED = 20_000
"""Remembered pairs of a key and a video; the oldest are forgotten first."""

_NO_CLIENT_DELETES = frozenset({Status.QUEUED, Status.IN_PROGRESS})


class PollingLimit:
    """Counts the polls of each key for each video (the generic cell rate algorithm)."""

    def __init__(self, elapsing: Callable[[], float] = time.monotonic) -> None:
        self._elapsing = elapsing
        self._free_at: dict[tuple[str, str], float] = {}

    def admit(self, key: str, name: str) -> None:
        """Count a poll of the video `name`; `TooManyRequests` if it comes too soon."""
        now = self._elapsing()
        free_at = max(self._free_at.pop((key, name), now), now)
        wait_s = free_at - now - (BURST - 1) * INTERVAL_S
        if wait_s > 0:
            self._free_at[key, name] = free_at
            raise TooManyRequests(
                f"{name[:64]} is polled more than {1 / INTERVAL_S:.0f} times a second: wait for the "
                "milliseconds in the header openai-poll-after-ms, or register a webhook",
                retry_after_s=wait_s,
                param="video_id",
                expected=f"at most {1 / INTERVAL_S:.0f} calls a second",
                found="more",
            )
        self._free_at[key, name] = free_at + INTERVAL_S
        if len(self._free_at) > MOST_WATCHED:
            del self._free_at[next(iter(self._free_at))]


class Gets:
    """The reading operations of one gateway."""

    def __init__(self, session: Session, projection: Projection) -> None:
        self._session = session
        self._projection = projection
        self._polls = PollingLimit()

    async def retrieve(self, request: Request, caller: Caller) -> Response:
        """``GET /videos/{video_id}``: the video as the ledger knows it."""
        name = request.path_params["video_id"]
        self._polls.admit(caller.key_id or caller.name, name[:LONGEST_NAME])
        video = await self._find(caller, name)
        headers = job_headers(video.job, now=self._session.clock())
        if is_under_way(video.job):
            headers |= await expected_headers(self._session, video.job)
        return _json(video.body, headers)

    async def _find(self, caller: Caller, name: str) -> Found:
        video = await self._projection.find(caller, name)
        if video is None:
            job = await adopted_job(self._session, caller, name)
            video = Found(job, await self._projection.show(job))
        if video.job.state is State.DELETED:
            raise no_such_video()
        return video

    async def list_videos(self, request: Request, caller: Caller) -> Response:
        """``GET /videos``: the videos that the caller may see, newest first unless `order` is ``asc``."""
        query = request.query_params
        page_limit, after = read_limit(query), query.get("after")
        page = await self._projection.page(
            caller,
            limit=page_limit,
            after=await find_job(self._session, caller, after) if after and page_limit else None,
            oldest_first=read_choice(dict(query), "order", ("asc", "desc"), "desc") == "asc",
        )
        return _json(_envelope(page), {})

    async def delete_video(self, request: Request, caller: Caller) -> Response:
        """``DELETE /videos/{video_id}``: delete a finished video at its server, and hide it from then on."""
        name = request.path_params["video_id"]
        job = await find_job(self._session, caller, name)
        if job.state is State.DELETED:
            raise no_such_video()
        if status_of(job) in _NO_CLIENT_DELETES:
            message = f"Only a completed or failed video can be deleted; '{name}' is {status_of(job)}."
            raise Refusal(
                400,
                "video_not_finished",
                message,
                param="video_id",
                expected="a completed or failed video",
                found=status_of(job),
            )
        if job.video_id is None:
            message = (
                f"'{name}' ended before it reached the server ({job.state}), so there is no video to delete."
            )
            raise Refusal(
                400,
                "video_never_created",
                message,
                param="video_id",
                expected="a video at the server",
                found=job.state,
            )
        job = await delete(caller.session(self._session), job)
        body = {"id": name, "deleted": True, "object": "video.deleted"}
        return JSONResponse(body, headers=job_headers(job, now=self._session.clock()))

    async def list_models(self, _: Request, caller: Caller) -> Response:
        """``GET /models``: the models that the rules in force allow the caller, and ``auto``."""
        return JSONResponse({"object": "list", "data": self._models(caller)})

    async def retrieve_model(self, request: Request, caller: Caller) -> Response:
        """``GET /models/{model}``: one of them."""
        name = request.path_params["model"]
        model = next((model for model in self._models(caller) if model["id"] == name), None)
        if model is None:
            message = f"The model '{name[:200]}' does not exist or you do not have access to it."
            raise Refusal(
                404,
                "model_not_found",
                message,
                param="model",
                expected=", ".join(model["id"] for model in self._models(caller)),
                found=name[:200],
            )
        return JSONResponse(model)

    def _models(self, caller: Caller) -> list[dict[str, Any]]:
        rules = self._session.in_force.rules
        served = usable_models(rules.policy, rules.catalog)
        owner = caller.session(self._session).settings.chosen_profile()
        newest = max((_since(model) for model in served), default=0)
        choice = {"id": ANY_MODEL, "object": "model", "created": newest, "owned_by": "sora-ledger"}
        described = [
            {"id": model.name, "object": "model", "created": _since(model), "owned_by": owner}
            for model in served
        ]
        return [choice, *described]

    async def retrieve_character(self, request: Request, caller: Caller) -> Response:
        """``GET /videos/characters/{character_id}``: a character, from the server that created it.

        Callers see the characters of their team; operators without a team see those of others too.
        """
        name = request.path_params["character_id"]
        record = await known_character(self._session, caller, name, "character_id")
        async with self._session.connect(self._session.profile(profile_of(record))) as client:
            try:
                shown = await client.get_character(name)
            except VideoNotFound as unknown:
                raise no_such_character(name, "character_id") from unknown
        return JSONResponse({"id": shown.character_id, "name": shown.name, "created_at": shown.created_at})

    async def moderations(self, request: Request, caller: Caller) -> Response:
        """``POST /moderations``: passed to the server of the profile, if it has them; nothing is recorded."""
        profile = caller.session(self._session).profile()
        body = await read_fields(request)
        _check_encodable(body)
        async with self._session.connect(profile) as client:
            return JSONResponse(await moderate(client, body))


def _check_encodable(body: Fields) -> None:
    """Refuse input that JSON cannot carry: files, NaN, and lone surrogates."""
    try:
        json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        message = "Only JSON with text, numbers, arrays and objects can be sent on to the server."
        raise Refusal(
            400,
            "invalid_json",
            message,
            param="body",
            expected="JSON with text, numbers, arrays and objects",
            found=error,
        ) from error


def usable_models(policy: Policy, catalog: Catalog) -> list[Model]:
    """Return the models that the rules allow anyone and that are still served."""
    return [model for model in catalog.models if policy.allow_retired_models or not model.retired]


def _since(model: Model) -> int:
    """Return the date of the oldest price of `model` as Unix seconds: the API's ``created``."""
    oldest = min(price.from_date for price in model.prices)
    return int(datetime.combine(oldest, time_of_day(), UTC).timestamp())


def _envelope(page: Page) -> bytes:
    """Return the list object of the API around video objects that are JSON already."""
    first, last = (page.videos[0].job, page.videos[-1].job) if page.videos else (None, None)
    rest = {
        "first_id": public_id(first.job_id) if first else None,
        "last_id": public_id(last.job_id) if last else None,
        "has_more": page.has_more,
    }
    data = b",".join(found.body for found in page.videos)
    return b'{"object":"list","data":[' + data + b"]," + encode(rest)[1:]


def _json(body: bytes, headers: dict[str, str]) -> Response:
    return Response(body, headers=headers, media_type="application/json")


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
        variant = Variant(read_choice(dict(request.query_params), "variant", list(Variant), Variant.VIDEO))
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
        """Open a file; concurrent requests for it share one hashing."""
        lock = self._opening.setdefault(asset.sha256, asyncio.Lock())
        async with lock:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._files.open, asset)

    async def _fetched(self, caller: Caller, job: Job, variant: Variant) -> Job:
        """Fetch a variant once, however many clients wait for it and even if some of them leave."""
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
