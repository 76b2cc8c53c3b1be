"""Publish a checkpoint: sign it, have witnesses cosign it, and replace the one at the target.

1. Sign the head of the ledger as it is now.
2. Ask the witnesses of the policy. Too few cosignatures end the publication: nothing is recorded or replaced.
3. Record the checkpoint with its cosignatures. A crash after that leaves an old checkpoint at the target; the
   cosignatures are in the record, and the next publication continues from them.
4. Replace the checkpoint at the target, and record that too if asked.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.events import CheckpointWitnessed, Cosignature
from ledger.store.interface import ANY, Batch
from ledger.tree.checkpoint import CheckpointInvalid
from ledger.tree.head import TreeHead
from render_service.evidence.checkpoints import Publication, put, tree_head
from render_service.evidence.keys import NamedPolicy, read_policy
from render_service.evidence.recorded_checks import STREAM, last_witnessed, record_published
from render_service.evidence.witnesses import (
    Answer,
    ask_witnesses,
    check_can_be_met,
    cosigned_at,
    with_cosignatures,
)
from render_service.runtime.errors import BadInput, NotWitnessed
from render_service.session.session import Session

TRIES = 3


@dataclass(frozen=True)
class Published:
    """A publication that was made: `head` is at `target` now; `answers` are those of the witnesses."""

    target: str
    head: TreeHead
    answers: Sequence[Answer] = ()


async def publish_checkpoint(session: Session, wanted: Publication) -> Published:
    """Make the publication; an error leaves the target as it was."""
    ledger, answers = session.ledger, list[Answer]()
    if wanted.witnesses:
        policy = await asyncio.to_thread(read_policy, wanted.witnesses)
        check_can_be_met(policy.trust)
        head, answers = await _witnessed(session, wanted.key, policy)
        await asyncio.to_thread(_record_witnessed, session, head, policy, answers)
    else:
        head = await asyncio.to_thread(tree_head, ledger, wanted.key)
    target, there = await asyncio.to_thread(put, ledger, head, wanted.target)
    if wanted.record:
        own = head if there.checkpoint == head.checkpoint else there
        await asyncio.to_thread(record_published, session, own, there, target)
    return Published(target, there, answers)


async def _witnessed(
    session: Session, key: Path | None, policy: NamedPolicy
) -> tuple[TreeHead, list[Answer]]:
    """Return the head of the ledger with enough cosignatures, and what each witness answered.

    If another process published a longer checkpoint meanwhile, that of the ledger as it is now is tried.
    """
    ledger = session.ledger
    for left in reversed(range(TRIES)):
        head = await asyncio.to_thread(tree_head, ledger, key)
        _check_log(head, policy)
        last = await asyncio.to_thread(last_witnessed, ledger)
        sizes = {each.key: last.event.size for each in last.event.cosignatures} if last else {}
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
            "(`sora-ledger key new FILE` creates one)"
        )
    try:
        policy.trust.count(head)
    except CheckpointInvalid as error:
        raise BadInput(f"witness policy: {error}; its log lines have to name the key that signs") from None


def _record_witnessed(
    session: Session, head: TreeHead, policy: NamedPolicy, answers: Sequence[Answer]
) -> None:
    """Record the checkpoint `head` with the cosignatures of `answers`, each of which was checked."""
    event = CheckpointWitnessed(
        size=head.checkpoint.size,
        root=head.checkpoint.root.hex(),
        witnesses_sha256=policy.sha256,
        cosignatures=tuple(
            Cosignature(
                witness=answer.witness.name,
                key=str(answer.witness.verifier),
                cosigned_at=cosigned_at(answer.cosignature),
            )
            for answer in answers
            if answer.cosignature
        ),
        checkpoint=head.to_bytes().decode(),
    )
    session.ledger.append([Batch(STREAM, ANY, [session.draft(event)])])
