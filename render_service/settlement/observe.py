"""Looking once at many videos of one server: by its list as far as that is cheaper, else one by one.

Where the server has a list, pages of 100 are read until every video was on one, the list is at its end, or
the videos that are left are fewer than the pages read. Those that were on no page are asked for one by one,
and so are all where there is no list.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from render_service.runtime.telemetry import Log
from sora_adapter.errors import AnswerError, ServerTrouble, loggable
from sora_adapter.models import Observation

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

PAGE = 100


class Looked(NamedTuple):
    """What was seen, by video id: in the list, and in answer to a question of its own."""

    listed: dict[str, Observation]
    asked: dict[str, Observation | AnswerError]


class Looking:
    """Looks at the videos of one server; `slots` says how many single questions may be asked at a time."""

    def __init__(self, client: "VideosClient", log: Log, slots: asyncio.Semaphore) -> None:
        self._client = client
        self._log = log
        self._slots = slots
        self._lists = client.profile.can_list

    async def at(self, video_ids: Collection[str]) -> Looked:
        """Look at `video_ids`; raises `ServerTrouble` where the list cannot be had just now."""
        due = frozenset(video_ids)
        listed = await self._listed(due)
        return Looked(listed, await self._asked([one for one in video_ids if one not in listed]))

    async def _listed(self, due: Collection[str]) -> dict[str, Observation]:
        """Return the videos that the server's list shows, as far as reading on is worth it."""
        seen: dict[str, Observation] = {}
        after, pages = None, 0
        while self._lists and pages < len(due) - len(seen) - 1:
            try:
                page = await self._client.list(limit=PAGE, after=after, order="desc")
            except ServerTrouble:
                raise
            except AnswerError as refused:  # a list that is none: every round would be told so again
                self._log.warning("sweep.list_refused", **loggable(refused))
                self._lists = False
                break
            pages += 1
            found = {video.video_id: video for video in page.observations}
            seen |= {video_id: found[video_id] for video_id in found if video_id in due}
            if not page.has_more or page.last_id in {None, after}:
                break
            after = page.last_id
        return seen

    async def _asked(self, video_ids: Sequence[str]) -> dict[str, Observation | AnswerError]:
        """Ask for videos one by one and return what was answered."""

        async def ask(video_id: str) -> Observation | AnswerError:
            async with self._slots:
                try:
                    return await self._client.observe(video_id)
                except AnswerError as error:
                    return error

        answers = await asyncio.gather(*map(ask, video_ids))
        return dict(zip(video_ids, answers, strict=True))
