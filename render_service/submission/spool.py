"""Answers the ledger could not record, each in its own file until a process can record it.

A server bills an accepted request even if the ledger is unavailable by then: its disk is full, another
program has locked it, PostgreSQL is down. So the events with the outcome of the attempt are written to a
file, with the ids, times and salts they were drafted with, and `drain` appends them later.

The files are beside a SQLite ledger (``ledger.db.spool/``). If that fails, and for a ledger on a database
server, they are in the user's data folder under the ledger's id. A file is readable only by its owner, named
after its attempt, either complete or absent, and durable when `write` returns. Its first line is the SHA-256
of the second, which is JSON. A file that is unreadable or of another ledger is reported and left in place.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ledger.canonical import canonical_json
from ledger.errors import LedgerError
from ledger.log.ledger import Ledger
from ledger.private import PrivateBody
from ledger.private_files import sync_folder
from ledger.record import ActorSource, Authority, Draft, Provenance, parse_event
from render_service.runtime.settings import Settings

LARGEST_BYTES = 16 << 20
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


class SpoolBroken(Exception):
    """A spool file is unusable; the message says why."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SpooledDraft(_Model):
    """A draft as made before the first attempt; its payload has the format of its schema version."""

    type: str
    schema_version: int
    payload: dict[str, Any]
    bodies: tuple[tuple[str, str, str, str], ...]
    event_id: str
    recorded_at: str
    occurred_at: str
    causation_id: str | None
    actor: str
    actor_source: ActorSource
    authority: Authority
    trace_id: str
    span_id: str

    @classmethod
    def of(cls, draft: Draft) -> "SpooledDraft":
        """Return the file's representation of `draft`."""
        who = draft.provenance
        return cls(
            type=draft.event.type,
            schema_version=draft.event.schema_version,
            payload=draft.event.as_json(),
            bodies=tuple((body.commitment, body.field, body.salt.hex(), body.text) for body in draft.bodies),
            event_id=draft.event_id,
            recorded_at=draft.recorded_at,
            occurred_at=draft.occurred_at,
            causation_id=draft.causation_id,
            actor=who.actor,
            actor_source=who.actor_source,
            authority=who.authority,
            trace_id=who.trace_id,
            span_id=who.span_id,
        )

    def draft(self) -> Draft:
        """Return the original draft: appending it repeats the failed append."""
        bodies = [
            PrivateBody(name, field, bytes.fromhex(salt), text) for name, field, salt, text in self.bodies
        ]
        by_commitment = {body.commitment: body for body in bodies}
        event = parse_event(self.type, self.payload, by_commitment, self.schema_version)
        who = Provenance(self.actor, self.actor_source, self.authority, self.trace_id, self.span_id)
        return Draft(
            event=event,
            event_id=self.event_id,
            recorded_at=self.recorded_at,
            occurred_at=self.occurred_at,
            provenance=who,
            causation_id=self.causation_id,
            payload=canonical_json(event.as_json()),
            bodies=tuple(bodies),
        )


class Spooled(_Model):
    """The contents of one file: the outcome of one attempt, first of its `drafts`, and its job."""

    format: Literal["sora-ledger/spool/1"] = "sora-ledger/spool/1"
    ledger_id: str
    job_id: str
    attempt_id: str
    outcome: str
    video_id: str | None
    spooled_at: str
    drafts: tuple[SpooledDraft, ...]


@dataclass(frozen=True)
class Waiting:
    """A spool file: its contents, or why it cannot be recorded here."""

    path: Path
    spooled: Spooled | None
    problem: str | None = None


def write(folders: Sequence[Path], spooled: Spooled) -> Path:
    """Write a file to the first usable one of `folders`; durable on return. `OSError` if none is usable."""
    body = spooled.model_dump_json().encode()
    content = hashlib.sha256(body).hexdigest().encode() + b"\n" + body + b"\n"
    trouble: OSError | None = None
    for folder in folders:
        try:
            return _written(folder, f"{_name(spooled.attempt_id)}.json", content)
        except OSError as error:
            trouble = error
    raise trouble or OSError("there is no folder for it")


def _written(folder: Path, name: str, content: bytes) -> Path:
    is_new = not folder.exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".")  # readable only by the owner
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A crash before this leaves a hidden file that nothing reads, and the job submitting; after it, the
        # answer is found here by the next session.
        Path(temporary).replace(folder / name)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    sync_folder(folder)
    if is_new:
        sync_folder(folder.parent)
    return folder / name


def remove(path: Path) -> None:
    """Delete a file whose answer is recorded; another process may already have deleted it."""
    with suppress(FileNotFoundError):
        path.unlink()
        sync_folder(path.parent)


def waiting(settings: Settings, ledger: Ledger) -> Iterator[Waiting]:
    """Yield the spool files of `ledger`, readable or not, oldest attempt first."""
    if not settings.may_have_spool:
        return
    for folder in settings.spool_folders(ledger.ledger_id):
        for path in sorted(folder.glob("*.json")):
            try:
                yield Waiting(path, _read(path, ledger.ledger_id))
            except SpoolBroken as broken:
                yield Waiting(path, None, str(broken))
            except FileNotFoundError:  # another process has just recorded it
                continue


def _read(path: Path, ledger_id: str) -> Spooled:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SpoolBroken(f"it cannot be read ({error.strerror})") from error
    digest, _, body = content.partition(b"\n")
    body = body.removesuffix(b"\n")
    if len(content) > LARGEST_BYTES or hashlib.sha256(body).hexdigest().encode() != digest:
        raise SpoolBroken("it is damaged: its first line is not the SHA-256 of the second")
    try:
        spooled = Spooled.model_validate_json(body)
    except ValidationError as error:
        raise SpoolBroken("it does not have the format of this version of sora-ledger") from error
    if spooled.ledger_id != ledger_id:
        raise SpoolBroken(f"it belongs to ledger {spooled.ledger_id}, and this is {ledger_id}")
    try:
        drafts = [draft.draft() for draft in spooled.drafts]
    except (LedgerError, ValueError) as error:
        raise SpoolBroken(f"its events cannot be read ({error})") from error
    if not drafts:
        raise SpoolBroken("it holds no event")
    return spooled


def _name(attempt_id: str) -> str:
    if _PLAIN_NAME.fullmatch(attempt_id):
        return attempt_id
    return hashlib.sha256(attempt_id.encode()).hexdigest()
