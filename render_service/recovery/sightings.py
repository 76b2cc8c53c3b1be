"""What a server has that no job has claimed: from its list, and from webhooks about videos nobody knows.

The server is asked before the ledger is read: whatever it shows by then was asked for by an intent that is
in the ledger by then, so an attempt that has only just begun is seen as open, and its video is not taken for
a lost one.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from ledger.events import WebhookReceived
from ledger.job import State
from ledger.ledger import Ledger
from ledger.store.interface import JobFilter, RecordFilter
from render_service.asking.asking_again import patiently
from render_service.asking.claims import claim_id
from render_service.desk import Desk
from render_service.taking_in.library import pages
from render_service.webhooks.matching import inbox_of
from sora_adapter.errors import VideoNotFound
from sora_adapter.observation import Observation

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient


@dataclass(frozen=True)
class Sightings:
    """The unclaimed videos, those of them that only a webhook told of, and what the list is worth.

    `listed` is None where the server cannot list, else how many videos it showed. `knows_ours` is False where
    none of the videos this ledger has from it was among them: then it may be another account's list.
    """

    unclaimed: tuple[Observation, ...]
    by_webhook: frozenset[str]
    listed: int | None
    knows_ours: bool


async def look(desk: Desk, client: "VideosClient", after: int) -> Sightings:
    """Look for everything that may have been created since position `after` of the ledger."""
    profile = client.profile
    listed = await _listed(desk, client, after) if profile.can_list else None
    announced = await _announced(desk, client, after, {seen.video_id for seen in listed or ()})
    return await asyncio.to_thread(_sightings, desk.ledger, profile.name, listed, announced)


async def _listed(desk: Desk, client: "VideosClient", after: int) -> list[Observation]:
    """Read the list, newest first, up to a page that shows a video claimed at `after` or before."""
    found: list[Observation] = []
    async for page in pages(client, order="desc"):
        found += page.observations
        ids = [seen.video_id for seen in page.observations]
        is_back = await asyncio.to_thread(_has_claim_before, desk.ledger, client.profile.name, ids, after)
        if is_back and _is_newest_first(page.observations):
            break
    return found


def _has_claim_before(ledger: Ledger, profile: str, video_ids: Sequence[str], position: int) -> bool:
    claims = (ledger.event(claim_id(profile, video_id)) for video_id in video_ids)
    return any(claim is not None and claim.position < position for claim in claims)


def _is_newest_first(videos: Sequence[Observation]) -> bool:
    """Say whether the server orders its list as it was asked to: some do not."""
    return all((one.created_at or 0) >= (next_.created_at or 0) for one, next_ in pairwise(videos))


async def _announced(desk: Desk, client: "VideosClient", after: int, listed: set[str]) -> list[Observation]:
    """Ask about the videos that webhooks named since `after`, and that neither list nor ledger knows."""
    inbox = RecordFilter(stream=inbox_of(client.profile.name), type=WebhookReceived.type)
    records = await asyncio.to_thread(lambda: list(desk.ledger.read(inbox, after=after)))
    named = {r.event.video_id for r in records if isinstance(r.event, WebhookReceived)}
    found = []
    for video_id in sorted(named - listed):
        if not await asyncio.to_thread(is_claimed, desk.ledger, client.profile.name, video_id):
            with suppress(VideoNotFound):
                found.append(await patiently(partial(client.observe, video_id)))
    return found


def _sightings(
    ledger: Ledger, profile: str, listed: Sequence[Observation] | None, announced: Sequence[Observation]
) -> Sightings:
    shown = {seen.video_id: seen for seen in (*(listed or ()), *announced)}
    unclaimed = [seen for seen in shown.values() if not is_claimed(ledger, profile, seen.video_id)]
    known = len(shown) - len(unclaimed)
    return Sightings(
        tuple(unclaimed),
        frozenset(seen.video_id for seen in announced),
        None if listed is None else len(listed),
        knows_ours=known > 0 or not _has_videos(ledger, profile),
    )


def is_claimed(ledger: Ledger, profile: str, video_id: str) -> bool:
    """Say whether a job has the video; also one from before there were claims."""
    if ledger.event(claim_id(profile, video_id)) is not None:
        return True
    return bool(ledger.jobs(JobFilter(profile=profile, video_id=video_id), 1))


def _has_videos(ledger: Ledger, profile: str) -> bool:
    there = (State.RUNNING, State.COMPLETED, State.STORED, State.FAILED, State.LOST)
    return bool(ledger.jobs(JobFilter(states=there, profile=profile), 1))
