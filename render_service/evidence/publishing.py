"""Publish a checkpoint: sign it, have witnesses cosign it and a time-stamping authority date it.

1. Sign the head of the ledger as it is now.
2. Ask the witnesses of the policy. Too few cosignatures end the publication: nothing is recorded or replaced.
3. Have the checkpoint dated, with its cosignatures. A timestamp that does not count ends the publication.
4. Record cosignatures and timestamp. A crash after that leaves an old checkpoint at the target; the
   signatures of others are in the record, and the next publication continues from there.
5. Replace the checkpoint at the target, then the timestamp next to it, and record that too if requested.
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2

from ledger.errors import SoraLedgerError
from ledger.events import CheckpointTimestamped, CheckpointWitnessed, Cosignature, Event
from ledger.private import Private
from ledger.record import timestamp
from ledger.store.filters import RecordFilter
from ledger.store.interface import ANY, Batch
from ledger.tree.checkpoint import CheckpointInvalid
from ledger.tree.head import TreeHead
from render_service.evidence.checkpoints import Publication, Scheduled, publish, put, tree_head
from render_service.evidence.keys import NamedPolicy, read_policy
from render_service.evidence.recorded_checks import (
    STREAM,
    find_last_checks,
    find_last_witnessed,
    record_published,
)
from render_service.evidence.timestamps import SUFFIX, Stamp, check_token, read_chain, timestamp_client
from render_service.evidence.witnesses import (
    CLOCK_SKEW_S,
    Answer,
    ask_witnesses,
    check_can_be_met,
    format_cosigned_at,
    new_client,
    post,
    with_cosignatures,
)
from render_service.runtime.errors import BadInput, NotStamped, NotWitnessed
from render_service.runtime.printable import printable
from render_service.session.session import Session

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

TRIES = 3
AGAIN_S = 60.0
"""Delay before a failed publication is retried."""
DAY_S = 86_400.0
MOST_CHECKS = 20
"""Number of check records to inspect for whether anything else was added."""
LONGEST_S = 20.0
"""Time limit for a time-stamping authority."""


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A completed publication: `head` is at `target` now; `answers` are the witnesses' answers."""

    target: str
    head: TreeHead
    answers: Sequence[Answer] = ()
    stamp: Stamp | None = None


async def publish_checkpoint(session: Session, wanted: Publication) -> PublishedCheckpoint:
    """Make the publication; an error leaves the target as it was."""
    ledger, answers, made, events = session.ledger, list[Answer](), None, list[Event]()
    chain = await asyncio.to_thread(read_chain, wanted.tsa_chain) if wanted.tsa_chain else []
    if wanted.timestamp and not chain:
        raise BadInput(
            "--timestamp needs the certificates by which the authority is believed: add --tsa-chain FILE, "
            "or set SORA_LEDGER_TSA_CHAIN",
            param="tsa_chain",
            expected="the certificates of the authority",
            found="nothing",
        )
    if wanted.witnesses:
        policy = await asyncio.to_thread(read_policy, wanted.witnesses)
        check_can_be_met(policy.trust)
        head, answers = await _collect_cosignatures(session, wanted.key, policy)
        events.append(_make_witnessed(head, policy, answers))
    else:
        head = await asyncio.to_thread(tree_head, ledger, wanted.key)
    if wanted.timestamp:
        made = await _stamp(wanted.timestamp, head, chain, session.clock())
        events.append(_make_timestamped(head, made))
    drafts = [session.draft(event) for event in events]
    if drafts:
        await asyncio.to_thread(ledger.append, [Batch(STREAM, ANY, drafts)])
    # A crash here leaves the old checkpoint at the target, and the signatures of others in the record.
    target, there = await asyncio.to_thread(put, ledger, head, wanted.target)
    # A crash here leaves the new checkpoint with the old timestamp next to it, which readers refuse
    # (`CHECKPOINT_TIMESTAMP`): the next publication replaces both.
    is_ours = there.checkpoint == head.checkpoint
    if made and is_ours:
        await asyncio.to_thread(publish, wanted.target + SUFFIX, made.token, _make_replacer(made.token))
    if wanted.record:
        await asyncio.to_thread(record_published, session, head if is_ours else there, there, target)
    return PublishedCheckpoint(target, there, answers, made)


@asynccontextmanager
async def on_schedule(session: Session, scheduled: Scheduled | None) -> AsyncIterator[None]:
    """Publish on a schedule while the context lasts; a failed publication is logged and retried."""
    task = asyncio.create_task(_keep_publishing(session, scheduled)) if scheduled else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _keep_publishing(session: Session, scheduled: Scheduled) -> None:
    while True:
        wait_s = scheduled.every_s
        try:
            due_s = await asyncio.to_thread(_seconds_until_due, session, scheduled)
            if due_s > 0:
                wait_s = due_s
            else:
                done = await publish_checkpoint(session, scheduled.wanted)
                names = [answer.witness.name for answer in done.answers if answer.cosignature]
                session.log.info(
                    "checkpoint.published",
                    size=done.head.checkpoint.size,
                    target=done.target,
                    cosigned_by=names,
                )
        except (SoraLedgerError, OSError, ValueError) as error:
            session.log.warning("checkpoint.not_published", because=str(error))
            wait_s = min(wait_s, AGAIN_S)
        await asyncio.sleep(wait_s)


