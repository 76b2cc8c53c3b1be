"""Override a denial: by name, with a reason, until a time, and only where the policy permits it.

An override opens only the gates it names; the request may still be held, or denied for another reason. It is
recorded before the decision it leads to, with the actor and the expiry. It does not permit a submission after
it has expired.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from decision.engine.gates import REFUSALS
from decision.request import validators
from ledger.events import DecisionOverridden
from ledger.private import Private
from ledger.record import timestamp
from render_service.runtime.errors import BadInput


@dataclass(frozen=True)
class Override:
    """The denials to override, the reason, and the expiry."""

    codes: tuple[str, ...]
    reason: str
    until: datetime

    def events(self) -> list[DecisionOverridden]:
        """Return the events that record the override, sealed anew each time."""
        until = timestamp(self.until)
        return [
            DecisionOverridden(detail_code=code, why=Private.seal("why", self.reason), expires_at=until)
            for code in self.codes
        ]


def read_override(codes: Sequence[str], reason: str, until: datetime, now: datetime) -> Override:
    """Return an override; `BadRequest` for an unknown denial, `BadInput` for a time in the past."""
    for code in codes:
        validators.parse_word("denial", code, sorted(REFUSALS))
    if until <= now:
        raise BadInput(
            f"--override-until {timestamp(until)[:19]}Z is in the past: name a future time",
            param="override_until",
            expected="a future time",
            found=f"{timestamp(until)[:19]}Z",
        )
    return Override(tuple(dict.fromkeys(codes)), reason, until)
