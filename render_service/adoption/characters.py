"""Create and read characters: people or things from a short video that prompts can refer to by name.

Creating a character is free and is attempted once. No intent is recorded, so a lost answer leaves nothing in
the ledger: see docs/decisions/0020-characters.md.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decision.request.request import SourceFile
from ledger.events import CharacterCreated
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.record import Record
from ledger.store.filters import RecordFilter
from ledger.store.interface import ANY
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Trace
from render_service.session.connecting import connection
from render_service.session.connections import find_usable_profile
from render_service.session.session import Session
from sora_adapter.errors import ServerFailed, ServerUnreachable, ServerUnreadable
from sora_adapter.models import Character
from sora_adapter.profiles import require
from sora_adapter.requests import ReferenceFile

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

SECONDS = (2, 4)
PIXELS = (720, 1_080)
"""Limits of the source video of a character: its length and its shorter side (docs/servers.md, 3)."""

MAY_EXIST = (
    "if the request arrived, the server may have created a character with an unknown id, because no server "
    "lists characters: creating it again costs nothing and leaves that one unused"
)


@dataclass(frozen=True)
class KnownCharacter:
    """A character as recorded in the ledger and as described by the server; None if unknown there."""

    character_id: str
    record: Record | None
    shown: Character | None

    @property
    def created(self) -> CharacterCreated | None:
        """The recorded event."""
        event = self.record.event if self.record else None
        return event if isinstance(event, CharacterCreated) else None

    @property
    def name(self) -> str | None:
        """Its name, as the server returned it if the server was asked."""
        recorded = self.created.name.text if self.created else None
        return (self.shown.name if self.shown else None) or recorded


def stream_of(profile: str) -> str:
    """Return the stream that records the characters of a profile's server."""
    return f"characters_{profile}"


def check_film(film: SourceFile) -> None:
    """Raise `BadInput`, before anything is sent, for a video that no server accepts for a character."""
    short, long = sorted(int(side) for side in film.size.split("x"))
    if film.media_type != "video/mp4":
        wrong = f"needs an MP4 file, found {film.media_type}; convert it first"
    elif not SECONDS[0] <= film.seconds <= SECONDS[1]:
        wrong = f"needs {SECONDS[0]} to {SECONDS[1]} seconds, found {film.seconds}; cut it first"
    elif short * 16 != long * 9 or not PIXELS[0] <= short <= PIXELS[1]:
        wrong = f"needs 16:9 or 9:16 from 720p to 1080p, found {film.size}; scale or crop it first"
    else:
        return
    raise BadInput(
        f"video {film.name}: a character {wrong}",
        param="video",
        expected="a video that can be a character's",
        found=wrong,
    )


async def create_character(session: Session, name: str, file: SourceFile, path: Path) -> KnownCharacter:
    """Store the video, create a character from it on the server, and record it; raises `AnswerError`."""
    profile = session.profile()
    require(profile, "character")
    await asyncio.to_thread(session.assets.put_file, path, file.media_type)
    upload = ReferenceFile(name=file.name, media_type=file.media_type, content=path)
    async with session.connect(profile) as client:
        return await session.finish_uninterrupted(_create(session, client, name, file, upload))


async def _create(
    session: Session, client: "VideosClient", name: str, file: SourceFile, upload: ReferenceFile
) -> KnownCharacter:
    try:
        made = await client.create_character(name, upload)
    except (ServerUnreachable, ServerFailed, ServerUnreadable) as lost:
        raise type(lost)(f"{lost}; {MAY_EXIST}", detail=lost.detail) from lost
    event = CharacterCreated(
        profile=client.profile.name,
        character_id=made.character_id,
        name=Private.seal("name", name),
        source_sha256=file.sha256,
        team=session.settings.team,
    )
    records = await session.append(stream_of(client.profile.name), ANY, [session.draft(event)])
    return KnownCharacter(made.character_id, records[-1], made)


def team_of(record: Record | None) -> str | None:
    """Return the team for which the recorded character was created."""
    return record.event.team if record and isinstance(record.event, CharacterCreated) else None


def find_character(ledger: Ledger, character_id: str) -> Record | None:
    """Return the record of a character, or None if this ledger has none."""
    records = ledger.read(RecordFilter(type=CharacterCreated.type))
    return next((r for r in records if _id_in(r) == character_id), None)


def _id_in(record: Record) -> str | None:
    return record.event.character_id if isinstance(record.event, CharacterCreated) else None


def profile_of(record: Record | None) -> str | None:
    """Return the profile whose server has the recorded character."""
    return record.event.profile if record and isinstance(record.event, CharacterCreated) else None


async def see_character(
    settings: Settings, trace: Trace, character_id: str, recorded: Record | None, *, even_if_retired: bool
) -> KnownCharacter:
    """Return a character from the server that created it, or from the chosen server if it is unrecorded."""
    profile = find_usable_profile(settings, profile_of(recorded), even_if_retired=even_if_retired)
    async with connection(settings, trace, profile) as client:
        return KnownCharacter(character_id, recorded, await client.get_character(character_id))


def character_document(character: KnownCharacter) -> dict[str, Any]:
    """Return a character in the form of the API, and the recorded fields under ``recorded``."""
    created, record = character.created, character.record
    recorded = None
    if created and record:
        recorded = {
            "profile": created.profile,
            "source_sha256": created.source_sha256,
            "position": record.position,
            "recorded_at": record.recorded_at,
            "actor": record.actor,
        }
    return {
        "id": character.character_id,
        "object": "character",
        "name": character.name,
        "created_at": character.shown.created_at if character.shown else None,
        "recorded": recorded,
    }
