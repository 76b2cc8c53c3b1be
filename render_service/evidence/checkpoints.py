"""Sign the current tree head, compare a checkpoint with the ledger, and publish checkpoints."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ledger.log.ledger import Ledger
from ledger.log.tiles import head_of
from ledger.tree.checkpoint import MAX_NOTE_BYTES, Checkpoint, CheckpointInvalid, Verifier
from ledger.tree.head import TreeHead
from ledger.tree.merkle import (
    EMPTY_ROOT,
    ProofInvalid,
    consistency_proof,
    root_at,
    verify_consistency,
)
from ledger.tree.trust_policy import TrustPolicy
from render_service.assets.bucket import SCHEMES, store_and_key
from render_service.evidence.keys import read_signer
from render_service.runtime.errors import BadInput, NotIntact, StorageFailed
from render_service.runtime.files import read_file, write_file

_ODD_HEAD = "the ledger's head does not match its records"


@dataclass(frozen=True)
class Comparison:
    """The result of comparing a checkpoint with a ledger; `signed_by` lists the keys with valid signatures.

    `trouble` is empty if the ledger extends the checkpoint; `proof` is then the consistency proof. With a
    `split_view`, a trusted key signed a checkpoint of this log that its ledger does not extend.
    """

    earlier: TreeHead
    now: TreeHead
    signed_by: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    proof: list[bytes] = field(default_factory=list)
    cosigned_by: list[str] = field(default_factory=list)
    split_view: bool = False
    stamped_at: str | None = None


@dataclass(frozen=True)
class Publication:
    """A publication to make: the target, the signing key, and the witness policy (None: no witnesses).

    The time-stamping authority at the address `timestamp` dates it, and is verified with the certificates in
    the file `tsa_chain`.
    """

    target: str
    key: Path | None
    witnesses: Path | None = None
    record: bool = False
    timestamp: str | None = None
    tsa_chain: Path | None = None

    @property
    def writes(self) -> bool:
        """Whether it adds records to the ledger."""
        return self.record or bool(self.witnesses or self.timestamp)


@dataclass(frozen=True)
class Scheduled:
    """A publication to repeat, at most once in `every_s` by all workers of the ledger together."""

    wanted: Publication
    every_s: float


def read_head(path: Path) -> TreeHead:
    """Return the checkpoint in the file at `path`, signed or not; `BadInput` if it contains none."""
    data = read_file(path, "checkpoint", MAX_NOTE_BYTES)
    try:
        return TreeHead.parse(data)
    except CheckpointInvalid as error:
        raise BadInput(
            f"checkpoint {path}: {error}; name a file that `sora-ledger checkpoint --publish` wrote",
            param="checkpoint",
            expected="a file that `sora-ledger checkpoint --publish` wrote",
            found=error,
        ) from None


def tree_head(ledger: Ledger, key: Path | None, size: int | None = None) -> TreeHead:
    """Return the head of `ledger`, or of its first `size` records, signed if a `key` is given.

    `NotIntact` if the head does not match the stored hashes: a log must not sign what it cannot prove later.
    """
    newest = ledger.head().size
    if size is not None and not 0 <= size <= newest:
        raise BadInput(
            f"size {size}: the ledger has {newest} records; name a size from 0 to {newest}",
            param="size",
            expected=f"0 to {newest}",
            found=size,
        )
    head = head_of(ledger, [read_signer(key)] if key else [], size)
    if key and head.checkpoint.root != _read_stored_root(ledger, head.checkpoint.size):
        raise NotIntact(f"{_ODD_HEAD}, so it is not signed: `sora-ledger verify` has details")
    return head


def _read_stored_root(ledger: Ledger, size: int) -> bytes | None:
    try:
        return root_at(ledger.store, size)
    except ProofInvalid:
        return None


@dataclass(frozen=True)
class Vouchers:
    """Who vouches for a checkpoint: the keys that signed it, and the witnesses that cosigned it."""

    signed_by: list[str] = field(default_factory=list)
    cosigned_by: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


def check_vouchers(head: TreeHead, verifiers: Sequence[Verifier], policy: TrustPolicy | None) -> Vouchers:
    """Check the signatures of `head` by `verifiers`, and count its cosignatures by `policy`."""
    vouched = Vouchers()
    try:
        if verifiers:
            vouched.signed_by.extend(key.name for key in head.find_signers(verifiers))
    except CheckpointInvalid as error:
        vouched.trouble.append(f"signature: {error}")
    if policy is None:
        return vouched
    try:
        counted = policy.count(head)
    except CheckpointInvalid as error:
        vouched.trouble.append(f"witnesses: {error}")
        return vouched
    vouched.cosigned_by.extend(counted.by)
    if not counted.is_enough:
        cosigned_by = ", ".join(counted.by) or "nobody"
        vouched.trouble.append(f"witnesses: cosigned by {cosigned_by}, and the policy wants {policy.rule()}")
    return vouched


def compare(
    ledger: Ledger, earlier: TreeHead, verifiers: Sequence[Verifier], policy: TrustPolicy | None = None
) -> Comparison:
    """Return whether `ledger` extends the checkpoint `earlier`, and who signed and cosigned it."""
    now = head_of(ledger)
    vouched = check_vouchers(earlier, verifiers, policy)
    trouble, signers = list(vouched.trouble), (vouched.signed_by, vouched.cosigned_by)
    if earlier.checkpoint.origin != now.checkpoint.origin:
        trouble.append(
            f"origin: the checkpoint is of the log {earlier.checkpoint.origin}, "
            f"this ledger is {now.checkpoint.origin}"
        )
    if now.checkpoint.root != _read_stored_root(ledger, now.checkpoint.size):
        trouble.append(f"head: {_ODD_HEAD}; `sora-ledger verify` has details")
    try:
        proof = _prove_extension(ledger, earlier.checkpoint, now.checkpoint)
    except ProofInvalid as error:
        split = earlier.checkpoint.origin == now.checkpoint.origin and any(signers)
        trouble += [str(error), *([_split_view(vouched)] if split else [])]
        return Comparison(earlier, now, signers[0], trouble, [], signers[1], split)
    return Comparison(earlier, now, signers[0], trouble, proof, signers[1])


def _split_view(vouched: Vouchers) -> str:
    names = ", ".join([*vouched.signed_by, *vouched.cosigned_by])
    return (
        f"split view: {names} signed a history of this log that its ledger does not have: keep the "
        "checkpoint and a copy of the ledger, which together are the evidence"
    )


def read_pinned_head(ledger: Ledger, path: Path) -> TreeHead:
    """Return the checkpoint in `path` as the basis of proofs.

    `BadInput` if it belongs to another log; `NotIntact` if this ledger does not extend it.
    """
    comparison = compare(ledger, read_head(path), [])
    if comparison.trouble:
        another = comparison.earlier.checkpoint.origin != comparison.now.checkpoint.origin
        raise (BadInput if another else NotIntact)(
            f"checkpoint {path}: it cannot prove anything about this ledger: {'; '.join(comparison.trouble)}"
        )
    return comparison.earlier


def prepare_replacement(ledger: Ledger, head: TreeHead, there: bytes) -> bytes:
    """Return the bytes that may replace `there`, a published checkpoint that the ledger extends.

    The result is `head`, or `there` if that is longer. If both have the same size, it includes the signatures
    that were added to the published one, for example by witnesses. `BadInput` if `there` is not a checkpoint;
    `NotIntact` if the ledger does not extend it.
    """
    try:
        published = TreeHead.parse(there)
    except CheckpointInvalid:
        raise BadInput(
            "--publish: the target is not a checkpoint and was not replaced; name another target",
            param="publish",
            expected="a checkpoint, or a new file",
            found="another file",
        ) from None
    trouble = compare(ledger, published, []).trouble
    if not trouble and published.checkpoint.size > head.checkpoint.size:
        return there  # another process published a longer one since `head` was made
    if trouble:
        raise NotIntact(
            f"--publish: the checkpoint there was not replaced, because this ledger does not extend it: "
            f"{'; '.join(trouble)}"
        )
    return merge_signatures(head, published, "--publish").to_bytes()


def merge_signatures(head: TreeHead, there: TreeHead, what: str) -> TreeHead:
    """Return `head` with the signatures of `there`, the same checkpoint; `BadInput` if one would be lost."""
    same = (there.checkpoint.origin, there.checkpoint.size) == (head.checkpoint.origin, head.checkpoint.size)
    if same and there.note and there.checkpoint.extensions:
        raise BadInput(
            f"{what}: the checkpoint there has the same size and extension lines, so its signatures would be "
            "lost: it was not replaced; name another target",
            param="publish",
            expected="another target",
            found="a checkpoint of the same size",
        )
    try:
        return head.with_signatures_of(there)
    except CheckpointInvalid as error:
        raise BadInput(
            f"{what}: the checkpoint there was not replaced: {error}; name another target",
            param="publish",
            expected="an older checkpoint of this ledger",
            found=error,
        ) from None


def _prove_extension(ledger: Ledger, old: Checkpoint, new: Checkpoint) -> list[bytes]:
    if old.size > new.size:
        raise ProofInvalid(
            f"size: the checkpoint has {old.size} records, this ledger only {new.size}: its tail was cut"
        )
    if old.size == 0:
        if old.root != EMPTY_ROOT:
            raise ProofInvalid("root: the checkpoint has size 0, but not the root of an empty log")
        return []
    proof = consistency_proof(ledger.store, old.size, new.size)
    try:
        verify_consistency(old.size, new.size, proof, old.root, new.root)
    except ProofInvalid:
        current = root_at(ledger.store, old.size)
        raise ProofInvalid(
            f"root: at {old.size} records this ledger has {current.hex()}, the checkpoint "
            f"{old.root.hex()}: the first {old.size} records were changed"
        ) from None
    return proof


def put(ledger: Ledger, head: TreeHead, target: str) -> tuple[str, TreeHead]:
    """Replace the checkpoint at `target` with `head`; return its URI, and the new content.

    That is `head` with the signatures that others added, or a longer checkpoint of the same ledger.
    """
    uri, data = publish(target, head.to_bytes(), partial(prepare_replacement, ledger, head))
    return uri, TreeHead.parse(data)


def publish(target: str, data: bytes, replacing: Callable[[bytes], bytes]) -> tuple[str, bytes]:
    """Write `data` to `target`, atomically; return the URI of the target, and the bytes written.

    `target` is a path, ``file:///path``, ``s3://bucket/key``, ``gs://bucket/key`` or
    ``az://container/key``; credentials come from the usual environment of the provider. If the target exists,
    `prepare_replacement` is called with its content and returns the bytes to write, or raises.
    """
    if "://" not in target:
        return _publish_to_file(Path(target), data, replacing)
    parts = urlsplit(target)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return _publish_to_file(Path(unquote(parts.path)), data, replacing)
    if parts.scheme not in SCHEMES or not parts.netloc or not parts.path.strip("/"):
        raise BadInput(
            f"--publish {target}: expected a path, file:///path, s3://bucket/key, gs://bucket/key "
            "or az://container/key",
            param="publish",
            expected="a path, file:///path, s3://bucket/key, gs://bucket/key or az://container/key",
            found=target,
        )
    return _publish_to_store(target, data, replacing)


def _publish_to_file(path: Path, data: bytes, replacing: Callable[[bytes], bytes]) -> tuple[str, bytes]:
    place = path.expanduser()
    if place.is_file():
        data = replacing(read_file(place, "--publish", MAX_NOTE_BYTES))
    write_file(place, data)
    return place.absolute().as_uri(), data


def _publish_to_store(target: str, data: bytes, replacing: Callable[[bytes], bytes]) -> tuple[str, bytes]:
    import obstore  # slow to load, needed only for buckets
    from obstore.exceptions import BaseError

    store, key = store_and_key(target)
    try:
        with suppress(FileNotFoundError):  # nothing published yet
            data = replacing(bytes(obstore.get_range(store, key, start=0, length=MAX_NOTE_BYTES)))
        obstore.put(store, key, data)
    except (BaseError, OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StorageFailed(
            f"--publish {target}: {first}; check bucket, permissions and credentials",
            param="publish",
            expected="a target that can be written",
            found=first,
        ) from error
    return target, data
