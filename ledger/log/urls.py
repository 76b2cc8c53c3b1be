"""Where a ledger is: a path, a URL of SQLite or of PostgreSQL, and how messages name it."""

from pathlib import Path
from urllib.parse import unquote

from ledger.errors import LedgerUnusable

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


def check_url(url: str) -> None:
    """Raise `LedgerUnusable` if `url` is of no kind that a ledger is opened at."""
    scheme, separator, _ = url.partition("://")
    if separator and not url.startswith((_SQLITE, *_POSTGRES)):
        raise LedgerUnusable(
            f"ledger URL {scheme}://…: expected sqlite:///relative/path, sqlite:////absolute/path, "
            "postgresql://user:password@host:5432/database or a path"
        )


def file_of(url: str) -> Path | None:
    """Return the file of the ledger at `url`; None if it is on a database server."""
    if url.startswith(_POSTGRES):
        return None
    return Path(unquote(url.removeprefix(_SQLITE)) if "://" in url else url).expanduser()


def label_of(url: str) -> str:
    """Return how messages name the ledger at `url`: never with its password."""
    path = file_of(url)
    if path is not None:
        return str(path)
    from ledger.store.postgres.errors import label  # the store in use

    return label(url)
