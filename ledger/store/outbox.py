"""The contract of the outbox: deliveries on their way out. Stores share no SQL.

Due deliveries are derived from the log: the reader at the cursor adds the deliveries of new records and moves
the cursor in one transaction, so that each is added once, however many processes read. Deliveries are not
facts: the final outcome of each is recorded, and its row is then deleted or kept as a dead letter.

A claim makes a delivery due again when its lease ends. If a process crashes while delivering, the next claim
delivers it again. `attempts` is the fence: a report about an attempt is ignored if there was a later one.

A *reader* forwards the log to one external destination. One process at a time has its turn and moves its
position; the turn of a crashed process expires. `token` is the fence: a process that lost its turn cannot
move the position.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

ALERT = "alert:"
"""Prefix of the endpoint of an alert to people."""

NOTIFICATIONS = "notifications"
"""The cursor of webhooks to clients."""

FORWARD = "forward:"
"""Prefix of the reader names of `forward`; also the endpoint of their dead letters."""


class NewDelivery(NamedTuple):
    """The record at `position`, to be announced to one endpoint; `is_dead` if it was already given up.

    Then `http_status` is the last answer, if there was one. `body` is the text of an alert to people; an
    alert whose id was added before, even if delivered since, is not added again.
    """

    delivery_id: str
    endpoint_id: str
    position: int
    is_dead: bool = False
    http_status: int | None = None
    body: str | None = None


class Delivery(NamedTuple):
    """A delivery with the number of its attempt; `age_ms` counts from when it was added or resent."""

    delivery_id: str
    endpoint_id: str
    position: int
    attempts: int
    age_ms: int
    http_status: int | None


class Turn(NamedTuple):
    """The turn of a process at a reader, which has read up to `position`."""

    name: str
    position: int
    token: int


class Reader(NamedTuple):
    """How far a reader has read, and whether a process holds its turn now."""

    name: str
    position: int
    is_taken: bool


class OutboxTally(NamedTuple):
    """Numbers of deliveries that are pending and that were given up."""

    waiting: int
    dead: int


class Outbox(Protocol):
    """Deliveries, and the cursor of the reader who adds them."""

    def cursor(self, name: str = NOTIFICATIONS) -> int | None:
        """Return the position up to which the log was read; None if it never was."""

    def add(
        self, cursor: int | None, moved_to: int, new: Sequence[NewDelivery], name: str = NOTIFICATIONS
    ) -> bool:
        """Add deliveries and move the cursor, unless another process moved it first: then return False."""

    def put(self, new: Sequence[NewDelivery]) -> None:
        """Add deliveries that do not derive from a record."""

    def body(self, delivery_id: str) -> str | None:
        """Return the text of an alert; None for other deliveries."""

    def begin_turn(self, name: str, first: int, lease_ms: int) -> Turn | None:
        """Take the turn at a reader, which begins at `first`; None while another process holds it.

        A turn that would outlast a lease beginning now predates a clock that was set back, so it ends.
        """

    def move(self, turn: Turn, moved_to: int, lease_ms: int, new: Sequence[NewDelivery] = ()) -> Turn | None:
        """Extend a turn, move its reader, and add deliveries; None, and nothing changes, if it was lost."""

    def end_turn(self, turn: Turn) -> None:
        """Give up the turn immediately."""

    def readers(self) -> list[Reader]:
        """Return the readers by name."""

    def forget_reader(self, name: str) -> bool:
        """Delete a reader and its dead letters; False, and nothing changes, if a process holds its turn."""

    def claim(self, room: Mapping[str, int], lease_ms: int) -> list[Delivery]:
        """Claim due deliveries, oldest first, up to the number in `room` for each endpoint."""

    def retry(self, delivery: Delivery, delay_ms: int, http_status: int | None) -> None:
        """Make a claimed delivery due in `delay_ms`."""

    def finish(self, delivery: Delivery) -> None:
        """Delete a claimed delivery, whose acceptance is recorded."""

    def give_up(self, delivery: Delivery, http_status: int | None) -> None:
        """Keep a claimed delivery as a dead letter."""

    def dead_letters(self) -> list[Delivery]:
        """Return the dead letters, oldest first."""

    def send_again(self, delivery_ids: Collection[str]) -> list[str]:
        """Make these dead letters due now, as if new; return the ones that existed."""

    def forget(self, endpoint_ids: Collection[str]) -> None:
        """Delete all deliveries of these deleted endpoints."""

    def bring_forward(self, delay_ms: int) -> None:
        """Make everything due within `delay_ms`, because the clock was set back."""

    def tally(self) -> OutboxTally:
        """Return how many deliveries there are."""
