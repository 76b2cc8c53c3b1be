"""Appends of many tasks, made together: while one is under way the next ones gather, and then go as one.

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
from ledger.store.interface import Batch, Document, Hold


class Waiting(NamedTuple):
    """An append that somebody waits for."""

    batches: Sequence[Batch]
    holds: Sequence[Hold]
    documents: Sequence[Document]
    done: asyncio.Future[list[Record]]


class Recorder:
    """Makes the appends of one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[Waiting] = []
        self._committing: asyncio.Task[None] | None = None

    async def append(
        self, batches: Sequence[Batch], holds: Sequence[Hold] = (), documents: Sequence[Document] = ()
    ) -> list[Record]:
        """Record `batches`, all or nothing; durable on return. Raises what `Ledger.append` raises."""
        done: asyncio.Future[list[Record]] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(batches, holds, documents, done))
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit())
        return await done

    async def _commit(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                outcomes: Sequence[list[Record] | Exception] = await asyncio.to_thread(self._append, group)
            except Exception as error:  # noqa: BLE001  # raised where each of them is waited for
                outcomes = [error] * len(group)
            except BaseException:  # cancelled as the loop ends: nobody may wait for what nobody makes
                for one in (*group, *self._waiting):
                    one.done.cancel()
                raise
            for one, outcome in zip(group, outcomes, strict=True):
                if one.done.done():  # its caller was cancelled; the append was made all the same
                    continue
                if isinstance(outcome, Exception):
                    one.done.set_exception(outcome)
                else:
                    one.done.set_result(outcome)

    def _append(self, group: Sequence[Waiting]) -> list[list[Record] | Exception]:
        if len(group) > 1:
            with suppress(AppendRefused, ValueError):
                return list(self._together(group))
        return [self._alone(one) for one in group]

    def _together(self, group: Sequence[Waiting]) -> list[list[Record]]:
        documents = [document for one in group for document in one.documents]
        holds = [hold for one in group for hold in one.holds]
        batches = [batch for one in group for batch in one.batches]
        records = iter(self._ledger.append(batches, holds=holds, documents=documents))
        return [list(islice(records, sum(len(batch.drafts) for batch in one.batches))) for one in group]

    def _alone(self, one: Waiting) -> list[Record] | Exception:
        try:
            return self._ledger.append(one.batches, holds=one.holds, documents=one.documents)
        except Exception as error:  # noqa: BLE001  # raised where it is waited for
            return error
