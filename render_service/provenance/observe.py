"""Observe a stored file's own claims about its origin, and record them once per file.

While a render is settled, the file is read before it is stored and `provenance.observed` is appended together
with `asset.stored`, so neither exists without the other. Files that were stored without the extra, or by an
earlier version, are read by `observe_stored`, which a person starts.

Without the extra nothing is recorded.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ledger.errors import WrongExpectedVersion
from ledger.events import AssetStored, ObservedIngredient, ProvenanceObserved
from ledger.private import Private
from ledger.store.filters import RecordFilter
from ledger.store.interface import Batch
from ledger.terms import Variant
from render_service.provenance.embedded import EmbeddedProvenance, find_embedded
from render_service.provenance.manifest import (
    Manifest,
    TrustList,
    check_installed,
    is_installed,
    read_manifest,
    reader_version,
)
from render_service.runtime.errors import BadInput
from render_service.session.history import JobHistory
from render_service.session.session import Session


class File(NamedTuple):
    """A file of a job, by its digest."""

    variant: Variant
    sha256: str
    media_type: str


class Backlog(NamedTuple):
    """The result of reading older files: the new observations, and jobs whose file is missing."""

    observed: list[tuple[str, ProvenanceObserved]]
    missing: list[str]


def trust_list(session: Session) -> TrustList | None:
    """Return the trust list of the settings, or None; an unusable one is logged and ignored."""
    path = session.settings.trust_list_file
    if path is None:
        return None
    try:
        return TrustList.read(path)
    except BadInput as error:
        session.log.warning("provenance.no_trust_list", reason=str(error))
        return None


def find(session: Session, path: Path, file: File) -> EmbeddedProvenance | None:
    """Return what the file at `path` embeds, which takes no time; None if nobody can read manifests here."""
    if not is_installed():
        return None
    embedded = find_embedded(path)
    if embedded is None:
        session.log.warning("provenance.too_many_boxes", sha256=file.sha256)
    return embedded


def observe(
    session: Session, path: Path, file: File, embedded: EmbeddedProvenance | None
) -> ProvenanceObserved | None:
    """Return what the file at `path` says, of which `find` returned `embedded`.

    A file never fails its settlement: what cannot be read is recorded as an invalid manifest.
    """
    if embedded is None:
        return None
    trust, manifest = None, None
    if embedded.has_manifest:
        trust = trust_list(session)
        manifest = read_manifest(path, file.media_type, trust, embedded.manifest_bytes)
    if manifest is None:
        return ProvenanceObserved(
            variant=file.variant,
            sha256=file.sha256,
            manifest="remote" if embedded.names_remote else "absent",
            xmp_digital_source_type=embedded.xmp_source_type,
        )
    return _event(file, manifest, trust, embedded.xmp_source_type)


def _event(
    file: File, manifest: Manifest, trust: TrustList | None, xmp_source_type: str | None
) -> ProvenanceObserved:
    return ProvenanceObserved(
        variant=file.variant,
        sha256=file.sha256,
        manifest="embedded",
        validity=manifest.validity,
        signer=_seal("signer", manifest.signer),
        issuer=_seal("issuer", manifest.issuer),
        algorithm=manifest.algorithm,
        signed_at=manifest.signed_at,
        generator=_seal("generator", manifest.generator),
        digital_source_type=manifest.digital_source_type,
        xmp_digital_source_type=xmp_source_type,
        ingredients=tuple(
            ObservedIngredient(
                relationship=ingredient.relationship,
                title=_seal(f"ingredients.{number}.title", ingredient.title),
                has_manifest=ingredient.has_manifest,
            )
            for number, ingredient in enumerate(manifest.ingredients)
        ),
        failures=manifest.failures,
        trust_list_sha256=trust.sha256 if trust else None,
        reader=reader_version(),
    )


def _seal(field: str, text: str | None) -> Private | None:
    return Private.seal(field, text) if text else None


# --- files that were stored before ---


def observe_stored(session: Session) -> Backlog:
    """Read every unread stored file, and record its claims."""
    check_installed()
    done = Backlog([], [])
    for job_id in _with_files(session):
        for stored in find_unobserved(JobHistory(session.ledger.history(job_id))):
            try:
                event = _observe_here(session, stored)
            except FileNotFoundError:
                done.missing.append(job_id)
                continue
            if event is not None and _record_once(session, job_id, event):
                done.observed.append((job_id, event))
    return done


def _with_files(session: Session) -> Iterator[str]:
    digests = set()
    for record in session.ledger.read(RecordFilter(type=AssetStored.type)):
        if record.stream not in digests:
            digests.add(record.stream)
            yield record.stream


def find_unobserved(history: JobHistory) -> list[AssetStored]:
    """Return the stored files of a job that are present and unread."""
    known = {(entry.event.variant, entry.event.sha256) for entry in history.all_of(ProvenanceObserved)}
    stored: dict[Variant, AssetStored] = {
        entry.event.variant: entry.event for entry in history.all_of(AssetStored)
    }
    return [
        event
        for variant, event in stored.items()
        if variant not in history.lost_variants and (variant, event.sha256) not in known
    ]


def _observe_here(session: Session, stored: AssetStored) -> ProvenanceObserved | None:
    path = session.assets.path(stored.storage_uri)
    if not path.exists():
        raise FileNotFoundError(stored.storage_uri)
    file = File(stored.variant, stored.sha256, stored.media_type)
    return observe(session, path, file, find(session, path, file))


def _record_once(session: Session, job_id: str, event: ProvenanceObserved) -> bool:
    """Record `event` unless another process did so in the meantime."""
    while True:
        history = JobHistory(session.ledger.history(job_id))
        if (event.variant, event.sha256) not in {
            (file.variant, file.sha256) for file in find_unobserved(history)
        }:
            return False
        try:
            session.ledger.append([Batch(job_id, history.version, [session.draft(event)])])
        except WrongExpectedVersion:  # another process added to the job: reread it
            continue
        return True
