"""Findings that somebody has dealt with: said in the job itself, so that an audit comes to rest.

A failed render whose bill was asked about, a video that was not fetched in time: nothing can be done about
them any more, and what is recorded never changes. What a person did is recorded as ``note.recorded``, with an
event id made from the finding. So the ledger holds it once, and an audit finds it though its text be erased.
"""

import asyncio
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from ledger.errors import EventIdConflict
from ledger.events import NoteRecorded
from ledger.ledger import Ledger
from ledger.private import Private
from ledger.store.interface import ANY
from render_service.errors import BadInput
from render_service.recovery.findings import Finding, of_jobs

if TYPE_CHECKING:
    from render_service.desk import Desk

NOTES = uuid.UUID("94de8260-89b2-4f9c-a2bb-6123d485bf76")
"""Namespace of the event ids of notes about findings."""

LASTING = ("SPEND_WITHOUT_ASSET", "ASSET_EXPIRED", "VIDEO_CLAIMED_TWICE")
"""What stays true whatever anybody does; every other finding ends when its cause does."""


def note_id(finding: Finding) -> str:
    """Return the event id of the note that `finding` was dealt with."""
    return str(uuid.uuid5(NOTES, f"{finding.code}\n{finding.job_id}\n{finding.subject}"))


def is_dealt_with(ledger: Ledger, finding: Finding) -> bool:
    """Say whether somebody has recorded that `finding` was dealt with."""
    return finding.code in LASTING and ledger.event(note_id(finding)) is not None


async def deal_with(desk: "Desk", name: str, why: str) -> list[Finding]:
    """Record that what an audit finds in the job `name` was dealt with, and how; return those findings.

    `BadInput` where it finds nothing, or where the job is not over: then it can still be ended.
    """
    job = await desk.job(name)
    jobs = await asyncio.to_thread(desk.ledger.jobs)
    found = [finding for finding in of_jobs(jobs, desk.clock()) if finding.job_id == job.job_id]
    left = [one for one in found if not await asyncio.to_thread(is_dealt_with, desk.ledger, one)]
    if not left:
        done = "was dealt with already" if found else "has no finding that lasts"
        raise BadInput(f"{job.job_id} {done}: `sora-ledger show {job.job_id}` tells what is recorded")
    if job.outcome is None:
        raise BadInput(f"{job.job_id} is {job.state}, not over: `sora-ledger poll {job.job_id}` comes first")
    for finding in left:
        note = desk.draft(NoteRecorded(text=Private.seal("text", why)), event_id=note_id(finding))
        with suppress(EventIdConflict):  # somebody said so in between
            await desk.append(job.job_id, ANY, [note])
    return left
