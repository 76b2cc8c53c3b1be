"""A server's videos: its list, read to the end, and the videos that no submission accounts for.

Servers ignore `order`, cut pages short, omit fields and start over. So a list counts as complete only if
every page says whether there is more, the last one says no, and no page repeats earlier ones.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from render_service.submission.retry import patiently
from sora_adapter.models import Observation, Page

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

PAGE = 100
DISTINCT_SECONDS = 2
SILENT = "it does not say whether there is more (has_more is missing)"
REPEATING = "it says that there is more but shows nothing new"


@dataclass(frozen=True)
class Listing:
    """The videos a server listed, each once.

    `doubt` says why there may be more of them, None if the list is complete; `stopped` means that reading
    ended early, on purpose.
    """

    videos: tuple[Observation, ...]
    doubt: str | None = None
    stopped: bool = False


@dataclass(frozen=True)
class Sightings:
    """The videos no submission accounts for, and how far the list that showed them can be trusted.

    `unclaimed` belong to no job, `adopted` to one that was imported without a submission. `by_webhook` are
    known from webhooks only. `listed` is the number of videos listed, None if the server cannot be searched.
    `knows_ours` is False if the list contains none of the videos this ledger has from that server: it may be
    another account's. `doubt` is why there may be more videos than these, `times_doubt` why their times prove
    nothing; `stopped` means that the list was deliberately not read to its end.
    """

    unclaimed: tuple[Observation, ...]
    adopted: tuple[Observation, ...]
    by_webhook: frozenset[str]
    listed: int | None
    knows_ours: bool
    doubt: str | None
    times_doubt: str | None = None
    stopped: bool = False


async def pages(
    client: "VideosClient", *, after: str | None = None, order: Literal["asc", "desc"] = "asc"
) -> AsyncIterator[Page]:
    """Yield a server's pages up to the last one.

    If pages do not say whether there is more, the last one is an empty page. If a page has nothing new, the
    server has started over, and reading ends.
    """
    shown: set[str] = set()
    while True:
        page = await patiently(partial(client.list, limit=PAGE, after=after, order=order))
        yield page
        new = {video.video_id for video in page.observations} - shown
        if page.has_more is False or page.last_id is None or not new:
            return
        shown |= new
        after = page.last_id


async def read_list(
    client: "VideosClient", is_far_enough: Callable[[Page], Awaitable[bool]] | None = None
) -> Listing:
    """Read a list newest first, to its end or to the page that `is_far_enough`.

    `is_far_enough` is called only if the list is evidently newest first: all times are known and descend over
    all pages so far, with at least two distinct seconds among them.
    """
    videos: dict[str, Observation] = {}
    times: list[int | None] = []
    doubt = None
    async for page in pages(client, order="desc"):
        new = {video.video_id: video for video in page.observations if video.video_id not in videos}
        says_more_than_it_shows = not new and (page.has_more is True or bool(videos))
        if page.has_more is None:
            doubt = SILENT
        elif says_more_than_it_shows or (page.has_more and page.last_id is None):
            doubt = doubt or REPEATING
        videos |= new
        times += [video.created_at for video in page.observations]
        if is_far_enough and _is_newest_first(times) and await is_far_enough(page):
            return Listing(tuple(videos.values()), "it was not read to its end", stopped=True)
    return Listing(tuple(videos.values()), doubt)


def _is_newest_first(times: list[int | None]) -> bool:
    known = [time for time in times if time is not None]
    if len(known) < len(times) or len(set(known)) < DISTINCT_SECONDS:
        return False
    return all(earlier >= later for earlier, later in pairwise(known))
