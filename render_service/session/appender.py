"""Appends of many tasks, made together (`render_service.runtime.coalesce`).

Sixteen tasks so share one thread and one transaction. An append that is refused must not take the others with
it: where the ledger refuses the whole, each is made by itself, which is the same append with the same ids.
Whatever else goes wrong (the disk is full, the database is gone) is raised to every task of the group.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from ledger.errors import AppendRefused
from ledger.log.ledger import Ledger
from ledger.record import Record
from ledger.store.interface import Batch, Document
from render_service.runtime.coalesce import Coalescer


class Append(NamedTuple):
    """What one task has recorded, all or nothing."""

    batches: Sequence[Batch]
    documents: Sequence[Document]


class Recorder:
    """Makes the appends of one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._appends = Coalescer[Append, list[Record]](self._append_group)

    async def append(self, batches: Sequence[Batch], documents: Sequence[Document] = ()) -> list[Record]:
        """Record `batches`, all or nothing; durable on return. Raises what `Ledger.append` raises."""
        return await self._appends.do(Append(batches, documents))

    async def _append_group(self, group: Sequence[Append]) -> Sequence[list[Record] | Exception]:
        return await asyncio.to_thread(self._append, group)

    def _append(self, group: Sequence[Append]) -> list[list[Record] | Exception]:
        if len(group) > 1:
            with suppress(AppendRefused, ValueError):
                return list(self._together(group))
        return [self._alone(one) for one in group]

    def _together(self, group: Sequence[Append]) -> list[list[Record]]:
        documents = [document for one in group for document in one.documents]
        batches = [batch for one in group for batch in one.batches]
        records = iter(self._ledger.append(batches, documents=documents))
        return [list(islice(records, sum(len(batch.drafts) for batch in one.batches))) for one in group]

    def _alone(self, one: Append) -> list[Record] | Exception:
        try:
            return self._ledger.append(one.batches, documents=one.documents)
        except Exception as error:  # noqa: BLE001  # raised where it is waited for
            return error
