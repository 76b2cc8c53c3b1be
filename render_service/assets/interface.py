"""The contract of a place for files, in prose and as a `Protocol`. Two places share no code but the names.

*Content-addressed.* A file lies under the digest of its bytes (`render_service.assets.names`); what is under
a final name is whole. The same bytes are kept once. What is not a regular file under such a name, such as a
link, a pipe or a device, is not there for any method, and is not opened.

*Keeping.* A file is given whole, on this machine, with its digest. When `keep` returns, the bytes are durable
there and have been seen to be what the digest says. If it raises, nothing is under the name that was not
there before, and nothing is left beside it; storing the same file again does the same thing.

*Belonging.* A place holds one note, which names its ledger (`render_service.assets.ownership`).

*Who retries.* A place rides out short trouble by itself (seconds). Longer trouble is `StorageFailed`: the job
stays ``completed`` and is settled again.

*Absent* is None or False; `StorageFailed` says what was wrong with the place itself, and the next step.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from render_service.assets.names import name_of

NOTE = "ledger.json"
MOST_NOTE_BYTES = 10_000


class Digested(NamedTuple):
    """A whole file on this machine, and what it is."""

    path: Path
    sha256: str
    bytes: int
    media_type: str

    @property
    def name(self) -> str:
        """Where it lies in a place."""
        return name_of(self.sha256, self.media_type)


class Kept(NamedTuple):
    """A file in a place; `storage_uri` says where it is, with the place."""

    name: str
    storage_uri: str
    sha256: str
    bytes: int
    kept_at: datetime


class Place(Protocol):
    """What keeping files needs of a folder or a bucket."""

    url: str
    """Where it is."""

    def keep(self, file: Digested) -> None:
        """Keep `file` under its name; the path is empty afterwards, or still holds the file."""

    def size(self, name: str) -> int | None:
        """Return how many bytes a file has; None if there is no such file."""

    def fetch(self, name: str, target: Path) -> str | None:
        """Copy a file to `target` and return the digest of what came; None if there is no such file."""

    def digest(self, name: str) -> str | None:
        """Read a file and return the digest of its bytes; None if there is no such file."""

    def files(self) -> Iterator[Kept]:
        """Yield every file, in the order of their digests."""

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""

    def note(self) -> bytes | None:
        """Return the note; None if there is none. Longer ones are cut."""

    def put_note(self, content: bytes, *, replace: bool) -> None:
        """Write the note, whole; without `replace` nothing is done if there is one."""
