"""Follow a published file back to its record: what its manifest is, and whether the ledger agrees.

1. The manifest is read and validated with the C2PA project's reader.
2. Our assertion names a record: ledger, job, position, leaf.
3. A proof in the assertion shows that the leaf is in the tree of a checkpoint; keys tell who signed that.
4. The ledger, if it is here, shows the record: its leaf, its job, the digest of the file that it stored.

Steps 1 to 3 need nothing but the file. A file that was renamed or moved is the same file.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ledger.canonical import leaf_hash
from ledger.events import AssetPublished, AssetStored, ProvenanceSigned
from ledger.log.ledger import Ledger
from ledger.log.tiles import origin_of
from ledger.tree.checkpoint import CheckpointInvalid, Verifier
from ledger.tree.merkle import ProofInvalid, inclusion_proof, verify_inclusion
from ledger.tree.proof import InclusionProof
from render_service.provenance.embedded import find_embedded
from render_service.provenance.manifest import (
    Json,
    Manifest,
    TrustList,
    check_installed,
    read_manifest,
)
from render_service.provenance.sign import FORMAT, LABEL
from render_service.runtime.errors import BadInput
from render_service.session.history import JobHistory

MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".m4v": "video/mp4",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".png": "image/png",
}
_CHANGED = {
    "assertion.bmffHash.mismatch": "pictures, sound or other content differ from what was signed",
    "assertion.dataHash.mismatch": "the content differs from what was signed",
    "assertion.hashedURI.mismatch": "a statement in the manifest differs from what was signed",
    "claimSignature.mismatch": "the signed claim was changed after it was signed",
    "signingCredential.expired": "the certificate had expired when this was signed",
    "signingCredential.invalid": "the certificate may not sign content",
    "manifest.unreadable": "the manifest is damaged and cannot be read",
    "manifest.too_large": "the manifest is larger than any real one, and was not read",
    "manifest.too_slow": "reading the manifest took too long, and was given up",
}


@dataclass
class Followed:
    """What a file says, and what the ledger says to that; it holds if there is no `trouble`."""

    sha256: str
    manifest: Manifest | None
    claim: Json | None = None
    proved_in: int | None = None
    signed_by: list[str] = field(default_factory=list)
    record_found: bool | None = None
    published: list[Json] = field(default_factory=list)
    is_exact_copy: bool | None = None
    notes: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


def follow(
    path: Path, trust: TrustList | None, verifiers: Sequence[Verifier], ledger: Ledger | None
) -> Followed:
    """Check the file at `path`, with the `ledger` if there is one."""
    check_installed()
    followed = _read(path, trust)
    if followed.manifest is None:
        followed.trouble.append("it has no C2PA manifest, so nothing in it says where it is from")
        return followed
    if followed.manifest.validity == "invalid":
        followed.trouble += [
            f"{_CHANGED.get(code, 'it does not validate')} ({code})" for code in _codes(followed)
        ]
    followed.claim = followed.manifest.assertion(LABEL)
    if followed.claim is None:
        if not followed.manifest.store:
            return followed
        followed.notes.append(
            "the manifest names no record of a ledger like this: it was signed by other software"
        )
        return followed
    leaf = _leaf(followed)
    if leaf is None:
        return followed
    _check_proof(followed, leaf, verifiers)
    if ledger is None:
        followed.notes.append("there is no ledger here, so the record was not looked up")
    elif origin_of(ledger) != followed.claim["origin"]:
        followed.notes.append(
            f"the record is in another ledger, {followed.claim['origin']}; this one is {origin_of(ledger)}"
        )
    else:
        _check_record(followed, leaf, ledger)
    return followed


def _codes(followed: Followed) -> Sequence[str]:
    return (followed.manifest.failures if followed.manifest else ()) or ("no code",)


def _read(path: Path, trust: TrustList | None) -> Followed:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        embedded = find_embedded(path)
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({error.strerror}); name a video file",
            param="file",
            expected="a file that can be read",
            found=error.strerror,
        ) from error
    if embedded is not None and embedded.manifest_bytes == 0:
        return Followed(digest, None)
    media_type = MEDIA_TYPES.get(path.suffix.lower(), "video/mp4")
    return Followed(
        digest, read_manifest(path, media_type, trust, embedded.manifest_bytes if embedded else None)
    )


def _leaf(followed: Followed) -> bytes | None:
    """Return the leaf that our assertion names; its values are those of a stranger's file."""
    claim = followed.claim or {}
    texts = [claim.get(name) for name in ("origin", "job", "leaf", "sha256")]
    position = claim.get("position")
    try:
        leaf = bytes.fromhex(str(claim.get("leaf")))
    except ValueError:
        leaf = b""
    is_read = all(isinstance(text, str) for text in texts) and isinstance(position, int) and position > 0
    if claim.get("format") != FORMAT or not is_read or len(leaf) != hashlib.sha256().digest_size:
        followed.claim = None
        followed.trouble.append(f"its assertion {LABEL} is not of the form {FORMAT}")
        return None
    return leaf


