"""The store on PostgreSQL, 14 or newer: many machines, one ledger."""

from ledger.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
