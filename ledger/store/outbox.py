"""The contract of the outbox: what is on its way to the outside. Stores share no SQL.

What is due follows from the log: the reader at the cursor adds the deliveries of new records and moves the
cursor in one transaction, so that each is added once, however many processes read. Deliveries are not facts:
the final outcome of each is recorded, and its row is then deleted, or stays as a dead letter.

A claim makes a delivery due again when its lease ends. A process that crashes while it delivers leaves it
so, and the next claim delivers it again. `attempts` is the fence: what a process reports about an attempt
is ignored if there was a later one.

A *reader* takes the log to one place outside: one process at a time has its turn, and moves its position. A
process that crashes leaves a turn that ends. `token` is the fence: a process whose turn went to another
moves nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

ALERT = "alert:"
"""What the endpoint of an alert to people begins with."""

NOTIFICATIONS = "notifications"
"""The cursor of webhooks to clients."""

FORWARD = "forward:"
"""What the names of the readers of `forward` begin with; it is also the endpoint of their dead letters."""


class NewDelivery(NamedTuple):
    """The record at `position`, to be announced to one endpoint; `is_dead` if it was given up before.

    Then `http_status` is the last answer, if there was one. `body` is what an alert to people says; one whose
    id was added before, even if it was delivered since, is not added again.
    """

    delivery_id: str
    endpoint_id: str
    position: int
    is_dead: bool = False
    http_status: int | None = None
    body: str | None = None


class Delivery(NamedTuple):
    """A delivery with the number of its attempt; `age_ms` counts from when it was added, or sent again."""

    delivery_id: str
    endpoint_id: str
    position: int
    attempts: int
    age_ms: int
    http_status: int | None


class Turn(NamedTuple):
    """The turn of a process at a reader that has read up to `position`."""

    name: str
    position: int
    token: int


class Reader(NamedTuple):
    """How far a reader has read, and whether a process has its turn now."""

    name: str
    position: int
    is_taken: bool


class OutboxTally(NamedTuple):
    """How many deliveries wait to be accepted, and how many were given up."""

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
        """Add deliveries that follow from no record."""

    def body(self, delivery_id: str) -> str | None:
        """Return what an alert says; None for other deliveries."""

    def begin_turn(self, name: str, first: int, lease_ms: int) -> Turn | None:
        """Take the turn at a reader, which begins at `first`; None while another process has it.

        A turn that would end after a lease that begins now is from before the clock was set back, and ends.
        """

    def move(self, turn: Turn, moved_to: int, lease_ms: int, new: Sequence[NewDelivery] = ()) -> Turn | None:
        """Extend a turn, move its reader, and add deliveries; None, and nothing changes, if it was lost."""

    def end_turn(self, turn: Turn) -> None:
        """Let another process have the turn at once."""

    def readers(self) -> list[Reader]:
        """Return the readers by name."""

    def forget_reader(self, name: str) -> bool:
        """Delete a reader and its dead letters; False, and nothing changes, if a process has its turn."""

    def claim(self, room: Mapping[str, int], lease_ms: int) -> list[Delivery]:
        """Claim due deliveries, of each endpoint in `room` at most so many, oldest first."""

    def retry(self, delivery: Delivery, delay_ms: int, http_status: int | None) -> None:
        """Make a claimed delivery due in `delay_ms`."""

    def finish(self, delivery: Delivery) -> None:
        """Delete a claimed delivery, whose acceptance is recorded."""

    def give_up(self, delivery: Delivery, http_status: int | None) -> None:
        """Keep a claimed delivery as a dead letter."""

    def dead_letters(self) -> list[Delivery]:
        """Return the dead letters, oldest first."""

    def send_again(self, delivery_ids: Collection[str]) -> list[str]:
        """Make these dead letters due now, as if they were new; return which there were."""

    def forget(self, endpoint_ids: Collection[str]) -> None:
        """Delete all deliveries of endpoints that were deleted."""

    def bring_forward(self, delay_ms: int) -> None:
        """Make everything due within `delay_ms`, because the clock was set back."""

    def tally(self) -> OutboxTally:
        """Return how many deliveries there are."""
