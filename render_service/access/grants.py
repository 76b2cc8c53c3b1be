"""Grant and revoke access: keys for people, and links for people without one.

Each grant of a key and each revocation is one record with the actor who made it.

A grant takes effect immediately, unless the policy in force has rules for it: then it is proposed, and takes
effect once other people have approved it (`render_service.approvals.changes`). A revocation needs no
approval.

A link shows one video, or downloads its evidence. It is signed by the installation and refers to its record:
``share.created`` says who made it, for what and until when. Once expired or revoked, it shows nothing. The
signature prevents guessing; the record is authoritative.
"""

import asyncio
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from msgspec import structs

from decision.rules.approvals import Change
from decision.rules.policy import Policy
from decision.rules.purpose import PURPOSES
from decision.rules.roles import Permission, permissions_of
from ledger.errors import EventIdConflict, JobNotFound, WrongExpectedVersion
from ledger.events import AccessGranted, AccessRevoked, Grant, ShareCreated, ShareRevoked
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.record import Provenance, Record, draft, entries, timestamp
from ledger.store.filters import RecordFilter
from ledger.store.interface import ANY, AnyVersion, Batch
from render_service.access.register import STREAM, AccessKey, KeyState, NewKey, Register, make_key
from render_service.access.signing import Signer
from render_service.rules.policies import read_active_rules
from render_service.runtime.errors import BadInput, NotReady
from render_service.runtime.settings import check_actor, check_word
from render_service.session.event_ids import grant_id
from render_service.session.session import Session
from sora_adapter.profiles import profile

MOST_RACES = 100


@dataclass(frozen=True)
class Terms:
    """The holder of a key and its permissions; None and empty values do not restrict."""

    name: str
    roles: tuple[str, ...]
    team: str | None = None
    project: str | None = None
    profiles: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    expires: datetime | None = None
    requests_per_minute: int | None = None
    running_jobs: int | None = None

    def grant(self, key: NewKey) -> Grant:
        """Return the grant of `key` under these terms, as recorded."""
        return Grant(
            key_id=key.key_id,
            key_sha256=key.sha256,
            name=self.name,
            roles=tuple(dict.fromkeys(self.roles)),
            team=self.team,
            project=self.project,
            profiles=self.profiles or None,
            purposes=self.purposes or None,
            expires_at=timestamp(self.expires) if self.expires else None,
            requests_per_minute=self.requests_per_minute,
            running_jobs=self.running_jobs,
        )


def check_terms(
    terms: Terms, policy: Policy, register: Register, now: datetime, own_profiles: Path | None = None
) -> None:
    """Raise `BadInput` for invalid terms: unknown roles, purposes or profiles, or a past expiry."""
    check_actor("NAME", terms.name)
    similar = sorted({key.grant.name for key in register.keys.values()} - {terms.name})
    twin = next((name for name in similar if name.casefold() == terms.name.casefold()), None)
    if twin is not None:
        raise BadInput(
            f"{terms.name}: there are keys of {twin}; one person has one name, so use that one",
            param="name",
            expected="one name for a person",
            found=terms.name,
        )
    known = policy.roles_in_force
    unknown = [role for role in terms.roles if role not in known]
    if unknown or not terms.roles:
        found = f"unknown role {unknown[0]}" if unknown else "a key without a role permits nothing"
        raise BadInput(
            f"{found}: the policy {policy.name} has the roles {', '.join(known) or 'none'}",
            param="role",
            expected=", ".join(known) or "none",
            found=found,
        )
    check_word("--team", terms.team)
    check_word("--project", terms.project)
    for purpose in terms.purposes:
        if purpose not in PURPOSES:
            raise BadInput(
                f"--purpose {purpose}: expected one of {', '.join(PURPOSES)}",
                param="purpose",
                expected=f"one of {', '.join(PURPOSES)}",
                found=purpose,
            )
    for name in terms.profiles:
        profile(name, own_profiles)  # raises for an unknown one
    if terms.expires is not None and terms.expires <= now:
        raise BadInput(
            f"--expires {timestamp(terms.expires)[:19]}Z is in the past: name a future time",
            param="expires",
            expected="a future time",
            found=f"{timestamp(terms.expires)[:19]}Z",
        )


def grant(
    ledger: Ledger,
    terms: Terms,
    now: datetime,
    who: Provenance,
    own_profiles: Path | None = None,
    *,
    key_id: str | None = None,
) -> tuple[NewKey, Record]:
    """Make a key and record its grant; `NeedsApproval` if the policy in force requires one.

    A caller that may be retried, such as a form, chooses the `key_id`, which is granted only once.
    """
    for _ in range(MOST_RACES):
        active, register = read_active_rules(ledger), Register(ledger)
        active.check_free(Change.ACCESS)
        check_terms(terms, active.policy, register, now, own_profiles)
        if key_id in register.keys:
            raise NotReady(
                f"this grant was made already: the key {key_id} was shown then, and only then",
                expected="a new grant",
                found="one that was made already",
            )
        key = make_key(key_id)
        batch = grant_batch(terms.grant(key), who, now, expected_version=register.version)
        try:
            return key, ledger.append([batch, active.unchanged])[0]
        except (WrongExpectedVersion, EventIdConflict):  # another grant or policy came first, or has this id
            continue
    raise NotReady(
        "access keys or the policy kept changing: repeat the command",
        expected="keys and a policy that stay as they are",
        found="changes by others",
    )


