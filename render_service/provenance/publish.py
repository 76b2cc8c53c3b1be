"""Publish a video: write it to a public place, marked as made by AI, and record both.

1. Job, stored file, target, certificate and policy are checked; nothing is written before.
2. A signed copy is made under a hidden name next to the target, and read back. (`--as-stored`: a plain copy.)
   A label is drawn first, into another hidden file, whose bytes are signed.
3. `provenance.signed` is recorded.
4. The copy gets its name at the target.
5. `asset.published` is recorded.

A crash up to 3 leaves hidden files that nothing reads. After 3 it leaves the record of a copy that was never
published. After 4 the file is there, and the same command records it: a target that holds a signed copy of
this job, recorded but not yet published, is recognised as that copy.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from ledger.canonical import leaf_hash
from ledger.events import AssetPublished, AssetStored, ProvenanceSigned, VisibleLabel
from ledger.job import Job
from ledger.log.tiles import origin_of
from ledger.private import Private
from ledger.private_files import OPEN, NewFile
from ledger.record import Entry
from ledger.store.interface import ANY, Batch
from ledger.terms import Operation, Variant
from ledger.tree.proof import InclusionProof
from render_service.assets.bucket import local_path, store_and_key
from render_service.assets.folder import COPY_BYTES, make_unwritable
from render_service.assets.store import check_target
from render_service.evidence.checkpoints import read_pinned_head, tree_head
from render_service.provenance.certificates import Certificate, read_certificate
from render_service.provenance.embedded import find_embedded
from render_service.provenance.label import Label, check_label, draw_label, reseal
from render_service.provenance.manifest import (
    TOO_LARGE,
    TOO_SLOW,
    Manifest,
    TrustList,
    check_installed,
    is_installed,
    read_manifest,
)
from render_service.provenance.sign import AI_MADE, Parent, TimeAuthority, Wish, sign_copy
from render_service.runtime.errors import BadInput, NotAsStored, NotMarked, NotReady, StorageFailed
from render_service.session.history import JobHistory
from render_service.session.session import Session

Marking = Literal["signed", "original", "none"]
MADE_FROM = (Operation.REMIX, Operation.EDIT, Operation.EXTEND)
AI_SOURCE_TYPES = (AI_MADE, "compositeWithTrainedAlgorithmicMedia", "compositeSynthetic", "algorithmicMedia")


@dataclass(frozen=True)
class Publication:
    """The file to publish, and its target.

    `certificate` signs the copy; `as_stored` publishes the stored bytes instead. `checkpoint` is a published
    checkpoint that the manifest refers to; without it, `key` signs a new one, if it is set. `label` is drawn
    into the pictures. The time-stamping authority at `timestamp` dates the signature, and is verified with
    the certificates of `tsa_chain`.
    """

    target: str
    certificate: Path | None = None
    as_stored: bool = False
    checkpoint: Path | None = None
    key: Path | None = None
    force: bool = False
    label: Label | None = None
    timestamp: str | None = None
    tsa_chain: Path | None = None


class _Source(NamedTuple):
    """The input of a copy: the stored file, and its `pictures` with the label, if there is one."""

    job: Job
    stored: Entry[AssetStored]
    path: Path
    pictures: Path | None


@dataclass(frozen=True)
class PublishedFile:
    """A published file; `was_there` if an earlier command had written it and only the record was missing."""

    job: Job
    target: str
    sha256: str
    bytes: int
    marking: Marking
    signer: str | None = None
    label: VisibleLabel | None = None
    stamped_at: str | None = None
    was_there: bool = False


async def publish(session: Session, name: str, wanted: Publication) -> PublishedFile:
    """Publish the video of the job called `name`; the errors say what is missing and what to do."""
    job = await session.job(name)
    stopped = Event()
    try:
        return await asyncio.to_thread(_publish, session, job, wanted, stopped)
    finally:  # Ctrl-C ends the drawing of a label, too
        stopped.set()


def _publish(session: Session, job: Job, wanted: Publication, stopped: Event) -> PublishedFile:
    history = JobHistory(session.ledger.history(job.job_id))
    stored = _find_stored(job, history)
    path = _path_of(session, job, stored.event)
    place = local_path(wanted.target)
    if place is not None and not wanted.force and (done := _was_published(session, job, history, place)):
        return done
    if place is not None:
        check_target(place, force=wanted.force)
    else:
        _check_bucket(wanted.target, force=wanted.force)
    certificate = None if wanted.as_stored else _certificate(session, wanted)
    authority = _authority(session, wanted)
    if wanted.label is not None:
        check_label(wanted.label)
    marking: Marking = "signed" if certificate else _read_own_marking(path, stored.event)
    _check_policy(session, job, marking)
    with _new_file(session, place) as copy:
        if certificate is None:
            done = PublishedFile(job, wanted.target, _copy(path, copy), stored.event.bytes, marking)
        else:
            with _pictures(copy, path, stored.event, wanted, stopped) as pictures:
                source = _Source(job, stored, path, pictures)
                event = _sign(session, source, wanted, authority, certificate, copy.path)
            _record(session, job, event)
            done = _describe(job, wanted.target, event)
        done = replace(done, target=_put(copy, place, wanted))
    _record_published(session, done)
    return done


def _describe(job: Job, target: str, event: ProvenanceSigned) -> PublishedFile:
    """Return the publication of the signed copy that `event` records."""
    return PublishedFile(
        job, target, event.sha256, event.bytes, "signed", event.signer.text, event.label, event.stamped_at
    )


# --- 1. checks ---


def _find_stored(job: Job, history: JobHistory) -> Entry[AssetStored]:
    """Return the record that stored the video of `job`; `NotReady` if there is none, or no longer."""
    videos = [entry for entry in history.all_of(AssetStored) if entry.event.variant is Variant.VIDEO]
    if not videos:
        raise NotReady(
            f"{job.job_id} is {job.state}, so there is no video to publish: "
            f"`sora-ledger show {job.job_id}` says where it stands",
            param="job",
            expected="a job with a video",
            found=f"a {job.state} job",
        )
    if Variant.VIDEO in history.lost_variants:
        raise NotReady(
            f"{job.job_id}: its video was erased or lost, as `sora-ledger show {job.job_id}` says; "
            "it cannot be published",
            param="job",
            expected="a job with a video",
            found="one whose video was erased or lost",
        )
    return videos[-1]


def _path_of(session: Session, job: Job, stored: AssetStored) -> Path:
    path = session.assets.path(stored.storage_uri)
    if not path.is_file():
        raise NotReady(
            f"{job.job_id}: its file is not in {session.assets.place.url}; "
            f"`sora-ledger download {job.job_id}` stores it again if the server still has it",
            param="job",
            expected="a stored file",
            found="none",
        )
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != stored.sha256:
            raise NotAsStored(
                f"{stored.storage_uri} of {job.job_id}: its bytes differ from those that were stored, "
                "so it is not published; `sora-ledger assets check` has details",
                param="job",
                expected="the bytes that were stored",
                found="others",
            )
    return path


def _check_bucket(target: str, *, force: bool) -> None:
    import obstore  # slow to load, needed only for buckets
    from obstore.exceptions import BaseError

    store, key = store_and_key(target)
    try:
        with suppress(FileNotFoundError):
            obstore.head(store, key)
            if not force:
                raise BadInput(
                    f"--to {target}: it exists already; name another target or add --force",
                    param="to",
                    expected="a new name",
                    found="a file of this name",
                )
    except BaseError as error:
        raise StorageFailed(
            f"--to {target}: cannot be used ({str(error).splitlines()[0]})",
            param="to",
            expected="a target that can be written",
            found=str(error).splitlines()[0],
        ) from error


def _certificate(session: Session, wanted: Publication) -> Certificate:
    path = wanted.certificate or session.settings.certificate_file
    if path is None:
        raise BadInput(
            "no certificate signs the copy: add --certificate FILE or set SORA_LEDGER_CERTIFICATE "
            "(`sora-ledger key certificate FILE` makes one), or publish the bytes unchanged with --as-stored",
            param="certificate",
            expected="a certificate that signs",
            found="nothing",
        )
    check_installed()
    return read_certificate(path, session.clock())


def _authority(session: Session, wanted: Publication) -> TimeAuthority | None:
    if wanted.timestamp is None:
        return None
    chain = wanted.tsa_chain or session.settings.tsa_chain_file
    if chain is None:
        raise BadInput(
            "--timestamp: name the certificates by which the authority is believed, with --tsa-chain FILE or "
            "SORA_LEDGER_TSA_CHAIN",
            param="tsa_chain",
            expected="the certificates of the authority",
            found="nothing",
        )
    if urlsplit(wanted.timestamp).scheme not in ("http", "https"):
        raise BadInput(
            f"--timestamp {wanted.timestamp}: expected a URL that begins with http:// or https://",
            param="timestamp",
            expected="a URL that begins with http:// or https://",
            found=wanted.timestamp,
        )
    return TimeAuthority(wanted.timestamp, TrustList.read(chain, "--tsa-chain"))


def _manifest_of(path: Path, stored: AssetStored) -> Manifest | None:
    """Return the manifest embedded in the stored file."""
    embedded = find_embedded(path)
    if embedded is not None and embedded.manifest_bytes == 0:
        return None
    return read_manifest(path, stored.media_type, None, embedded.manifest_bytes if embedded else None)


def _read_own_marking(path: Path, stored: AssetStored) -> Marking:
    """Return whether the stored file is marked as made by AI by its own valid manifest."""
    manifest = _manifest_of(path, stored) if is_installed() else None
    is_marked = (
        manifest is not None
        and manifest.validity != "invalid"
        and manifest.digital_source_type in AI_SOURCE_TYPES
    )
    return "original" if is_marked else "none"


def _check_policy(session: Session, job: Job, marking: Marking) -> None:
    purposes = session.policy.require_marking or ()
    if marking == "none" and job.purpose in purposes:
        raise NotMarked(
            f"{job.job_id}: the policy wants a valid C2PA manifest in what is published of purpose "
            f"{job.purpose}, and this file has none; sign it (--certificate FILE, without --as-stored)",
            param="job",
            expected="a file with a valid C2PA manifest",
            found="one without",
        )


# --- 2. the copy ---


def _new_file(session: Session, place: Path | None) -> NewFile:
    """Open the copy next to its target, or in the folder for incoming files."""
    beside = place or session.assets.folder / "tmp" / "published.mp4"
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        return NewFile(beside, mode=OPEN if place else 0o600)
    except OSError as error:
        raise make_unwritable(beside, error) from error


def _copy(path: Path, copy: NewFile) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as source:
            while chunk := source.read(COPY_BYTES):
                digest.update(chunk)
                copy.write(chunk)
    except OSError as error:
        raise make_unwritable(copy.target, error) from error
    return digest.hexdigest()


@contextmanager
def _pictures(
    copy: NewFile, path: Path, stored: AssetStored, wanted: Publication, stopped: Event
) -> Iterator[Path | None]:
    """Draw the label into another hidden file next to `copy`, and remove that file; None without a label."""
    if wanted.label is None:
        yield None
        return
    with NewFile(copy.target) as drawn:
        try:
            draw_label(wanted.label, path, stored.media_type, drawn.path, stopped.is_set)
        except OSError as error:
            raise make_unwritable(copy.target, error) from error
        yield drawn.path


def _sign(
    session: Session,
    source: _Source,
    wanted: Publication,
    authority: TimeAuthority | None,
    certificate: Certificate,
    target: Path,
) -> ProvenanceSigned:
    job, stored, path, pictures = source
    record = stored.record
    leaf = leaf_hash(record.record).hex()
    facts = {
        "origin": origin_of(session.ledger),
        "job": job.job_id,
        "position": record.position,
        "leaf": leaf,
        "sha256": stored.event.sha256,
    }
    came = _manifest_of(path, stored.event)
    if came is not None and {TOO_LARGE, TOO_SLOW} & set(came.failures):
        raise BadInput(
            f"{job.job_id}: the manifest that came with its file could not be read ({came.failures[0]}), so "
            "the file is not signed over it; `--as-stored` publishes it as it is",
            param="job",
            expected="a manifest that can be read",
            found=came.failures[0],
        )
    proof = _proof(session, record.position, wanted)
    wish = Wish(
        path=path,
        media_type=stored.event.media_type,
        title=f"{job.job_id}.mp4",
        has_manifest=came is not None,
        record=facts | ({"proof": proof.to_bytes().decode()} if proof else {}),
        parents=_parents(session, job),
        pictures=pictures,
        label=wanted.label.words if wanted.label else None,
        authority=authority,
    )
    signed = sign_copy(wish, certificate, target, session.clock())
    return ProvenanceSigned(
        variant=Variant.VIDEO,
        source_sha256=stored.event.sha256,
        sha256=signed.sha256,
        bytes=signed.bytes,
        intent=wish.intent,
        digital_source_type=AI_MADE,
        algorithm=certificate.algorithm,
        certificate_sha256=certificate.sha256,
        signer=Private.seal("signer", certificate.signer),
        record_position=record.position,
        record_leaf=leaf,
        checkpoint_size=proof.head.checkpoint.size if proof else None,
        parents=tuple(parent.job_id for parent in wish.parents),
        labelled=wanted.label is not None,
        label=wanted.label.as_recorded() if wanted.label else None,
        stamped_at=signed.stamped_at,
    )


def _proof(session: Session, position: int, wanted: Publication) -> InclusionProof | None:
    key = wanted.key or session.settings.key_file
    if wanted.checkpoint is not None:
        head = read_pinned_head(session.ledger, wanted.checkpoint)
    elif key is not None:
        head = tree_head(session.ledger, key)
    else:
        return None
    if position > head.checkpoint.size:
        raise BadInput(
            f"checkpoint {wanted.checkpoint}: it has {head.checkpoint.size} records, and record {position} "
            "stored the video; publish a newer checkpoint first",
            param="checkpoint",
            expected=f"a checkpoint of at least {position} records",
            found=f"{head.checkpoint.size} records",
        )
    return InclusionProof.make(session.ledger.store, position - 1, head, None, session.ledger.store.head())


def _parents(session: Session, job: Job) -> tuple[Parent, ...]:
    """Return the file that a remix was made from, if it is still stored here."""
    if job.source_job is None or job.operation not in MADE_FROM:
        return ()
    source = session.ledger.job(job.source_job)
    asset = source.assets.get(Variant.VIDEO)
    path = session.assets.path(asset.storage_uri) if asset else None
    if asset is None or path is None or session.assets.doubt(asset.storage_uri, asset.sha256):
        return ()
    return (Parent(source.job_id, path, asset.media_type),) if path.is_file() else ()


# --- 3 to 5. the records and the target ---


def _record(session: Session, job: Job, event: ProvenanceSigned | AssetPublished) -> None:
    session.ledger.append([Batch(job.job_id, ANY, [session.draft(event)])])


def _put(copy: NewFile, place: Path | None, wanted: Publication) -> str:
    """Give the copy its name, and return the URI of the target."""
    if place is None:
        return _upload(copy, wanted)
    try:
        if wanted.force:
            copy.replace()
        else:
            copy.link()
    except FileExistsError:
        raise BadInput(
            f"--to {place}: another process has just made it; name another target or add --force",
            param="to",
            expected="a new name",
            found="what another process has just made",
        ) from None
    except OSError as error:
        raise make_unwritable(place, error) from error
    return place.absolute().as_uri()


def _upload(copy: NewFile, wanted: Publication) -> str:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError

    store, key = store_and_key(wanted.target)
    small = copy.path.stat().st_size <= ONE_PUT_BYTES
    mode: Literal["create", "overwrite"] = "overwrite" if wanted.force or not small else "create"
    try:
        obstore.put(store, key, copy.path, mode=mode, use_multipart=not small)
    except AlreadyExistsError:
        raise BadInput(
            f"--to {wanted.target}: it exists already; name another target or add --force",
            param="to",
            expected="a new name",
            found="a file of this name",
        ) from None
    except (BaseError, FileNotFoundError) as error:
        raise StorageFailed(
            f"--to {wanted.target}: cannot be written ({str(error).splitlines()[0]}); check name and "
            "credentials",
            param="to",
            expected="a place that can be written",
            found=str(error).splitlines()[0],
        ) from error
    return wanted.target


ONE_PUT_BYTES = 64 << 20
"""Larger files are uploaded in parts, and a bucket may then replace another process's new object."""


def _record_published(session: Session, done: PublishedFile) -> None:
    event = AssetPublished(
        variant=Variant.VIDEO,
        sha256=done.sha256,
        bytes=done.bytes,
        target=Private.seal("target", done.target),
        marking=done.marking,
        policy_sha256=session.policy.digest,
        label=reseal(done.label),
    )
    _record(session, done.job, event)


def _was_published(session: Session, job: Job, history: JobHistory, place: Path) -> PublishedFile | None:
    """Record the publication of a signed copy that a crash left unrecorded at `place`."""
    open_copies = {entry.event.sha256: entry.event for entry in history.all_of(ProvenanceSigned)}
    for entry in history.all_of(AssetPublished):
        open_copies.pop(entry.event.sha256, None)
    if not open_copies or not place.is_file():
        return None
    with place.open("rb") as file:
        event = open_copies.get(hashlib.file_digest(file, "sha256").hexdigest())
    if event is None:
        return None
    done = replace(_describe(job, place.absolute().as_uri(), event), was_there=True)
    _record_published(session, done)
    return done
