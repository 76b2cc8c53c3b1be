"""The contract of a place for files, in prose and as a `Protocol`. Two places share no code but the names.

*Content-addressed.* A file lies under the digest of its bytes, ``sha256/ab/<digest>.<suffix>``; what is under
a final name is whole. The same bytes are kept once.

*Keeping.* A file is given whole, on this machine, with its digest. When `keep` returns, the bytes are durable
there and have been seen to be what the digest says. If it raises, nothing is under the name that was not
there before, and nothing is left beside it; whoever keeps the same file again does the same thing.

*Who retries.* A place rides out short trouble by itself (seconds). Longer trouble is `StorageFailed`: the job
stays ``completed`` and is settled again.

*Absent* is None or False; `StorageFailed` says what was wrong with the place itself, and the next step.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

SUFFIXES = {
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "image/webp": ".webp",
    "image/jpeg": ".jpg",
    "image/png": ".png",
}
CONTENT = "sha256"


class Digested(NamedTuple):
    """A whole file on this machine, and what it is."""

    path: Path
    sha256: str
    bytes: int
    media_type: str

    @property
    def name(self) -> str:
        """Where it lies in a place."""
        return f"{CONTENT}/{self.sha256[:2]}/{self.sha256}{SUFFIXES.get(self.media_type, '.bin')}"


class Kept(NamedTuple):
    """A file in a place."""

    storage_uri: str
    sha256: str
    bytes: int
    kept_at: datetime


class Place(Protocol):
    """What keeping files needs of a folder or a bucket."""

    url: str
    """Its beginning in every URI it gives out."""

    def keep(self, file: Digested) -> str:
        """Keep `file` and return its URI; the path is empty afterwards, or still holds the file."""

    def size(self, storage_uri: str) -> int | None:
        """Return how many bytes are under a URI; None if there is no such file."""

    def fetch(self, storage_uri: str, target: Path) -> str | None:
        """Copy a file to `target` and return the digest of what came; None if there is no such file."""

    def digest(self, storage_uri: str) -> str | None:
        """Read a file and return the digest of its bytes; None if there is no such file."""

    def files(self) -> Iterator[Kept]:
        """Yield every file, in the order of their digests."""

    def remove(self, storage_uri: str) -> None:
        """Remove a file; one that is not there is no error."""
