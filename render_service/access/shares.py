"""Links that show one video, or give its evidence, to people without a key.

A link is signed by the installation and names its record: ``share.created`` says who made it, for what and
until when. It shows nothing once it has ended or was revoked. The signature keeps strangers from trying
names; the record is what counts.
"""

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ledger.errors import JobNotFound
from ledger.events import ShareCreated, ShareRevoked
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.record import Record, entries, timestamp
from ledger.store.filters import RecordFilter
from ledger.store.interface import ANY
from render_service.access.signing import Signer
from render_service.runtime.errors import BadInput, NotReady
from render_service.session.session import Session

PURPOSE = "share"
MOST_DAYS = 90
ID_BYTES = 12
Shared = Literal["video", "bundle"]


@dataclass(frozen=True)
class Share:
    """A link to something of one job: who made it, when, and whether it was revoked."""

    created: Record
    event: ShareCreated
    revoked: Record | None = None

    def is_valid(self, now: datetime) -> bool:
        """Return whether the link shows anything."""
        return self.revoked is None and timestamp(now) < self.event.expires_at


def shares_in(records: Iterable[Record]) -> list[Share]:
    """Return the links of a job, from its records, oldest first."""
    records = list(records)
    revoked = {entry.event.share_id: entry.record for entry in entries(records, ShareRevoked)}
    return [
        Share(entry.record, entry.event, revoked.get(entry.event.share_id))
        for entry in entries(records, ShareCreated)
    ]


def shares_of(ledger: Ledger, job_id: str) -> list[Share]:
    """Return the links of a job, oldest first."""
    return shares_in(ledger.read(RecordFilter(stream=job_id)))


async def create_share(
    session: Session, signer: Signer, job: Job, of: Shared, days: int
) -> tuple[Share, str]:
    """Record a link that ends in `days`; return it with the text that its address carries."""
    if not 1 <= days <= MOST_DAYS:
        raise BadInput(
            f"a link is valid for 1 to {MOST_DAYS} days, not for {days}",
            param="days",
            expected=f"1 to {MOST_DAYS}",
            found=days,
        )
    if of == "video" and not job.assets:
        raise NotReady(
            f"{job.job_id} has no stored video to share: it is {job.state}",
            param="job",
            expected="a job with a stored video",
            found=f"a {job.state} job",
        )
    share_id = f"shr_{secrets.token_hex(ID_BYTES)}"
    expires = session.clock() + timedelta(days=days)
    event = ShareCreated(share_id=share_id, of=of, expires_at=timestamp(expires))
    (record,) = await session.append(job.job_id, ANY, [session.draft(event)])
    text = signer.sign(PURPOSE, {"job": job.job_id, "share": share_id}, expires)
    return Share(record, event), text


async def revoke_share(session: Session, job: Job, share_id: str) -> None:
    """Record that a link shows nothing any more; `BadInput` if the job has no such link that is valid."""
    shares = await asyncio.to_thread(shares_of, session.ledger, job.job_id)
    if not any(share.event.share_id == share_id and share.revoked is None for share in shares):
        raise BadInput(
            f"{job.job_id} has no valid link {share_id[:40]}",
            param="link",
            expected="a valid link",
            found=share_id[:40],
        )
    await session.append(job.job_id, ANY, [session.draft(ShareRevoked(share_id=share_id))])


def read_share(ledger: Ledger, signer: Signer, text: str, now: datetime) -> tuple[Share, Job] | None:
    """Return the link whose address carries `text`, with its job; None if it shows nothing."""
    named = signer.read(PURPOSE, text, now)
    if named is None:
        return None
    try:
        job = ledger.job(named["job"])
    except JobNotFound:
        return None
    share = next((one for one in shares_of(ledger, job.job_id) if one.event.share_id == named["share"]), None)
    return (share, job) if share and share.is_valid(now) else None
