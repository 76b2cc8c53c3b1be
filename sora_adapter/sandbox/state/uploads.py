"""Files uploaded separately (``/v1/files``), which a create request can name as its ``input_reference``."""

import uuid
from dataclasses import dataclass

from sora_adapter.sandbox.state.database import Database
from sora_adapter.serving.bodies import Upload

_SCHEMA = """
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
        database.prepare(_SCHEMA)

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
        return UploadedFile(*rows[0]) if rows else None  # type: ignore[arg-type]  # the table is STRICT

    def body(self, file_id: str) -> bytes | None:
        """Return the bytes of a file, or None if the id is unknown."""
        rows = self._database.rows("SELECT body FROM uploads WHERE id = ?", (file_id,))
        body = rows[0][0] if rows else None
        return body if isinstance(body, bytes) else None

    def delete(self, file_id: str) -> bool:
        """Delete a file; return whether it existed."""
        return self._database.change("DELETE FROM uploads WHERE id = ?", (file_id,)) > 0
