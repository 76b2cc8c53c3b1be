"""Separate uploads of clients: files (``/v1/files``), and the videos that characters are made from.

A create request can name a file as its ``input_reference``. A character is an id and a name; the API cannot
list or delete it.
"""

import uuid
from dataclasses import dataclass

from sora_adapter.sandbox.state.database import Database
from sora_adapter.serving.bodies import Upload

_CHARACTERS = """
CREATE TABLE IF NOT EXISTS characters (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, created_at REAL NOT NULL
) STRICT;
"""


@dataclass(frozen=True)
class Character:
    """A character that a prompt can refer to."""

    id: str
    name: str
    created_at: float


class CharacterStore:
    """All characters; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.prepare(_CHARACTERS)

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
        return Character(*rows[0]) if rows else None


_UPLOADS = """
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, purpose TEXT NOT NULL, bytes INTEGER NOT NULL,
    created_at REAL NOT NULL, body BLOB NOT NULL
) STRICT;
"""


@dataclass(frozen=True)
class UploadedFile:
    """A file in the API's format."""

    id: str
    name: str
    purpose: str
    bytes: int
    created_at: float


class UploadStore:
    """All uploaded files; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.prepare(_UPLOADS)

    def add(self, upload: Upload, purpose: str, now: float) -> UploadedFile:
        """Store a new file."""
        file = UploadedFile(f"file-{uuid.uuid4().hex}", upload.name, purpose, len(upload.body), now)
        values = (file.id, file.name, file.purpose, file.bytes, file.created_at, upload.body)
        self._database.change("INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?)", values)
        return file

    def get(self, file_id: str) -> UploadedFile | None:
        """Return a file, or None if the id is unknown."""
        query = "SELECT id, name, purpose, bytes, created_at FROM uploads WHERE id = ?"
        rows = self._database.rows(query, (file_id,))
        return UploadedFile(*rows[0]) if rows else None

    def body(self, file_id: str) -> bytes | None:
        """Return the bytes of a file, or None if the id is unknown."""
        rows = self._database.rows("SELECT body FROM uploads WHERE id = ?", (file_id,))
        body = rows[0][0] if rows else None
        return body if isinstance(body, bytes) else None

    def delete(self, file_id: str) -> bool:
        """Delete a file; return whether it existed."""
        return self._database.change("DELETE FROM uploads WHERE id = ?", (file_id,)) > 0
