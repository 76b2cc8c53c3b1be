"""The contract of a storage place, in prose and as a `Protocol`. Its implementations share only the names.

*Content addressing.* A file is stored under the digest of its bytes (`render_service.assets.names`); a file
with a final name is complete. The same bytes are stored once. Anything under such a name that is not a
regular file, such as a link, a pipe or a device, is treated as absent by all methods and never opened.

*Durability.* `keep` gets a complete local file with its digest. When it returns, the bytes are durable and
were verified against the digest. If it raises, nothing new exists under the name and no temporary object is
left; storing the same file again is safe.

*Ownership.* A place holds one note, which names its ledger (`render_service.assets.folder`).

*Retries.* A place retries short failures itself (seconds). Longer failures raise `StorageFailed`: the job
stays ``completed`` and is settled again later.

*Absence* is None or False; `StorageFailed` reports a failure of the place itself, and the next step.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from render_service.assets.names import name_of

NOTE = "ledger.json"
MOST_NOTE_BYTES = 10_000


class Digested(NamedTuple):
    """A complete local file with its digest, size and media type."""

    path: Path
    sha256: str
    bytes: int
    media_type: str

    @property
    def name(self) -> str:
        """The name of the file in a place."""
        return name_of(self.sha256, self.media_type)


class FileInPlace(NamedTuple):
    """A file in a place; `storage_uri` includes the place."""

    name: str
    storage_uri: str
    sha256: str
    bytes: int
    stored_at: datetime


class Place(Protocol):
    """A folder or bucket that stores files."""

    url: str
    """The URL of the place."""

    def keep(self, file: Digested) -> None:
        """Store `file` under its name; the local file may be moved."""

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if there is no such file."""

    def fetch(self, name: str, target: Path) -> str | None:
        """Copy a file to `target` and return the digest of the copy; None if there is no such file."""

    def digest(self, name: str) -> str | None:
        """Return the digest of a file's bytes; None if there is no such file."""

    def files(self) -> Iterator[FileInPlace]:
        """Yield all files, ordered by digest."""

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""

    def note(self) -> bytes | None:
        """Return the note, truncated to `MOST_NOTE_BYTES`; None if there is none."""

    def put_note(self, content: bytes, *, replace: bool) -> None:
        """Write the note, atomically; without `replace` an existing note is left unchanged."""
