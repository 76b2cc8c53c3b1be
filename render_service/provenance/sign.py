"""Sign a copy of a stored file with a C2PA manifest that points to its record, and follow it back.

The manifest states that the content was made by AI, the files it was made from, and the place of its record:
the assertion `LABEL` has the ledger's origin, the job, the position and leaf of the record that stored the
file, and, if there is a checkpoint, the proof that the record is in its tree. The proof omits the record
itself, which would name people.

A file without a parent is *created*. C2PA allows no parent for what is created, so a remix is an *edit* of
the file it was made from. A file that arrived with a manifest is an edit of itself: that manifest stays in
the copy as the parent's.

A published file is traced in these steps, and the ledger must agree:

1. The manifest is read and validated with the C2PA project's reader.
2. Our assertion identifies a record: ledger, job, position, leaf.
3. A proof in the assertion shows that the leaf is in the tree of a checkpoint; keys tell who signed that.
4. The ledger, if available, shows the record: its leaf, its job, the digest of the stored file.

Steps 1 to 3 need only the file. A renamed or moved file is still the same file.
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ledger.canonical import leaf_hash
from ledger.events import AssetPublished, AssetStored, ProvenanceSigned
from ledger.log.ledger import Ledger
from ledger.log.tiles import origin_of
from ledger.record import timestamp
from ledger.tree.checkpoint import CheckpointInvalid, Verifier
from ledger.tree.merkle import ProofInvalid, inclusion_proof, verify_inclusion
from ledger.tree.proof import InclusionProof
from render_service.evidence.witnesses import CLOCK_SKEW_S
from render_service.provenance.certificates import Certificate
from render_service.provenance.embedded import find_embedded
from render_service.provenance.manifest import (
    Manifest,
    TrustList,
    check_installed,
    context,
    read_manifest,
)
from render_service.runtime.documents import Json
from render_service.runtime.errors import BadInput, NotStamped, StorageFailed
from render_service.session.history import JobHistory

LABEL = "org.sora-ledger.record"
FORMAT = "sora-ledger/provenance/v1"
AI_MADE = "trainedAlgorithmicMedia"
VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
LONGEST_CHECK_S = 3_600.0
"""Reading back our own signed copy may take an hour: the file is trusted, and the machine may be busy."""


@dataclass(frozen=True)
class Parent:
    """A file that the signed one was made from."""

    job_id: str
    path: Path
    media_type: str


@dataclass(frozen=True)
class TimeAuthority:
    """A time-stamping authority (RFC 3161), and the certificates that verify it."""

    url: str
    chain: TrustList


@dataclass(frozen=True)
class Wish:
    """The input of a signature: the stored file at `path`, and the content of its manifest.

    `pictures` is the file whose bytes are signed instead, if a label was drawn into a copy; `label` describes
    it. `authority` dates the signature.
    """

    path: Path
    media_type: str
    title: str
    has_manifest: bool
    record: Json
    parents: tuple[Parent, ...] = ()
    pictures: Path | None = None
    label: str | None = None
    authority: TimeAuthority | None = None

    @property
    def intent(self) -> Literal["create", "edit"]:
        """The manifest's presentation of the copy."""
        return "edit" if self.has_manifest or self.parents else "create"


@dataclass(frozen=True)
class SignedCopy:
    """A signed copy; `stamped_at` is when an authority saw the signature."""

    sha256: str
    bytes: int
    stamped_at: str | None


def sign_copy(wish: Wish, certificate: Certificate, target: Path, now: datetime) -> SignedCopy:
    """Write the signed copy to the existing empty file `target`, durably, and read its manifest back.

    `BadInput` if the library refuses, for example because of an unreadable manifest in the file. `NotStamped`
    if the requested authority did not date the signature, or disagrees with our clock, `now`.
    """
    from c2pa import C2paError  # an extra

    try:
        _sign(wish, certificate, target)
    except C2paError as error:
        if shutil.disk_usage(target.parent).free <= wish.path.stat().st_size:  # the library does not say it
            raise StorageFailed(
                f"{target.parent}: the disk is full; make room and publish again",
                param="to",
                expected="room on the disk",
                found="none",
            ) from None
        if wish.authority is not None and isinstance(error, C2paError.Signature):
            raise NotStamped(
                f"the time-stamping authority {wish.authority.url} did not date the signature ({error}); "
                "nothing was published. Try again later, or publish without --timestamp",
                param="timestamp",
                expected="a timestamp",
                found=error,
            ) from None
        raise BadInput(
            f"{wish.title}: it cannot be signed ({error}); if the manifest that came with it is damaged, "
            "`--as-stored` publishes the file as it is",
            param="job",
            expected="a file that can be signed",
            found=error,
        ) from None
    except OSError as error:
        raise StorageFailed(
            f"{target.parent}: cannot be written ({error.strerror}); make room",
            expected="a place that can be written",
            found=error.strerror,
        ) from error
    stamped_at = _check(wish, target, now)
    with target.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return SignedCopy(digest, target.stat().st_size, stamped_at)


