"""Open the ledger that the settings name: for reading if there is one, or to activate a policy."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from decision.rules.approvals import Change
from ledger.errors import LedgerUnusable, WrongExpectedVersion
from ledger.events import PolicyActivated
from ledger.log.ledger import Ledger
from ledger.log.opening import open_ledger, open_or_create
from ledger.private import Private
from ledger.record import Record, draft
from ledger.store.interface import Batch
from render_service.rules.policies import STREAM, Rules, check_new, read_active_rules
from render_service.runtime.errors import NotReady
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Trace


@contextmanager
def ledger_if_any(settings: Settings) -> Iterator[Ledger | None]:
    """Open the ledger for reading; None if it cannot be read, since a preview needs none."""
    try:
        ledger = open_ledger(settings.ledger_url) if settings.may_have_ledger else None
    except LedgerUnusable:  # reported by the command that needs the ledger
        ledger = None
    try:
        yield ledger
    finally:
        if ledger is not None:
            ledger.close()


def activate(settings: Settings, trace: Trace, now: datetime, rules: Rules, why: str) -> Record:
    """Put `rules` in force, and return the record of who did so and why.

    `NotReady` if they already are, or if others were activated in the meantime; `NeedsApproval` if the policy
    in force requires one.
    """
    provenance = settings.provenance(trace)
    with open_or_create(settings.ledger_url, provenance, now) as ledger:
        event = PolicyActivated(
            policy_sha256=rules.policy.digest,
            catalog_sha256=rules.catalog.digest,
            why=Private.seal("why", why),
        )
        active = read_active_rules(ledger)
        check_new(active, rules)
        active.check_free(Change.POLICY)
        batch = Batch(STREAM, active.version, [draft(event, provenance, now)])
        try:
            return ledger.append([batch], documents=rules.documents)[0]
        except WrongExpectedVersion:
            raise NotReady(
                "another policy was activated just now: check it with `sora-ledger policy show`, "
                "and activate yours again if you still want it",
                param="policy",
                expected="the policy that you saw",
                found="another one in force",
            ) from None
