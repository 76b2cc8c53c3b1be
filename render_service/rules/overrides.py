"""Setting a denial aside: by name, with a reason, for a while, and only where the policy lets it.

An override opens the gates it names and no other; what it opens may still be held, or denied for something
else. It is recorded before the decision it leads to, with who and until when. What is not submitted by then
is not submitted on its strength.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from decision.engine.approval import Considered, override
from decision.engine.gates import REFUSALS
from decision.errors import BadRequest
from decision.request import validators
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from ledger.events import DecisionOverridden, RenderDenied
from ledger.private import Private
from ledger.record import timestamp
from render_service.runtime.errors import BadInput


@dataclass(frozen=True)
class Override:
    """Which denials somebody sets aside, why, and until when."""

    codes: tuple[str, ...]
    reason: str
    until: datetime

    def events(self) -> list[DecisionOverridden]:
        """Return what is recorded of it, sealed anew each time."""
        until = timestamp(self.until)
        return [
            DecisionOverridden(detail_code=code, why=Private.seal("why", self.reason), expires_at=until)
            for code in self.codes
        ]


def read_override(codes: Sequence[str], reason: str, until: datetime, now: datetime) -> Override:
    """Return an override; `BadRequest` for a denial there is none of, `BadInput` for a time that is over."""
    for code in codes:
        validators.word("denial", code, sorted(REFUSALS))
    if until <= now:
        raise BadInput(f"--override-until {timestamp(until)[:19]}Z is over: name a time to come")
    return Override(tuple(dict.fromkeys(codes)), reason, until)


def set_aside(ruling: Considered, wish: Override, *, catalog: Catalog, policy: Policy) -> Considered:
    """Return what is ruled with the denials of `wish` set aside.

    `BadRequest` where the policy does not let them be, or nothing was denied for one of them.
    """
    for code in wish.codes:
        if not isinstance(ruling, RenderDenied):
            raise BadRequest(f"nothing is denied for {code}, so there is nothing to override; leave it out")
        ruling = override(ruling, code, catalog=catalog, policy=policy)
    return ruling