def _sign(wish: Wish, certificate: Certificate, target: Path) -> None:
    from c2pa import (  # an extra
        Builder,
        C2paBuilderIntent,
        C2paDigitalSourceType,
        C2paSignerInfo,
        Signer,
    )

    url = wish.authority.url if wish.authority else None
    info = C2paSignerInfo(certificate.algorithm, certificate.chain, certificate.key, url)
    generator = {"claim_generator_info": {"name": "sora-ledger"}}
    with (
        context(None, builder=generator) as settings,
        Builder(_definition(wish), context=settings) as builder,
    ):
        intent = C2paBuilderIntent.CREATE if wish.intent == "create" else C2paBuilderIntent.EDIT
        builder.set_intent(intent, C2paDigitalSourceType.TRAINED_ALGORITHMIC_MEDIA)
        if wish.intent == "edit":
            builder.add_action({"action": "c2pa.edited", "digitalSourceType": VOCABULARY + AI_MADE})
        if wish.label is not None:
            builder.add_action({"action": "c2pa.edited", "description": wish.label})
            builder.add_action({"action": "c2pa.transcoded"})
        for number, (path, media_type, ingredient) in enumerate(_ingredients(wish)):
            with path.open("rb") as file:
                builder.add_ingredient(ingredient | {"label": f"parent{number}"}, media_type, file)
        bytes_of = wish.pictures or wish.path
        with Signer.from_info(info) as signer, bytes_of.open("rb") as source, target.open("r+b") as copy:
            builder.sign(signer, wish.media_type, source, copy)


def _definition(wish: Wish) -> dict[str, Any]:
    assertion = {"label": LABEL, "kind": "Json", "data": {"format": FORMAT, **wish.record}}
    return {"title": wish.title, "format": wish.media_type, "assertions": [assertion]}


def _ingredients(wish: Wish) -> list[tuple[Path, str, dict[str, str]]]:
    """Return the ingredients: one parent at most, which C2PA demands; further files are inputs."""
    files = [(parent.path, parent.media_type, f"{parent.job_id}.mp4") for parent in wish.parents]
    if wish.has_manifest:
        files.insert(0, (wish.path, wish.media_type, wish.title))
    return [
        (path, media_type, {"title": title, "relationship": "inputTo" if number else "parentOf"})
        for number, (path, media_type, title) in enumerate(files)
    ]


def _check(wish: Wish, target: Path, now: datetime) -> str | None:
    """Raise unless a reader finds the signed content in the copy; return the authority's time."""
    authority = wish.authority
    chain = authority.chain if authority else None
    manifest = read_manifest(target, wish.media_type, chain, longest_s=LONGEST_CHECK_S)
    claim_label = manifest.assertion(LABEL) if manifest else None
    if manifest is None or manifest.validity == "invalid" or claim_label is None:
        codes = ", ".join(manifest.failures) if manifest else "no manifest"
        raise BadInput(
            f"{wish.title}: the signed copy does not validate ({codes}); nothing was published",
            param="job",
            expected="a signed copy that validates",
            found=codes,
        )
    if authority is None:
        return None
    if manifest.stamp != "trusted" or manifest.signed_at is None:
        raise NotStamped(
            f"the timestamp of {authority.url} is not by an authority whose certificates --tsa-chain names; "
            "nothing was published",
            param="tsa_chain",
            expected="the certificates of the authority",
            found=authority.url,
        )
    stamped = datetime.fromisoformat(manifest.signed_at).astimezone(UTC)
    if abs((stamped - now).total_seconds()) > CLOCK_SKEW_S:
        raise NotStamped(
            f"the time-stamping authority {authority.url} dated the signature {timestamp(stamped)}, and the "
            f"clock here says {timestamp(now)}; nothing was published. Check the clock of this machine",
            param="timestamp",
            expected=timestamp(now),
            found=timestamp(stamped),
        )
    return timestamp(stamped)


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
class ProvenanceCheck:
    """A file's claims, and the ledger's verdict on them; they hold if there is no `trouble`."""

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
) -> ProvenanceCheck:
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


def _codes(followed: ProvenanceCheck) -> Sequence[str]:
    return (followed.manifest.failures if followed.manifest else ()) or ("no code",)


def _read(path: Path, trust: TrustList | None) -> ProvenanceCheck:
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
        return ProvenanceCheck(digest, None)
    media_type = MEDIA_TYPES.get(path.suffix.lower(), "video/mp4")
    return ProvenanceCheck(
        digest, read_manifest(path, media_type, trust, embedded.manifest_bytes if embedded else None)
    )


def _leaf(followed: ProvenanceCheck) -> bytes | None:
    """Return the leaf in our assertion; its values come from an untrusted file."""
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


def _check_proof(followed: ProvenanceCheck, leaf: bytes, verifiers: Sequence[Verifier]) -> None:
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
            followed.signed_by = [key.name for key in proof.head.find_signers(verifiers)]
        else:
            followed.notes.append("no --verifier was named, so it was not checked who signed the checkpoint")
    except (ProofInvalid, ValueError) as error:
        followed.trouble.append(f"the proof in the manifest does not hold: {error}")
    except CheckpointInvalid as error:
        followed.trouble.append(f"the checkpoint in the manifest: {error}")


def _check_record(followed: ProvenanceCheck, leaf: bytes, ledger: Ledger) -> None:
    """Compare our assertion with the ledger's record."""
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


def _note_publications(followed: ProvenanceCheck, history: JobHistory) -> None:
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
