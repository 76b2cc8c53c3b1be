"""Characters made from uploaded videos: an id and a name; the API cannot list or delete them."""

import uuid
from dataclasses import dataclass

from sora_adapter.sandbox.state.database import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS characters (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, created_at REAL NOT NULL
) STRICT;
"""


@dataclass(frozen=True)
class Character:
    """A character that a prompt can name."""

    id: str
    name: str
    created_at: float


class CharacterStore:
    """All characters; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.prepare(_SCHEMA)

    def create(self, name: str, now: float, character_id: str | None = None) -> Character:
        """Store a new character; an existing id is left unchanged."""
        character = Character(character_id or f"char_{uuid.uuid4().hex}", name, now)
        values = (character.id, character.name, character.created_at)
        self._database.change("INSERT OR IGNORE INTO characters VALUES (?, ?, ?)", values)
        return character

    def get(self, character_id: str) -> Character | None:
        """Return a character, or None if the id is unknown."""
        rows = self._database.rows(
            "SELECT id, name, created_at FROM characters WHERE id = ?", (character_id,)
        )
        return Character(*rows[0]) if rows else None  # type: ignore[arg-type]  # the table is STRICT
