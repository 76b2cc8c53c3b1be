"""Observe many videos of one server once: query, record what is new, mark lost videos.

If the server has a list, pages of 100 are read until every video has appeared, the list ends, or fewer videos
remain than pages were read. The remaining videos are queried singly, and so are all if there is no list.
Waiting and finishing afterwards is left to the caller, a sweep or a worker.
"""

import asyncio
from collections.abc import Collection, Sequence
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
ON_PURPOSE = (AdapterError, ServiceError, LedgerError)
Source = Literal["poll", "list"]


class Observed(NamedTuple):
    """A job after one observation: what the server showed, or the error instead.

    The `source` of an error is always ``poll``: a list says nothing about videos that are not on it.
    """

    job: Job
    source: Source
    observation: Observation | None = None
    error: Exception | None = None


class Observer:
    """Observes the videos of one server; `slots` limits how many are queried singly at a time."""

    def __init__(self, session: Session, client: "VideosClient", slots: asyncio.Semaphore) -> None:
        self._session = session
        self._client = client
        self._slots = slots
        self._lists = client.profile.can_list

    async def observe(self, jobs: Collection[Job], timeout_s: float | None = None) -> list[Observed]:
        """Observe the running `jobs` and record what is new; querying takes at most `timeout_s` seconds.

        A video that its server no longer knows is marked as lost once that can be trusted. `ServerTrouble` if
        the list is temporarily unavailable, `TimeoutError`: in both cases nothing is recorded.
        """
        by_video = {job.video_id: job for job in jobs if job.video_id is not None}
        async with asyncio.timeout(timeout_s):
            listed = await self._list(frozenset(by_video))
            polled = await self._poll([video_id for video_id in by_video if video_id not in listed])
        # A crash here loses what was seen and nothing else: the jobs still run, and are observed again.
        return await asyncio.gather(
            *(self._record(by_video[video_id], answer, "list") for video_id, answer in listed.items()),
            *(self._record(by_video[video_id], answer, "poll") for video_id, answer in polled.items()),
        )

    async def _record(self, job: Job, answer: Observation | AnswerError, source: Source) -> Observed:
        try:
            if isinstance(answer, Observation):
                return Observed(await record_observation(self._session, job, answer, source), source, answer)
            if isinstance(answer, VideoNotFound):
                job = await mark_lost(self._session, self._client, job)
        except ON_PURPOSE as error:
            return Observed(await self._session.job(job.job_id), source, error=error)
        return Observed(job, source, error=answer)

    async def _list(self, due: Collection[str]) -> dict[str, Observation]:
        """Return the videos on the server's list, as far as reading on is worthwhile."""
        observations: dict[str, Observation] = {}
        after, pages = None, 0
        while self._lists and pages < len(due) - len(observations) - 1:
            try:
                page = await self._client.list(limit=PAGE, after=after, order="desc")
            except ServerTrouble:
                raise
            except AnswerError as refused:  # it has no list, and would refuse it in every round
                self._session.log.warning("sweep.list_refused", **loggable(refused))
                self._lists = False
                break
            pages += 1
            observations |= {video.video_id: video for video in page.observations if video.video_id in due}
            if not page.has_more or page.last_id in {None, after}:
                break
            after = page.last_id
        return observations

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
