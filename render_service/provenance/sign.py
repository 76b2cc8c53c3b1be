"""Sign a copy of a stored file with a C2PA manifest that leads back to its record.

The manifest says that the content was made by AI, which files it was made from, and where its record is: the
assertion `LABEL` has the ledger's origin, the job, the position and leaf of the record that stored the file,
and, if there is a checkpoint, the proof that the record is in its tree. The proof has no copy of the record,
which would name people.

A file without a parent is *created*. C2PA allows no parent for what is created, so a remix is an *edit* of
the file it was made from. A file that came with a manifest is an edit of itself: that manifest stays in the
copy as the parent's.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ledger.record import timestamp
from render_service.evidence.witnesses import CLOCK_SKEW_S
from render_service.provenance.certificates import Certificate
from render_service.provenance.manifest import Json, TrustList, context, read_manifest
from render_service.runtime.errors import BadInput, NotStamped, StorageFailed

LABEL = "org.sora-ledger.record"
FORMAT = "sora-ledger/provenance/v1"
AI_MADE = "trainedAlgorithmicMedia"
VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
LONGEST_CHECK_S = 3_600.0
"""Reading back what was signed may take an hour: the file is ours, and the machine may be busy."""


@dataclass(frozen=True)
class Parent:
    """A file that the signed one was made from."""

    job_id: str
    path: Path
    media_type: str


@dataclass(frozen=True)
class TimeAuthority:
    """A time-stamping authority (RFC 3161), and the certificates by which it is believed."""

    url: str
    chain: TrustList


@dataclass(frozen=True)
class Wish:
    """What is to be signed: the stored file at `path`, and what its manifest will say.

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
        """How the manifest presents the copy."""
        return "edit" if self.has_manifest or self.parents else "create"


@dataclass(frozen=True)
class Signed:
    """A signed copy; `stamped_at` is when an authority saw the signature."""

    sha256: str
    bytes: int
    stamped_at: str | None


def sign_copy(wish: Wish, certificate: Certificate, target: Path, now: datetime) -> Signed:
    """Write the signed copy to the existing empty file `target`, durably, and read its manifest back.

    `BadInput` if the library refuses: a manifest in the file that cannot be read, say. `NotStamped` if the
    authority of the wish did not date the signature, or dated it otherwise than our clock, `now`.
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
    return Signed(digest, target.stat().st_size, stamped_at)


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
    """Raise unless a reader finds in the copy what was to be signed; return the time of the authority."""
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
