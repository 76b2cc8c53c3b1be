"""Create proofs from a ledger, and check them without one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ledger.errors import JobNotFound
from ledger.log.ledger import Ledger
from ledger.record import RECORD_LIMIT_BYTES, Record
from ledger.tree.checkpoint import Verifier
from ledger.tree.head import TreeHead
from ledger.tree.merkle import ProofInvalid
from ledger.tree.proof import MAX_PROOF_BYTES, VERSION, ConsistencyProof, InclusionProof
from ledger.tree.trust_policy import TrustPolicy
from render_service.evidence.checkpoints import check_vouchers, read_head, read_pinned_head, tree_head
from render_service.runtime.errors import BadInput, NotIntact
from render_service.runtime.files import read_file

NEXT_STEP = "`sora-ledger verify` says what is wrong"
Proof = InclusionProof | ConsistencyProof


@dataclass(frozen=True)
class ProofCheck:
    """The result of checking a proof; `trouble` is empty if the proof is valid."""

    proof: Proof
    signed_by: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    record: bytes | None = None
    cosigned_by: list[str] = field(default_factory=list)


def prove_record(ledger: Ledger, name: str, key: Path | None, checkpoint: Path | None) -> InclusionProof:
    """Prove that the record called `name` is in the tree of `checkpoint`, or in today's.

    A name is a position, an event id, or a job; for a job its last record is proved.
    """
    record = _find_record(ledger, name)
    head = read_pinned_head(ledger, checkpoint) if checkpoint else tree_head(ledger, key)
    if record.position > head.checkpoint.size:
        raise BadInput(
            f"position {record.position}: the checkpoint {checkpoint} ends at {head.checkpoint.size}; "
            "use a newer checkpoint",
            param="checkpoint",
            expected=f"a checkpoint of at least {record.position} records",
            found=f"{head.checkpoint.size} records",
        )
    try:
        edge = ledger.store.head()
        proof = InclusionProof.make(ledger.store, record.position - 1, head, record.record, edge)
        proof.verify(record.record)
    except ProofInvalid as error:
        raise NotIntact(f"position {record.position}: {error}; {NEXT_STEP}") from error
    return proof


def prove_consistency(
    ledger: Ledger, sizes: tuple[int, int], key: Path | None, checkpoint: Path | None
) -> ConsistencyProof:
    """Prove that the log of size `sizes[1]` extends the log of size `sizes[0]`."""
    old, new = sizes
    if not 0 <= old <= new:
        raise BadInput(
            f"--consistency {old} {new}: expected two sizes, 0 <= OLD <= NEW",
            param="consistency",
            expected="two sizes, 0 <= OLD <= NEW",
            found=f"{old} {new}",
        )
    try:
        head = read_pinned_head(ledger, checkpoint) if checkpoint else tree_head(ledger, key, new)
        if head.checkpoint.size != new:
            raise BadInput(
                f"checkpoint {checkpoint}: it has {head.checkpoint.size} records, not {new}",
                param="checkpoint",
                expected=f"{new} records",
                found=head.checkpoint.size,
            )
        return ConsistencyProof.make(ledger.store, old, head)
    except ProofInvalid as error:
        raise NotIntact(f"sizes {old} and {new}: {error}; {NEXT_STEP}") from error


def read_proof(path: Path) -> Proof:
    """Return the proof in the file at `path`; `BadInput` if it contains none."""
    data = read_file(path, "proof", MAX_PROOF_BYTES)
    try:
        if data.startswith(b"old "):
            return ConsistencyProof.parse(data)
        return InclusionProof.parse(data)
    except ProofInvalid as error:
        raise BadInput(
            f"proof {path}: {error}; `sora-ledger prove` creates one ({VERSION})",
            param="proof",
            expected="a file that `sora-ledger prove` wrote",
            found=error,
        ) from None


def check_proof(
    proof: Proof,
    record: Path | None,
    old_checkpoint: Path | None,
    verifiers: Sequence[Verifier],
    policy: TrustPolicy | None = None,
) -> ProofCheck:
    """Check `proof`, an inclusion proof of `record` or a consistency proof from `old_checkpoint`.

    The cosignatures of the checkpoint in the proof are counted by `policy`.
    """
    trouble: list[str] = []
    if isinstance(proof, InclusionProof):
        record_bytes = _record_bytes(proof, record)
        heads = [proof.head]
        try:
            proof.verify(record_bytes)
        except ProofInvalid as error:
            trouble.append(f"inclusion: {error}")
    else:
        record_bytes = None
        heads = [proof.head, _read_old_head(old_checkpoint)]
        trouble += _consistency_trouble(proof, heads[1])
    vouched = check_vouchers(proof.head, verifiers, policy)
    trouble += vouched.trouble
    for head in heads[1:]:
        trouble += check_vouchers(head, verifiers, None).trouble
    return ProofCheck(proof, vouched.signed_by, trouble, record_bytes, vouched.cosigned_by)


def _consistency_trouble(proof: ConsistencyProof, old: TreeHead) -> list[str]:
    trouble = []
    if old.checkpoint.origin != proof.head.checkpoint.origin:
        trouble.append(
            f"origin: {old.checkpoint.origin} and {proof.head.checkpoint.origin} are different logs"
        )
    if old.checkpoint.size != proof.old_size:
        trouble.append(
            f"size: the checkpoint has {old.checkpoint.size}, the proof begins at {proof.old_size}"
        )
        return trouble
    try:
        proof.verify(old.checkpoint.root)
    except ProofInvalid as error:
        trouble.append(f"consistency: {error}")
    return trouble


def _find_record(ledger: Ledger, name: str) -> Record:
    newest = ledger.head().size
    if name.isascii() and name.isdigit() and len(name) < len(str(2**63)):
        position = int(name)
        found = next(ledger.read(after=position - 1, limit=1), None) if position else None
        if found is None or found.position != position:
            raise BadInput(
                f"position {name}: the ledger has positions 1 to {newest}",
                param="position",
                expected=f"1 to {newest}",
                found=name,
            )
        return found
    record = ledger.event(name)
    if record is not None:
        return record
    try:
        return ledger.history(ledger.job(name).job_id)[-1]
    except JobNotFound as unknown:
        raise BadInput(
            f"{name!r} is neither a position (1 to {newest}) nor an event id or a job of this ledger: "
            "`sora-ledger log` shows them",
            param="position",
            expected=f"a position from 1 to {newest}, an event id or a job",
            found=name,
        ) from unknown


def _record_bytes(proof: InclusionProof, record: Path | None) -> bytes:
    if record is not None:
        return read_file(record, "record", RECORD_LIMIT_BYTES)
    if proof.record is None:
        raise BadInput(
            "this proof does not contain its record: name the record file with --record",
            param="record",
            expected="the file of the record",
            found="nothing",
        )
    return proof.record


def _read_old_head(path: Path | None) -> TreeHead:
    if path is None:
        raise BadInput(
            "a consistency proof starts at a checkpoint: name its file with --against",
            param="against",
            expected="the file of a checkpoint",
            found="nothing",
        )
    return read_head(path)
