"""Record the facts of other systems in separate streams, and attach outputs to workflows.

The field names are those of the Bickford integration (``recordSoraVideoEvent``), in either spelling,
``videoId`` or ``video_id``. Streams that sora-ledger writes itself are reserved.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from msgspec import structs

from ledger.canonical import canonical_json
from ledger.errors import EventIdConflict
from ledger.events import Event, ExternalRecorded, OutputAttached
from ledger.job import Job
from ledger.private import Private, private_values
from ledger.record import Authority, Record, draft
from ledger.store.interface import ANY, Batch
from render_service.runtime.errors import BadInput, NotReady
from render_service.session.event_ids import fact_id
from render_service.session.session import Session

RESERVED = ("job_", "budget_", "inbox_", "characters_")
RESERVED_NAMES = ("ledger", "policy")
FIELDS = ExternalRecorded.__struct_fields__
PRIVATE_FIELDS = ("prompt", "input_reference")
MOST_PROGRESS = 100
_STREAM = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_ID = re.compile(r"[!-~]{1,128}\Z")
_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+\Z")
_LONGEST = 2_048


@dataclass(frozen=True)
class Fact:
    """A recorded fact; `repeated` if it was already recorded."""

    record: Record
    repeated: bool


def check_stream(stream: str) -> str:
    """Return `stream` if external facts may be recorded in it, or raise `BadInput`."""
    if stream in RESERVED_NAMES or stream.startswith(RESERVED):
        raise BadInput(
            f"stream {stream} is reserved for sora-ledger itself; choose another name, such as media-renders",
            param="stream",
            expected="a stream of your own, such as media-renders",
            found=stream,
        )
    if not _STREAM.match(stream):
        raise BadInput(
            f"stream {stream!r}: expected 1 to 64 of a-z, 0-9, -, _ and ., such as media-renders",
            param="stream",
            expected="1 to 64 of a-z, 0-9, -, _ and ., such as media-renders",
            found=stream,
        )
    return stream


def external_event(values: Mapping[str, Any]) -> ExternalRecorded:
    """Return the event for `values`, with names in either spelling; `BadInput` names the invalid field."""
    named: dict[str, Any] = {}
    for key, value in values.items():
        name = _field(key)
        if name in named:
            raise BadInput(
                f"{name} appears twice, once as {key}; use one spelling only",
                param=name,
                expected="one spelling",
                found="two",
            )
        if value is not None:
            named[name] = _value(name, value)
    if not named:
        raise BadInput(
            f"nothing to record: expected at least one of {', '.join(FIELDS)}",
            param="fields",
            expected=f"at least one of {', '.join(FIELDS)}",
            found="nothing",
        )
    return ExternalRecorded(**named)


async def record_external(
    session: Session, stream: str, values: Mapping[str, Any], *, event_id: str | None = None
) -> Fact:
    """Record a fact in `stream`, once for each `event_id` (or ``webhook_event_id``).

    `BadInput` if that id is already recorded with another fact.
    """
    event, stream = external_event(values), check_stream(stream)
    key = event_id or event.webhook_event_id
    if key is not None and not _ID.match(key):
        raise BadInput(
            f"event id {key!r}: expected 1 to 128 visible ASCII characters, such as evt_123",
            param="event_id",
            expected="1 to 128 visible ASCII characters, such as evt_123",
            found=key,
        )
    record_id = fact_id(stream, key)
    if known := await _find_recorded(session, record_id, key, event):
        return known
    made = draft(
        event, replace(session.provenance, authority=Authority.EXTERNAL), session.clock(), event_id=record_id
    )
    try:
        [recorded] = await asyncio.to_thread(session.ledger.append, [Batch(stream, ANY, [made])])
    except EventIdConflict:  # another process recorded it concurrently
        known = await _find_recorded(session, record_id, key, event)
        if known is None:
            raise
        return known
    session.log.info(event.type, stream=stream, position=recorded.position)
    return Fact(recorded, repeated=False)


async def attach(session: Session, job: Job, workflow: str, uri: str) -> tuple[Job, bool]:
    """Attach the output of `job` to a workflow; return the job and whether the attachment is new."""
    if job.video_id is None:
        raise NotReady(
            f"{job.job_id} is {job.state} and has no output to attach: "
            f"`sora-ledger show {job.job_id}` says why",
            param="job",
            expected="a job with an output",
            found=f"a {job.state} job",
        )
    if not _URI.match(_text("uri", uri)):
        raise BadInput(
            f"uri: expected a URI such as https://qa.example/tickets/7, found {uri[:60]!r}",
            param="uri",
            expected="a URI such as https://qa.example/tickets/7",
            found=f"{uri[:60]!r}",
        )
    event = OutputAttached(workflow=_text("workflow", workflow), uri=uri)
    history = await asyncio.to_thread(session.ledger.history, job.job_id)
    if any(record.event == event for record in history):
        return job, False
    await session.append(job.job_id, history[-1].version, [session.draft(event)])
    return await session.job(job.job_id), True


async def _find_recorded(
    session: Session, record_id: str, key: str | None, event: ExternalRecorded
) -> Fact | None:
    before = await asyncio.to_thread(session.ledger.event, record_id)
    if before is None:
        return None
    if _plain(before.event) != _plain(event):
        raise BadInput(
            f"event id {key} is recorded with another fact at position {before.position}: use another id",
            param="event_id",
            expected="a new id, or the same fact",
            found=f"{key} with another fact",
        )
    return Fact(before, repeated=True)


def _plain(event: Event) -> dict[str, Any]:
    """Return an event's values with private text instead of its commitment, which is salted."""
    return structs.asdict(event) | {name: private.text for name, private in private_values(event)}


def _field(key: str) -> str:
    name = _HUMP.sub(lambda match: f"_{match[1].lower()}", key)
    if name in FIELDS:
        return name
    near = get_close_matches(name, FIELDS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(FIELDS)}"
    raise BadInput(f"unknown field {key!r}; {hint}", param=key, expected=", ".join(FIELDS), found=key)


def _value(name: str, value: Any) -> Any:
    if name == "progress":
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_PROGRESS:
            raise BadInput(
                f"progress: expected a whole number from 0 to {MOST_PROGRESS}, found {value!r}",
                param="progress",
                expected=f"a whole number from 0 to {MOST_PROGRESS}",
                found=f"{value!r}",
            )
        return value
    if name == "seconds" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if name == "input_reference" and isinstance(value, dict | list):
        value = _json(value)
    if name in PRIVATE_FIELDS and isinstance(value, str):
        return Private.seal(name, value)
    return _text(name, value)


def _json(value: Any) -> str:
    try:
        return canonical_json(value).decode()
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"input_reference: expected text, or JSON without fractions ({error})",
            param="input_reference",
            expected="text, or JSON without fractions",
            found=error,
        ) from error


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable() or len(value) > _LONGEST:
        raise BadInput(
            f"{name}: expected 1 to {_LONGEST} printable characters, found {str(value)[:60]!r}",
            param=name,
            expected=f"1 to {_LONGEST} printable characters",
            found=f"{str(value)[:60]!r}",
        )
    return value
