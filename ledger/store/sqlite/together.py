"""The appends of several callers in one transaction: placed as one where that is the same, else one by one.

Placed as one, they share the statements of one append, which are most of what an append costs. It is the same
as placing them one after the other only where none is refused, no two touch the same stream or budget, and
none touches a stream that another expects at some version. Any number may expect the same.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice

from ledger.merkle import Frontier
from ledger.record import Record
from ledger.store.group_commit import Request
from ledger.store.sqlite.append import Append, as_one, place, write

AppendRequest = Request[Append, list[Record]]


def apply_all(db: sqlite3.Connection, group: Sequence[AppendRequest], tree: Frontier) -> None:
    """Carry out `group` and settle each request's result or error; `tree` grows with it.

    What SQLite raises, and whatever else goes wrong once writing has begun, ends the whole transaction.
    """
    for requests in _apart(group):
        if len(requests) == 1 or not _apply_as_one(db, requests, tree):
            for request in requests:
                _apply(db, request, tree)


def _apart(group: Sequence[AppendRequest]) -> Iterator[Sequence[AppendRequest]]:
    """Yield the requests in their order, as many at a time as touch nothing twice."""
    begin, touched, expected = 0, set[tuple[str, str]](), set[tuple[str, str]]()
    for number, request in enumerate(group):
        touches, expects = request.work.touched, request.work.expected
        if not (touched.isdisjoint(touches | expects) and expected.isdisjoint(touches)):
            yield group[begin:number]
            begin, touched, expected = number, set(), set()
        touched |= touches
        expected |= expects
    yield group[begin:]


def _apply_as_one(db: sqlite3.Connection, requests: Sequence[AppendRequest], tree: Frontier) -> bool:
    """Carry out `requests` as one append; False, with nothing done, where that is refused."""
    try:
        placed = place(db, as_one([request.work for request in requests]), tree.size)
    except sqlite3.Error:
        raise
    except Exception:  # noqa: BLE001  # one of them is refused; by itself it is told so
        return False
    write(db, placed, tree)
    records = iter(placed.records)
    for request in requests:
        request.result = list(islice(records, request.work.size))
    return True


def _apply(db: sqlite3.Connection, request: AppendRequest, tree: Frontier) -> None:
    try:
        placed = place(db, request.work, tree.size)
    except sqlite3.Error:
        raise
    except Exception as error:  # noqa: BLE001  # the caller's own; `Request.outcome` raises it there
        request.error = error
        return
    write(db, placed, tree)
    request.result = placed.records
