"""A list is read to its end, and known for what it leaves out."""

from collections.abc import Sequence
from typing import Any

import pytest

from ledger.terms import Status
from render_service.recovery.listing import Listing, read_list
from sora_adapter.models import Observation, Page

pytestmark = pytest.mark.anyio


class Shelf:
    """A server whose pages are written out; asked for more than these, it shows the last one again."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self.pages = pages
        self.asked = 0

    async def list(self, **_: Any) -> Page:
        self.asked += 1
        return self.pages[min(self.asked, len(self.pages)) - 1]


def page(*times: int | None, more: bool | None = True, first: int = 0) -> Page:
    """Return a page of videos created at `times`, named by their place in the list from `first` on."""
    observation = tuple(
        Observation(video_id=f"video_{first + n}", status=Status.QUEUED, created_at=time)
        for n, time in enumerate(times)
    )
    return Page(observation, more, observation[-1].video_id if observation else None)


async def read(*pages: Page, back_at: str | None = None) -> tuple[Listing, int]:
    """Return what was read of `pages`, and how many requests it took; it is far enough from `back_at` on."""
    shelf = Shelf(pages)

    async def is_far_enough(one: Page) -> bool:
        return back_at in {observation.video_id for observation in one.observations}

    listing = await read_list(shelf, is_far_enough if back_at else None)  # it lists
    return listing, shelf.asked


async def test_a_list_is_whole_once_every_page_says_whether_there_is_more_and_the_last_says_no() -> None:
    listing, requests = await read(page(9, 8), page(7, more=False, first=2))
    assert ([observation.video_id for observation in listing.videos], listing.doubt, requests) == (
        ["video_0", "video_1", "video_2"],
        None,
        2,
    )


async def test_an_empty_list_is_whole() -> None:
    assert await read(page(more=False)) == (Listing(()), 1)


async def test_a_list_that_does_not_say_whether_there_is_more_is_read_to_an_empty_page() -> None:
    listing, requests = await read(page(9, more=None), page(8, more=None, first=1), page(more=None))
    assert (len(listing.videos), listing.doubt, requests) == (
        2,
        "it does not say whether there is more (has_more is missing)",
        3,
    )


@pytest.mark.parametrize(
    "pages",
    [
        [page(9, 8), page(9, 8)],
        [page(9, 8), page()],
        [page(9, 8), page(more=False)],
        [page(9, 8), page(9, 8, more=False)],
        [Page(page(9).observations, has_more=True, last_id=None)],
        [page()],
    ],
)
async def test_a_list_that_says_there_is_more_and_shows_nothing_new_is_not_whole(pages: list[Page]) -> None:
    listing, requests = await read(*pages)
    assert (listing.doubt, requests) == ("it says that there is more but shows nothing new", len(pages))


async def test_pages_that_overlap_are_read_on() -> None:
    listing, _ = await read(page(9, 8), page(8, 7, first=1, more=False))
    assert ([observation.video_id for observation in listing.videos], listing.doubt) == (
        ["video_0", "video_1", "video_2"],
        None,
    )


async def test_reading_stops_far_enough_back_in_a_list_that_is_seen_to_be_newest_first() -> None:
    listing, requests = await read(page(9, 8), page(7, first=2), page(6, first=3), back_at="video_2")
    assert (len(listing.videos), listing.stopped, listing.doubt, requests) == (
        3,
        True,
        "it was not read to its end",
        2,
    )


@pytest.mark.parametrize(
    "pages",
    [
        [page(9), page(9, first=1), page(9, first=2, more=False)],  # one second
        [page(9), page(None, first=1), page(8, first=2, more=False)],  # no time
        [page(8), page(9, first=1), page(7, first=2, more=False)],  # rising between pages
        [page(8, 9), page(7, first=2, more=False)],  # rising on a page
        [page(7), page(8, first=1), page(9, first=2, more=False)],  # oldest first
    ],
)
async def test_a_list_that_is_not_seen_to_be_newest_first_is_read_to_its_end(pages: list[Page]) -> None:
    listing, requests = await read(*pages, back_at="video_1")
    assert (listing.stopped, listing.doubt, requests) == (False, None, len(pages))
