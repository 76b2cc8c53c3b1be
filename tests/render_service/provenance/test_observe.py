"""What a stored file says about its origin is recorded with it, whatever strangers wrote into it."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ledger.events import ProvenanceObserved
from ledger.job import Job
from ledger.terms import Variant
from render_service.provenance import manifest, observe
from render_service.provenance.observe import observe_stored
from render_service.runtime.errors import BadInput
from render_service.session.session import Session
from render_service.settlement.settle import fetch
from tests import c2pa_peer as peer
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio

Settle = Callable[..., Any]


@pytest.fixture
def serve(tmp_path: Path) -> Callable[[bytes], int]:
    """Let the sandbox of this test serve these bytes as every video."""
    return (tmp_path / "sandbox" / "media" / "cached-1280x720-4s.mp4").write_bytes


@pytest.fixture
def provenance_of(event: LastEvent) -> Callable[[Job], ProvenanceObserved]:
    return partial(event, kind=ProvenanceObserved)


def trusting(session: Session, tmp_path: Path, pem: bytes) -> Session:
    path = tmp_path / "trusted.pem"
    path.write_bytes(pem)
    return replace(session, settings=replace(session.settings, trust_list_file=path))


async def test_a_file_without_a_manifest_is_recorded_as_such_together_with_the_file(
    session: Session,
    stored: Settle,
    types: Callable[[Job], list[str]],
    provenance_of: Callable[[Job], ProvenanceObserved],
) -> None:
    job = await stored(session)
    assert types(job)[-4:] == ["asset.stored", "provenance.observed", "cost.settled", "render.closed"]
    event = provenance_of(job)
    assert (event.manifest, event.validity, event.sha256) == (
        "absent",
        None,
        job.assets[Variant.VIDEO].sha256,
    )


async def test_a_manifest_is_valid_where_nobody_says_whom_to_trust(
    session: Session,
    stored: Settle,
    serve: Callable[[bytes], None],
    provenance_of: Callable[[Job], ProvenanceObserved],
    clip: bytes,
    by: peer.Credentials,
) -> None:
    serve(peer.signed(clip, by))
    event = provenance_of(await stored(session))
    assert (event.manifest, event.validity, event.failures) == ("embedded", "valid", ())
    assert (event.signer.text, event.issuer.text, event.algorithm) == (
        "Example Signer",
        "Example Video",
        "es256",
    )
    assert (event.digital_source_type, event.trust_list_sha256) == ("trainedAlgorithmicMedia", None)


async def test_a_signer_on_the_trust_list_is_trusted(
    session: Session,
    stored: Settle,
    serve: Callable[[bytes], None],
    provenance_of: Callable[[Job], ProvenanceObserved],
    clip: bytes,
    by: peer.Credentials,
    tmp_path: Path,
) -> None:
    serve(peer.signed(clip, by))
    event = provenance_of(await stored(trusting(session, tmp_path, by.authority)))
    assert (event.validity, event.trust_list_sha256 is not None) == ("trusted", True)


async def test_a_signer_who_is_not_on_the_trust_list_is_unknown(
    session: Session,
    stored: Settle,
    serve: Callable[[bytes], None],
    provenance_of: Callable[[Job], ProvenanceObserved],
    clip: bytes,
    by: peer.Credentials,
    tmp_path: Path,
) -> None:
    serve(peer.signed(clip, by))
    event = provenance_of(await stored(trusting(session, tmp_path, peer.credentials().authority)))
    assert (event.validity, event.failures) == ("unknown_signer", ())


async def test_a_trust_list_that_cannot_be_read_breaks_no_settlement(
    session: Session,
    stored: Settle,
    serve: Callable[[bytes], None],
    provenance_of: Callable[[Job], ProvenanceObserved],
    clip: bytes,
    by: peer.Credentials,
    tmp_path: Path,
) -> None:
    serve(peer.signed(clip, by))
    event = provenance_of(await stored(trusting(session, tmp_path, b"no certificate")))
    assert (event.validity, event.trust_list_sha256) == ("valid", None)


async def test_changed_pictures_make_a_manifest_invalid(
    session: Session,
    stored: Settle,
    serve: Callable[[bytes], None],
    provenance_of: Callable[[Job], ProvenanceObserved],
    clip: bytes,
    by: peer.Credentials,
) -> None:
    changed = bytearray(peer.signed(clip, by))
    changed[-200] ^= 1
    serve(bytes(changed))
    event = provenance_of(await stored(session))
    assert (event.validity, event.failures) == ("invalid", ("assertion.bmffHash.mismatch",))


async def test_ingredients_and_their_titles_are_recorded(
    session: Session,
    stored: Settle,
    serve: Callable[[bytes], None],
    provenance_of: Callable[[Job], ProvenanceObserved],
    clip: bytes,
    by: peer.Credentials,
) -> None:
    ingredient = {"title": "still.png", "format": "image/png", "relationship": "inputTo"}
    serve(peer.signed(clip, by, ingredients=[ingredient]))
    (one,) = provenance_of(await stored(session)).ingredients
    assert (one.relationship, one.title.text, one.has_manifest) == ("inputTo", "still.png", False)


@pytest.mark.parametrize(
    "body",
    [
        f'<rdf:Description Iptc4xmpExt:DigitalSourceType="{peer.SOURCE_TYPES}trainedAlgorithmicMedia"/>',
        f"<Iptc4xmpExt:DigitalSourceType> {peer.SOURCE_TYPES}trainedAlgorithmicMedia </x>",
        f'<Iptc4xmpExt:DigitalSourceType rdf:resource="{peer.SOURCE_TYPES}trainedAlgorithmicMedia"/>',
    ],
)
async def test_the_source_type_in_the_xmp_is_recorded(
    session: Session,
    stored: Settle,
    serve: Callable[[bytes], None],
    provenance_of: Callable[[Job], ProvenanceObserved],
    clip: bytes,
    body: str,
) -> None:
    serve(peer.with_xmp(clip, body))
    event = provenance_of(await stored(session))
    assert (event.manifest, event.xmp_digital_source_type) == ("absent", "trainedAlgorithmicMedia")


async def test_text_in_the_xmp_that_is_no_source_type_is_not_recorded(
    session: Session,
    stored: Settle,
    serve: Callable[[bytes], None],
    provenance_of: Callable[[Job], ProvenanceObserved],
    clip: bytes,
) -> None:
    serve(peer.with_xmp(clip, '<rdf:Description Iptc4xmpExt:DigitalSourceType="call 555-0199 now"/>'))
    assert provenance_of(await stored(session)).xmp_digital_source_type is None


async def test_a_manifest_that_is_somewhere_else_is_not_loaded(
    session: Session,
    stored: Settle,
    serve: Callable[[bytes], None],
    provenance_of: Callable[[Job], ProvenanceObserved],
    clip: bytes,
) -> None:
    serve(peer.with_xmp(clip, '<rdf:Description dcterms:provenance="http://127.0.0.1:9/manifest.c2pa"/>'))
    assert provenance_of(await stored(session)).manifest == "remote"


async def test_the_stored_bytes_are_those_of_the_server(
    session: Session, stored: Settle, serve: Callable[[bytes], None], clip: bytes, by: peer.Credentials
) -> None:
    served = peer.signed(clip, by)
    serve(served)
    job = await stored(session)
    assert session.assets.read(job.assets[Variant.VIDEO].storage_uri) == served


async def test_without_the_extra_nothing_is_claimed(
    session: Session, stored: Settle, types: Callable[[Job], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "is_installed", lambda: False)
    assert "provenance.observed" not in types(await stored(session))


# --- hostile files ---


def nested(depth: int) -> bytes:
    """Return boxes of a manifest, one in the other."""
    description = peer.box(b"jumd", b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71\x03c2pa\0")
    sizes = [(8 + len(description)) * level for level in range(depth, 0, -1)]
    return b"".join(size.to_bytes(4) + b"jumb" + description for size in sizes)


BEFORE_THE_STORE = 16 + 4 + 9 + 8  # the uuid, version and flags, “manifest” and its zero, an offset


def hostile(clip: bytes, by: peer.Credentials) -> dict[str, bytes]:
    """Return what strangers might write: a clip that decodes, and a manifest behind it."""
    _, uuid, _ = peer.split(peer.signed(clip, by))
    prefix, store = uuid[8 : 8 + BEFORE_THE_STORE], uuid[8 + BEFORE_THE_STORE :]

    def holding(content: bytes) -> bytes:
        return clip + peer.box(b"uuid", prefix + content)

    return {
        "cut off": holding(store[: len(store) // 2]),
        "empty": holding(b""),
        "zeros": holding(bytes(5_000)),
        "a length beyond the file": holding(b"\xff\xff\xff\xff" + store[4:]),
        "a length of 64 bits": holding(b"\0\0\0\1" + store[4:8] + b"\x7f" + b"\xff" * 7 + store[8:]),
        "nested a thousand times": holding(nested(1_000)),
        "nested a hundred thousand times": holding(nested(100_000)),
        "two manifests": clip + uuid * 2,
        "larger than the limit": holding(store + bytes(manifest.MOST_MANIFEST_BYTES)),
        "an XMP that never ends": peer.with_xmp(clip, "<Iptc4xmpExt:DigitalSourceType" + " " * 100_000),
    }


async def test_hostile_manifests_never_break_a_settlement(
    session: Session,
    stored: Settle,
    serve: Callable[[bytes], None],
    provenance_of: Callable[[Job], ProvenanceObserved],
    clip: bytes,
    by: peer.Credentials,
) -> None:
    found = {}
    for name, content in hostile(clip, by).items():
        serve(content)
        job = await stored(session, prompt=f"a fox, {name}")
        found[name] = (job.state.value, provenance_of(job).validity)
    assert {state for state, _ in found.values()} == {"stored"}
    assert {name: validity for name, (_, validity) in found.items()} == {
        "cut off": "invalid",
        "empty": None,
        "zeros": "invalid",
        "a length beyond the file": "invalid",
        "a length of 64 bits": "invalid",
        "nested a thousand times": "invalid",
        "nested a hundred thousand times": "invalid",
        "two manifests": "invalid",
        "larger than the limit": "invalid",
        "an XMP that never ends": None,
    }


def test_no_flipped_bit_and_no_splice_of_a_manifest_raises(
    tmp_path: Path, clip: bytes, by: peer.Credentials
) -> None:
    head, uuid, tail = peer.split(peer.signed(clip, by))
    chance = random.Random(18)
    path = tmp_path / "clip.mp4"
    validities = set()
    for _ in range(60):
        changed = bytearray(uuid)
        at = chance.randrange(8, len(changed))
        if chance.random() < 0.5:
            changed[at] ^= 1 << chance.randrange(8)
        else:
            changed[at : at + 40] = chance.randbytes(len(changed[at : at + 40]))
        path.write_bytes(head + bytes(changed) + tail)
        read = manifest.read_manifest(path, "video/mp4", None)
        validities.add(read.validity if read else None)
    assert validities <= {"valid", "invalid", None}


def test_a_file_of_a_hundred_thousand_boxes_is_given_up(
    tmp_path: Path, clip: bytes, by: peer.Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(peer.signed(clip, by) + peer.box(b"free", b"") * 20_000)
    monkeypatch.setattr(manifest, "LONGEST_READ_S", 0.3)
    began = time.monotonic()
    read = manifest.read_manifest(path, "video/mp4", None)
    assert read is not None
    assert (read.validity, read.failures) == ("invalid", (manifest.TOO_SLOW,))
    assert time.monotonic() - began < 30  # it takes minutes without a deadline


# --- files stored before, two at once ---


@pytest.fixture
async def before(
    session: Session, stored: Settle, serve: Callable[[bytes], None], clip: bytes, by: peer.Credentials
) -> tuple[Session, Job]:
    """Return a session, and a job stored where nobody could read manifests."""
    serve(peer.signed(clip, by))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observe, "is_installed", lambda: False)
        return session, await stored(session)


async def test_a_file_that_was_stored_before_is_read_once(
    before: tuple[Session, Job], types: Callable[[Job], list[str]], intact: Callable[[], bool]
) -> None:
    session, job = before
    assert [job_id for job_id, _ in observe_stored(session).observed] == [job.job_id]
    assert observe_stored(session).observed == []
    assert types(job).count("provenance.observed") == 1
    assert intact()


async def test_two_processes_at_once_record_one_observation(
    before: tuple[Session, Job], types: Callable[[Job], list[str]], at: Callable[[str], Session]
) -> None:
    _, job = before
    done = []

    def read(session: Session) -> None:
        done.append(observe_stored(session))

    threads = [Thread(target=read, args=[at("http://127.0.0.1:9")]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(each.observed) for each in done) == types(job).count("provenance.observed") == 1


async def test_a_file_that_is_gone_is_named_and_nothing_is_recorded(
    before: tuple[Session, Job], types: Callable[[Job], list[str]]
) -> None:
    session, job = before
    session.assets.path(job.assets[Variant.VIDEO].storage_uri).unlink()
    assert observe_stored(session) == ([], [job.job_id])
    assert "provenance.observed" not in types(job)


async def test_reading_older_files_without_the_extra_names_it(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "is_installed", lambda: False)
    with pytest.raises(BadInput, match=r"pip install 'sora-ledger\[c2pa\]'"):
        observe_stored(session)


@pytest.mark.parametrize("variant", [Variant.THUMBNAIL, Variant.SPRITESHEET])
async def test_pictures_are_read_too(
    session: Session, stored: Settle, provenance_of: Callable[[Job], ProvenanceObserved], variant: Variant
) -> None:
    job = await fetch(session, await stored(session), variant)
    event = provenance_of(job)
    assert (event.variant, event.manifest, event.sha256) == (variant, "absent", job.assets[variant].sha256)
