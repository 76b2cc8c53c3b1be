"""Create a ledger explicitly, and grant rights to the role that will use it.

The role that creates a ledger on PostgreSQL owns its tables and has all rights. Daily operation does not need
them: it can use a role that may only insert into `events` and read it; the grants limit the other tables
likewise.
"""

from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from ledger.errors import LedgerUnusable
from ledger.events import LedgerCreated
from ledger.log.opening import open_or_create, open_store
from ledger.log.urls import file_of, label_of
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Trace
from render_service.session.session import utc_now


@dataclass(frozen=True)
class Beginning:
    """An existing or new ledger, and the grants for a role, as SQL, if a role was named."""

    ledger: str
    ledger_id: str
    origin: str
    size: int
    begun: bool
    grants: str | None
    applied: bool

    def document(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        return asdict(self)


def begin(settings: Settings, trace: Trace, *, role: str | None = None, applies: bool = False) -> Beginning:
    """Create the ledger if it does not exist; with `applies`, also run the grants for `role`."""
    url = settings.ledger_url
    if role is not None:
        _check_role(role, url)
    with closing(open_store(url, read_only=False)) as store:
        begun = store.head().size == 0
    with open_or_create(url, settings.provenance(trace), utc_now()) as ledger:
        created = next(ledger.read(limit=1)).event
        size = ledger.head().size
    if not isinstance(created, LedgerCreated):
        raise LedgerUnusable(f"ledger {label_of(url)}: its first record is damaged: run `sora-ledger verify`")
    return Beginning(
        ledger=label_of(url),
        ledger_id=created.ledger_id,
        origin=created.origin,
        size=size,
        begun=begun,
        grants=_grants(url, role, applies=applies),
        applied=role is not None and applies,
    )


def _check_role(role: str, url: str) -> None:
    if not role.strip():
        raise BadInput("--role: expected the name of a role, found nothing")
    if file_of(url) is not None:
        raise BadInput(
            f"--role {role}: {label_of(url)} is a file, and SQLite has no roles: leave --role out and use "
            "file permissions, or name a ledger with --ledger postgresql://…"
        )


def _grants(url: str, role: str | None, *, applies: bool) -> str | None:
    if role is None:
        return None
    from ledger.store.postgres.grants import grants_at  # only the store in use is loaded

    return grants_at(url, role, run=applies)
