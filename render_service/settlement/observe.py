"""Observe many videos of one server once: query, record what is new, mark lost videos.

If the server has a list, pages of 100 are read until every video has appeared, the list ends, or fewer videos
remain than pages were read. The remaining videos are queried one by one, and so are all videos if there is no
list. What a page showed of other videos is cached for two seconds: a worker observes 1,500 due jobs in groups
of 100, and all groups share one reading of the list. Waiting and finishing afterwards is left to the caller,
a sweep or a worker.
"""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from ledger.errors import LedgerError
from ledger.job import Job
from render_service.runtime.errors import ServiceError
from render_service.session.session import Session
from render_service.settlement.settle import mark_lost, record_observation
from sora_adapter.errors import AdapterError, AnswerError, ServerTrouble, VideoNotFound, loggable
from sora_adapter.models import Observation

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

PAGE = 100
REMEMBERED_S = 2.0
"""How long an observation on a list counts for other groups of jobs; much less than a polling interval."""

ON_PURPOSE = (AdapterError, ServiceError, LedgerError)
Source = Literal["poll", "list"]


class ObservationResult(NamedTuple):
    """A job after one observation: the server's answer, or an error.

    The `source` of an error is always ``poll``: a list says nothing about videos that are not on it.
    """

    job: Job
    source: Source
    observation: Observation | None = None
    error: Exception | None = None


class ListedVideo(NamedTuple):
    """A video as a list showed it, with the times of the request for the page."""

    observation: Observation
    at: datetime
    at_s: float


class Observer:
    """Observes the videos of one server; `slots` limits how many are queried singly at a time."""

    def __init__(self, session: Session, client: "VideosClient", slots: asyncio.Semaphore) -> None:
        self._session = session
        self._client = client
        self._slots = slots
        self._lists = client.profile.can_list
        self._listed: dict[str, ListedVideo] = {}

    async def observe(self, jobs: Collection[Job], timeout_s: float | None = None) -> list[ObservationResult]:
        """Observe the running `jobs` and record what is new; querying takes at most `timeout_s` seconds.

        A video that its server no longer knows is marked as lost once that can be trusted. `ServerTrouble` if
        the list is temporarily unavailable, `TimeoutError`: in both cases nothing is recorded.
        """
        by_video = {job.video_id: job for job in jobs if job.video_id is not None}
        async with asyncio.timeout(timeout_s):
            listed = await self._list(by_video)
            polled = await self._poll([video_id for video_id in by_video if video_id not in listed])
        # A crash here loses what was seen and nothing else: the jobs still run, and are observed again.
        return await asyncio.gather(
            *(self._record(by_video[video_id], answer, "list") for video_id, answer in listed.items()),
            *(self._record(by_video[video_id], answer, "poll") for video_id, answer in polled.items()),
        )

    async def _record(self, job: Job, answer: Observation | AnswerError, source: Source) -> ObservationResult:
        try:
            if isinstance(answer, Observation):
                return ObservationResult(
                    await record_observation(self._session, job, answer, source), source, answer
                )
            if isinstance(answer, VideoNotFound):
                job = await mark_lost(self._session, self._client, job)
        except ON_PURPOSE as error:
            return ObservationResult(await self._session.job(job.job_id), source, error=error)
        return ObservationResult(job, source, error=answer)

    async def _list(self, jobs: Mapping[str, Job]) -> dict[str, Observation]:
        """Return the videos on the server's list, as far as reading on is worthwhile; `jobs` by video id."""
        observations = self._recall(jobs)
        wanted = jobs.keys() - observations.keys()
        after, pages = None, 0
        while self._lists and pages < len(wanted) - 1:
            at, at_s = self._session.clock(), time.monotonic()
            try:
                page = await self._client.list(limit=PAGE, after=after, order="desc")
            except ServerTrouble:
                raise
            except AnswerError as refused:  # it has no list, and would refuse it in every round
                self._session.log.warning("sweep.list_refused", **loggable(refused))
                self._lists = False
                break
            pages += 1
            for video in page.observations:
                if video.video_id in wanted:
                    observations[video.video_id] = video
                    wanted.discard(video.video_id)
                elif video.video_id not in jobs:
                    self._listed[video.video_id] = ListedVideo(video, at, at_s)
            if not page.has_more or page.last_id in {None, after}:
                break
            after = page.last_id
        return observations

    def _recall(self, jobs: Mapping[str, Job]) -> dict[str, Observation]:
        """Return, once, the recent pages' entries for `jobs`, except those changed since."""
        oldest = time.monotonic() - REMEMBERED_S
        self._listed = {
            video_id: listing for video_id, listing in self._listed.items() if listing.at_s >= oldest
        }
        recent = ((job, self._listed.pop(video_id, None)) for video_id, job in jobs.items())
        return {
            listing.observation.video_id: listing.observation
            for job, listing in recent
            if listing is not None and listing.at > datetime.fromisoformat(job.updated_at)
        }

    async def _poll(self, video_ids: Sequence[str]) -> dict[str, Observation | AnswerError]:
        """Query videos one by one and return the answers."""

        async def ask(video_id: str) -> Observation | AnswerError:
            async with self._slots:
                try:
                    return await self._client.observe(video_id)
                except AnswerError as error:
                    return error

        answers = await asyncio.gather(*map(ask, video_ids))
        return dict(zip(video_ids, answers, strict=True))
