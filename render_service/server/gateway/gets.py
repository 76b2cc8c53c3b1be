"""The reading operations: list, retrieve, delete, models, characters, moderations.

Nothing here asks the server of the videos, except where a client asks for what only the server has: a
deletion, a character, a moderation, and for operators a video that another tool made. Polling takes time of
this process that other clients need, so one key may poll one video twice a second.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from datetime import time as time_of_day
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from decision.rules.catalog import Catalog, Model
from decision.rules.policy import Policy
from ledger.terms import State, Status
from render_service.access.callers import Caller
from render_service.adoption.characters import profile_of
from render_service.adoption.server_library import delete
from render_service.rules.measurements import under_way
from render_service.runtime.errors import TooManyRequests
from render_service.server.gateway.errors import Refusal, no_such_video
from render_service.server.gateway.headers import expected_headers, job_headers
from render_service.server.gateway.ids import adopted_job, find_job, known_character, no_such_character
from render_service.server.gateway.projection import LONGEST_NAME, Found, Page, Projection, encode
from render_service.server.gateway.resources import ANY_MODEL, status_of
from render_service.session.event_ids import public_id
from render_service.session.session import Session
from sora_adapter.errors import VideoNotFound
from sora_adapter.moderations import moderate
from sora_adapter.serving.bodies import Fields, read_fields
from sora_adapter.serving.fields import limit, one_of

INTERVAL_S = 0.5
BURST = 5
"""Polls that may come at once, as from several parts of one program."""

MOST_WATCHED = 20_000
"""Pairs of a key and a video that are remembered; the oldest are forgotten first."""

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
        if under_way(video.job):
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
        wanted, after = limit(query), query.get("after")
        page = await self._projection.page(
            caller,
            limit=wanted,
            after=await find_job(self._session, caller, after) if after and wanted else None,
            oldest_first=one_of(dict(query), "order", ("asc", "desc"), "desc") == "asc",
        )
        return _json(_envelope(page), {})

    async def delete_video(self, request: Request, caller: Caller) -> Response:
        """``DELETE /videos/{video_id}``: delete a finished video at its server, and show it no longer."""
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
        """``GET /models``: the models that the rules in force let the caller use, and ``auto``."""
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
                expected=", ".join(each["id"] for each in self._models(caller)),
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

        Callers see the characters of their team, and operators without a team those of others.
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
    """Refuse what cannot be sent on as JSON: files, NaN, and half of a surrogate pair."""
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
    """Return the models that the rules let anyone use: those that are still served."""
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
