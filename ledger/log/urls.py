"""The location of a ledger, a path or a URL of SQLite or PostgreSQL, and its name in messages."""

from pathlib import Path
from urllib.parse import unquote

from ledger.errors import LedgerUnusable

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


def check_url(url: str) -> None:
    """Raise `LedgerUnusable` if `url` is not the URL or path of a ledger."""
    scheme, separator, _ = url.partition("://")
    if separator and not url.startswith((_SQLITE, *_POSTGRES)):
        raise LedgerUnusable(
            f"ledger URL {scheme}://…: expected sqlite:///relative/path, sqlite:////absolute/path, "
            "postgresql://user:password@host:5432/database or a path",
            param="ledger",
            expected="sqlite:///path, postgresql://user:password@host:5432/database or a path",
            found=f"{scheme}://…",
        )


def file_of(url: str) -> Path | None:
    """Return the file of the ledger at `url`; None for a ledger on a database server."""
    if url.startswith(_POSTGRES):
        return None
    return Path(unquote(url.removeprefix(_SQLITE)) if "://" in url else url).expanduser()


def label_of(url: str) -> str:
    """Return the name of the ledger at `url` for messages, without its password."""
    path = file_of(url)
    if path is not None:
        return str(path)
    from ledger.store.postgres.errors import label  # the store in use

    return label(url)