def _check_proof(followed: Followed, leaf: bytes, verifiers: Sequence[Verifier]) -> None:
    assert followed.claim is not None
    text = followed.claim.get("proof")
    if not isinstance(text, str):
        followed.notes.append("the manifest has no checkpoint, so only the ledger can show the record")
        return
    try:
        proof = InclusionProof.parse(text.encode())
        at = proof.head.checkpoint
        verify_inclusion(leaf, followed.claim["position"] - 1, at.size, proof.path, at.root)
        if at.origin != followed.claim["origin"]:
            followed.trouble.append("the proof in the manifest is of another ledger than the record")
            return
        followed.proved_in = at.size
        if verifiers:
            followed.signed_by = [key.name for key in proof.head.signed_by(verifiers)]
        else:
            followed.notes.append("no --verifier was named, so it was not checked who signed the checkpoint")
    except (ProofInvalid, ValueError) as error:
        followed.trouble.append(f"the proof in the manifest does not hold: {error}")
    except CheckpointInvalid as error:
        followed.trouble.append(f"the checkpoint in the manifest: {error}")


def _check_record(followed: Followed, leaf: bytes, ledger: Ledger) -> None:
    """Compare our assertion with the record of the ledger that it names."""
    assert followed.claim is not None
    position, job = followed.claim["position"], followed.claim["job"]
    record = next(ledger.read(after=position - 1, limit=1), None)
    followed.record_found = record is not None and record.position == position
    if record is None or not followed.record_found:
        followed.trouble.append(f"the ledger has no position {position}: records were removed from it")
        return
    if leaf_hash(record.record) != leaf:
        followed.trouble.append(
            f"position {position} of the ledger is not the record that the manifest names"
        )
        return
    event = record.event
    if record.stream != job or not isinstance(event, AssetStored) or event.sha256 != followed.claim["sha256"]:
        followed.trouble.append(
            f"position {position} does not record what the manifest says: {job} stored its file"
        )
        return
    edge = ledger.store.head()
    try:
        path = inclusion_proof(ledger.store, position - 1, edge.size, edge)
        verify_inclusion(leaf, position - 1, edge.size, path, edge.root())
    except ProofInvalid as error:
        followed.trouble.append(f"position {position} is not in the ledger's tree ({error})")
    _note_publications(followed, JobHistory(ledger.history(job)))


def _note_publications(followed: Followed, history: JobHistory) -> None:
    copies = {entry.event.sha256 for entry in history.all_of(ProvenanceSigned)}
    followed.is_exact_copy = followed.sha256 in copies
    if not followed.is_exact_copy:
        followed.notes.append(
            "the ledger recorded no copy with exactly these bytes: it was signed elsewhere with the same "
            "record, or changed where the signature does not look"
        )
    followed.published = [
        {"target": entry.event.target.text, "by": entry.record.actor, "at": entry.record.recorded_at}
        for entry in history.all_of(AssetPublished)
        if entry.event.sha256 == followed.sha256
    ]