def grant_batch(
    granted: Grant,
    who: Provenance,
    now: datetime,
    *,
    causation_id: str | None = None,
    expected_version: int | AnyVersion = ANY,
) -> Batch:
    """Return the record of a grant; its event id derives from the key id, which thus belongs to one key."""
    event = AccessGranted(**structs.asdict(granted))
    event_id = grant_id(granted.key_id)
    return Batch(
        STREAM, expected_version, [draft(event, who, now, event_id=event_id, causation_id=causation_id)]
    )


def revoke(ledger: Ledger, which: str, reason: str | None, now: datetime, who: Provenance) -> list[AccessKey]:
    """Revoke the key with the id `which`, or all keys of that name; return them as they are afterwards.

    `BadInput` if there is no such key, or if it is already revoked.
    """
    for _ in range(MOST_RACES):
        register = Register(ledger)
        chosen = list(_to_revoke(register, which))
        drafts = [
            draft(
                AccessRevoked(
                    key_id=key.grant.key_id, reason=Private.seal("reason", reason) if reason else None
                ),
                who,
                now,
                causation_id=key.granted.event_id,
            )
            for key in chosen
        ]
        try:
            ledger.append([Batch(STREAM, register.version, drafts)])
        except WrongExpectedVersion:  # another process granted or revoked a key: look again
            continue
        register.renew()
        return [register.keys[key.grant.key_id] for key in chosen]
    raise NotReady(
        "access keys kept changing: repeat the command",
        expected="keys that stay as they are",
        found="changes by others",
    )


def _to_revoke(register: Register, which: str) -> Iterator[AccessKey]:
    keys = [register.keys[which]] if which in register.keys else register.list_named(which)
    if not keys:
        raise BadInput(
            f"{which}: no access key has this id or name; `sora-ledger access list` lists the keys",
            param="key",
            expected="the id or name of an access key",
            found=which,
        )
    valid = [key for key in keys if key.revoked is None]
    if not valid:
        last = keys[-1].revoked
        assert last is not None  # all of them are revoked
        raise BadInput(
            f"{which} was already revoked by {last.actor} at {last.recorded_at[:19]}Z",
            param="key",
            expected="a key that is valid",
            found=f"one that was revoked at {last.recorded_at[:19]}Z",
        )
    yield from valid


def warning_about(policy: Policy, terms: Terms) -> str | None:
    """Return the gap that the policy leaves: anyone who may grant can invent people who approve."""
    approves = Permission.APPROVE in permissions_of(policy.roles_in_force, terms.roles)
    if not approves or not policy.approvals or policy.rules_for(Change.ACCESS):
        return None
    return (
        f"the policy {policy.name} wants renders approved, and lets anyone who can write this ledger grant "
        f'the permission to approve: an approval rule with operations = ["{Change.ACCESS}"] prevents that'
    )


def show_grant(grant: Grant) -> dict[str, object]:
    """Return a grant as JSON, without the digest of its key."""
    return {name: value for name, value in grant.as_json().items() if name != "key_sha256"}


def document_of(key: AccessKey, now: datetime) -> dict[str, object]:
    """Return a key as JSON, without its digest; `granted_by` and `actor_source` say who granted it."""
    granted, revoked = key.granted, key.revoked
    return {
        **show_grant(key.grant),
        "state": key.state(timestamp(now)).value,
        "granted_by": granted.actor,
        "actor_source": granted.envelope.actor_source,
        "granted_at": granted.recorded_at,
        "position": granted.position,
        "revoked_by": revoked.actor if revoked else None,
        "revoked_at": revoked.recorded_at if revoked else None,
    }


def is_listed(key: AccessKey, now: datetime, *, everything: bool) -> bool:
    """Return whether a list includes `key`: only usable keys, or all."""
    return everything or key.state(timestamp(now)) is KeyState.VALID


PURPOSE = "share"
MOST_DAYS = 90
ID_BYTES = 12
Shared = Literal["video", "bundle"]


@dataclass(frozen=True)
class Share:
    """A link to one part of a job: who made it, when, and whether it was revoked."""

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
    """Record a link that expires in `days`; return it with the text for its address."""
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
    """Record the revocation of a link; `BadInput` if the job has no such valid link."""
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
    """Return the link whose address contains `text`, with its job; None if it shows nothing."""
    named = signer.read(PURPOSE, text, now)
    if named is None:
        return None
    try:
        job = ledger.job(named["job"])
    except JobNotFound:
        return None
    share = next(
        (entry for entry in shares_of(ledger, job.job_id) if entry.event.share_id == named["share"]), None
    )
    return (share, job) if share and share.is_valid(now) else None