def _seconds_until_due(session: Session, scheduled: Scheduled) -> float:
    """Return the seconds until a publication is due; 0 or less if it is due.

    Publications by any worker count. A ledger that gained only checks is published once a day.
    """
    ledger, last = session.ledger, find_last_checks(session.ledger).published
    if last is None:
        return 0.0
    age_s = (session.clock() - datetime.fromisoformat(last.record.recorded_at)).total_seconds()
    newest, size = ledger.head().size, last.event.size
    checks = ledger.newest(RecordFilter(stream=STREAM), before=newest + 1, limit=MOST_CHECKS)
    is_idle = sum(record.position > size for record in checks) == newest - size
    return (max(scheduled.every_s, DAY_S) if is_idle else scheduled.every_s) - age_s


def _make_replacer(token: bytes) -> Callable[[bytes], bytes]:
    def replace(there: bytes) -> bytes:
        if there[:1] not in {b"", token[:1]}:
            raise BadInput(
                f"--publish: beside the target is a file that is not a timestamp ({SUFFIX}) and was not "
                "replaced; name another target",
                param="publish",
                expected="a timestamp, or no file, beside the target",
                found="another file",
            )
        return token

    return replace


async def _collect_cosignatures(
    session: Session, key: Path | None, policy: NamedPolicy
) -> tuple[TreeHead, list[Answer]]:
    """Return the ledger's head with enough cosignatures, and the answer of each witness.

    If another process published a longer checkpoint in the meantime, the current head of the ledger is tried.
    """
    ledger = session.ledger
    for left in reversed(range(TRIES)):
        head = await asyncio.to_thread(tree_head, ledger, key)
        _check_log(head, policy)
        last = await asyncio.to_thread(find_last_witnessed, ledger)
        sizes = {cosignature.key: last.event.size for cosignature in last.event.cosignatures} if last else {}
        answers = await ask_witnesses(ledger, head, policy.trust, sizes, now=session.clock())
        try:
            return with_cosignatures(head, policy.trust, answers), answers
        except NotWitnessed:
            if not left or not any(answer.overtaken for answer in answers):
                raise
    raise AssertionError


def _check_log(head: TreeHead, policy: NamedPolicy) -> None:
    if head.note is None:
        raise BadInput(
            "witnesses cosign signed checkpoints only: add --key FILE, or set SORA_LEDGER_KEY "
            "(`sora-ledger key new FILE` creates one)",
            param="key",
            expected="a key that signs",
            found="nothing",
        )
    try:
        policy.trust.count(head)
    except CheckpointInvalid as error:
        raise BadInput(
            f"witness policy: {error}; its log lines have to name the key that signs",
            param="witnesses",
            expected="a policy whose log lines name the key that signs",
            found=error,
        ) from None


def _make_timestamped(head: TreeHead, made: Stamp) -> CheckpointTimestamped:
    return CheckpointTimestamped(
        size=head.checkpoint.size,
        root=head.checkpoint.root.hex(),
        checkpoint_sha256=hashlib.sha256(head.to_bytes()).hexdigest(),
        stamped_at=timestamp(made.at),
        authority=Private.seal("authority", made.authority),
        token=base64.b64encode(made.token).decode(),
    )


async def _stamp(url: str, head: TreeHead, chain: "list[Certificate]", now: datetime) -> Stamp:
    """Have the authority at `url` date `head`; `NotStamped` says what is wrong with its answer."""
    client = timestamp_client()
    data = head.to_bytes()
    sha256 = client.HashAlgorithm.SHA256
    request = client.TimestampRequestBuilder().data(data).hash_algorithm(sha256).build()
    token = await _post(url, request.as_bytes())
    made = check_token(token, {hashlib.sha256(data).digest()}, chain, f"timestamp of {url}", request.nonce)
    if abs((made.at - now).total_seconds()) > CLOCK_SKEW_S:
        states, here = timestamp(made.at), timestamp(now)
        raise NotStamped(
            f"timestamp of {url}: it states {states}, and here it is {here}: check both clocks",
            param="timestamp",
            expected=here,
            found=states,
        )
    return made


async def _post(url: str, body: bytes) -> bytes:
    """Send a request; return the answer."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadInput(
            f"--timestamp {printable(url)}: expected the address of a time-stamping authority",
            param="timestamp",
            expected="the address of a time-stamping authority",
            found=printable(url),
        )
    try:
        async with asyncio.timeout(LONGEST_S), new_client([url], LONGEST_S) as client:
            status, answer = await post(client, url, body, "application/timestamp-query")
    except TimeoutError:
        raise NotStamped(
            f"timestamp of {url}: no answer within {LONGEST_S:g} s; try again later",
            param="timestamp",
            expected=f"an answer within {LONGEST_S:g} s",
            found="none",
        ) from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise NotStamped(
            f"timestamp of {url}: the authority cannot be asked ({reason})",
            param="timestamp",
            expected="an answer",
            found=reason,
        ) from None
    if status != HTTPStatus.OK:
        raise NotStamped(
            f"timestamp of {url}: the authority answered {status}",
            param="timestamp",
            expected="HTTP 200",
            found=status,
        )
    return answer


def _make_witnessed(head: TreeHead, policy: NamedPolicy, answers: Sequence[Answer]) -> CheckpointWitnessed:
    """Return the event about the checkpoint `head` with the verified cosignatures in `answers`."""
    return CheckpointWitnessed(
        size=head.checkpoint.size,
        root=head.checkpoint.root.hex(),
        witnesses_sha256=policy.sha256,
        cosignatures=tuple(
            Cosignature(
                witness=answer.witness.name,
                key=str(answer.witness.verifier),
                cosigned_at=format_cosigned_at(answer.cosignature),
            )
            for answer in answers
            if answer.cosignature
        ),
        checkpoint=head.to_bytes().decode(),
    )
