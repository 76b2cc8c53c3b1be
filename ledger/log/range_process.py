"""A process started by `ledger.log.verification` that checks one range of a ledger and says if it is sound.

Orders come on stdin and answers go to stdout. The URL may hold a password, so it comes the same way.
"""

import gc
import sys
from contextlib import ExitStack, suppress
from typing import IO

from ledger.errors import LedgerUnusable
from ledger.log.opening import open_snapshot
from ledger.log.verification import Order, encode, read_answer, write_frame
from ledger.verify.ranges import Part, Ranges, check_range
from ledger.verify.slim_fold import NotSound
from ledger.verify.spill import Memory

NOTHING = b"null"


def main(orders: IO[bytes], answers: IO[bytes]) -> None:
    """Follow orders until the process is ended."""
    gc.disable()  # nothing here forms reference cycles
    with ExitStack() as stack:
        snapshot: Ranges | None = None
        while (order := read_answer(orders, Order)) is not None:
            if order.url is not None:
                stack.close()
                try:
                    snapshot = stack.enter_context(open_snapshot(order.url, order.exported))
                    write_frame(answers, encode(snapshot.head()))
                except LedgerUnusable:
                    write_frame(answers, NOTHING)
            elif snapshot is not None:
                _check(snapshot, order, answers)


def _check(snapshot: Ranges, order: Order, answers: IO[bytes]) -> None:
    with Memory() as memory:
        part: Part | None = None
        with suppress(NotSound, LedgerUnusable):
            part = check_range(snapshot, memory, order.first, order.last, order.roots_at)
        write_frame(answers, NOTHING if part is None else encode(part))
        for bucket in memory.event_id_hashes() if part is not None else ():
            write_frame(answers, bucket)


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
