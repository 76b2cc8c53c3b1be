"""The store on SQLite: one file, WAL, every commit synchronised to disk."""

from ledger.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
