"""A published copy is signed, names its record, and is validated by a reader that shares nothing with us."""

import errno
import hashlib
import shutil
import stat
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import anyio
import pytest

from decision.request.request import RenderRequest
from ledger.canonical import leaf_hash
from ledger.events import AssetPublished, AssetStored, ProvenanceSigned
from ledger.job import Job
from ledger.private_files import NewFile
from ledger.terms import Variant
from render_service.evidence.keys import new_key, read_verifier
from render_service.provenance import manifest
from render_service.provenance import publish as publishing
from render_service.provenance.certificates import (
    import_certificate,
    make_test_certificate,
    read_certificate,
)
from render_service.provenance.publish import Publication, publish
from render_service.provenance.sign import LABEL, follow
from render_service.runtime.errors import BadInput, NotAsStored, NotMarked, NotReady, StorageFailed
from render_service.session.session import Session, utc_now
from render_service.submission.sources import source_of
from render_service.submission.submit import place
from tests import c2pa_peer as peer
from tests.render_service.conftest import decide_by

pytestmark = pytest.mark.anyio


@pytest.fixture
def certificate(tmp_path: Path, by: peer.Credentials) -> Path:
    return imported(tmp_path, by)


def imported(tmp_path: Path, by: peer.Credentials) -> Path:
    chain, key, target = (tmp_path / f"{by.algorithm}.{name}" for name in ("chain", "key", "pem"))
    chain.write_bytes(by.chain)
    key.write_bytes(by.key)
    import_certificate(target, chain, key, utc_now())
    return target


async def out(session: Session, job: Job, target: Path, certificate: Path | None, **more: Any) -> Any:
    return await publish(session, job.job_id, Publication(str(target), certificate, **more))


# --- what a stranger sees ---


@pytest.mark.parametrize("algorithm", ["es256", "ps256", "ed25519"])
async def test_a_strangers_reader_trusts_the_copy_under_the_authority_that_it_trusts(
    session: Session, film: Job, tmp_path: Path, algorithm: str
) -> None:
    signer = peer.credentials(algorithm)
    await out(session, film, tmp_path / "film.mp4", imported(tmp_path, signer))
    content = (tmp_path / "film.mp4").read_bytes()
    state, active, _ = peer.read(content, signer.authority)
    assert state == "Trusted"
    assert peer.read(content)[0] == "Valid"
    (action,) = next(one for one in active["assertions"] if one["label"] == "c2pa.actions.v2")["data"][
        "actions"
    ]
    assert (action["action"], action["digitalSourceType"]) == (
        "c2pa.created",
        f"{peer.SOURCE_TYPES}trainedAlgorithmicMedia",
    )


async def test_the_manifest_names_the_record_that_stored_the_file(
    session: Session, film: Job, tmp_path: Path, certificate: Path
) -> None:
    await out(session, film, tmp_path / "film.mp4", certificate)
    _, active, _ = peer.read((tmp_path / "film.mp4").read_bytes())
    data = next(one for one in active["assertions"] if one["label"] == LABEL)["data"]
    record = next(one for one in session.ledger.history(film.job_id) if one.type == AssetStored.type)
    assert data == {
        "format": "sora-ledger/provenance/v1",
        "origin": f"sora-ledger/{session.ledger.ledger_id}",
        "job": film.job_id,
        "position": record.position,
        "leaf": leaf_hash(record.record).hex(),
        "sha256": film.assets[Variant.VIDEO].sha256,
    }


async def test_no_name_of_a_person_and_no_word_of_the_prompt_is_in_the_copy(
    session: Session, film: Job, tmp_path: Path, certificate: Path
) -> None:
    key = tmp_path / "log.key"
    new_key(key, "log.example")
    await out(session, film, tmp_path / "film.mp4", certificate, key=key)
    content = (tmp_path / "film.mp4").read_bytes()
    assert not {word for word in (b'"ana"', b"fox", str(tmp_path).encode()) if word in content}


async def test_both_steps_are_recorded_and_the_ledger_stays_intact(
    session: Session,
    film: Job,
    tmp_path: Path,
    certificate: Path,
    types: Callable[[Job], list[str]],
    event: Any,
    intact: Callable[[], bool],
) -> None:
    done = await out(session, film, tmp_path / "film.mp4", certificate)
    digest = hashlib.sha256((tmp_path / "film.mp4").read_bytes()).hexdigest()
    signed, published = event(film, ProvenanceSigned), event(film, AssetPublished)
    assert types(film)[-2:] == ["provenance.signed", "asset.published"]
    assert done.sha256 == signed.sha256 == published.sha256 == digest
    assert (signed.intent, signed.source_sha256) == ("create", film.assets[Variant.VIDEO].sha256)
    assert (published.marking, published.target.text) == ("signed", (tmp_path / "film.mp4").as_uri())
    assert intact()


async def test_the_stored_file_stays_as_it_was(
    session: Session, film: Job, tmp_path: Path, certificate: Path
) -> None:
    asset = film.assets[Variant.VIDEO]
    await out(session, film, tmp_path / "film.mp4", certificate)
    assert hashlib.sha256(session.assets.path(asset.storage_uri).read_bytes()).hexdigest() == asset.sha256


async def test_a_manifest_that_came_with_the_file_stays_in_the_copy(
    session: Session,
    stored: Callable[..., Awaitable[Job]],
    tmp_path: Path,
    certificate: Path,
    clip: bytes,
    event: Any,
) -> None:
    served = tmp_path / "sandbox" / "media" / "cached-1280x720-4s.mp4"
    theirs = peer.credentials()
    served.write_bytes(peer.signed(clip, theirs))
    job = await stored(session)
    await out(session, job, tmp_path / "film.mp4", certificate)
    state, active, store = peer.read((tmp_path / "film.mp4").read_bytes())
    (parent,) = active["ingredients"]
    assert (state, len(store["manifests"]), parent["relationship"]) == ("Valid", 2, "parentOf")
    assert parent["active_manifest"] in store["manifests"]
    assert event(job, ProvenanceSigned).intent == "edit"


async def test_a_remix_has_the_file_it_was_made_from_as_its_parent(
    session: Session,
    film: Job,
    stored: Callable[..., Awaitable[Job]],
    tmp_path: Path,
    certificate: Path,
    event: Any,
) -> None:
    source, _ = await source_of(session, film.job_id)
    remix = await stored(session, operation="remix", source=source, prompt="make it dusk")
    await out(session, remix, tmp_path / "remix.mp4", certificate)
    _, active, _ = peer.read((tmp_path / "remix.mp4").read_bytes())
    (parent,) = active["ingredients"]
    assert (parent["relationship"], parent["title"]) == ("parentOf", f"{film.job_id}.mp4")
    assert event(remix, ProvenanceSigned).parents == (film.job_id,)


# --- back to the record ---


async def test_a_renamed_copy_leads_back_to_its_record_and_its_publication(
    session: Session, film: Job, tmp_path: Path, certificate: Path, by: peer.Credentials
) -> None:
    key = tmp_path / "log.key"
    new_key(key, "log.example")
    await out(session, film, tmp_path / "film.mp4", certificate, key=key)
    copy = tmp_path / "renamed by somebody.mp4"
    shutil.copyfile(tmp_path / "film.mp4", copy)
    trust = manifest.TrustList(by.authority.decode(), "0" * 64)
    found = follow(copy, trust, [read_verifier(str(key))], session.ledger)
    assert found.trouble == []
    assert found.manifest is not None
    assert (found.manifest.validity, found.record_found, found.is_exact_copy) == ("trusted", True, True)
    assert found.signed_by == ["log.example"]
    assert found.proved_in is not None
    assert [one["by"] for one in found.published] == ["ana"]


@pytest.mark.parametrize(
    ("byte", "code"),
    [(-200, "assertion.bmffHash.mismatch"), (None, "assertion.hashedURI.mismatch")],
    ids=["pictures", "our assertion"],
)
async def test_a_changed_copy_says_what_changed(
    session: Session, film: Job, tmp_path: Path, certificate: Path, byte: int | None, code: str
) -> None:
    await out(session, film, tmp_path / "film.mp4", certificate)
    content = bytearray((tmp_path / "film.mp4").read_bytes())
    content[content.index(film.job_id.encode()) + 8 if byte is None else byte] ^= 1
    (tmp_path / "changed.mp4").write_bytes(content)
    found = follow(tmp_path / "changed.mp4", None, [], session.ledger)
    assert any(code in line for line in found.trouble)


async def test_a_copy_with_a_record_that_the_ledger_does_not_have_is_found(
    session: Session, film: Job, tmp_path: Path, certificate: Path, by: peer.Credentials, clip: bytes
) -> None:
    await out(session, film, tmp_path / "film.mp4", certificate)
    _, active, _ = peer.read((tmp_path / "film.mp4").read_bytes())
    data = next(one for one in active["assertions"] if one["label"] == LABEL)["data"]
    for change, words in (
        ({"position": 999}, "no position 999"),
        ({"position": 1}, "not the record"),
        ({"job": "job_other"}, "does not record"),
        ({"position": "five"}, "not of the form"),
    ):
        forged = peer.signed(clip, by, assertions=[{"label": LABEL, "kind": "Json", "data": data | change}])
        (tmp_path / "forged.mp4").write_bytes(forged)
        found = follow(tmp_path / "forged.mp4", None, [], session.ledger)
        assert any(words in line for line in found.trouble), change


async def test_a_file_without_a_manifest_is_trouble_and_one_of_other_software_is_not(
    session: Session, tmp_path: Path, clip: bytes, by: peer.Credentials
) -> None:
    (tmp_path / "plain.mp4").write_bytes(clip)
    (tmp_path / "theirs.mp4").write_bytes(peer.signed(clip, by))
    assert follow(tmp_path / "plain.mp4", None, [], None).trouble != []
    theirs = follow(tmp_path / "theirs.mp4", None, [], None)
    assert (theirs.trouble, theirs.claim) == ([], None)


# --- what is refused ---


async def test_an_existing_file_is_never_replaced_unasked(
    session: Session, film: Job, tmp_path: Path, certificate: Path, types: Callable[[Job], list[str]]
) -> None:
    (tmp_path / "film.mp4").write_bytes(b"precious")
    with pytest.raises(BadInput, match="exists already"):
        await out(session, film, tmp_path / "film.mp4", certificate)
    assert ((tmp_path / "film.mp4").read_bytes(), "provenance.signed" in types(film)) == (b"precious", False)
    await out(session, film, tmp_path / "film.mp4", certificate, force=True)
    assert peer.read((tmp_path / "film.mp4").read_bytes())[0] == "Valid"


async def test_an_expired_certificate_signs_nothing(
    session: Session, film: Job, tmp_path: Path, certificate: Path, types: Callable[[Job], list[str]]
) -> None:
    later = replace(session, clock=lambda: utc_now() + timedelta(days=90))
    with pytest.raises(BadInput, match=r"expired on .* key certificate"):
        await out(later, film, tmp_path / "film.mp4", certificate)
    assert ((tmp_path / "film.mp4").exists(), "provenance.signed" in types(film)) == (False, False)


async def test_a_job_without_a_video_is_refused(
    session: Session, request_for: Callable[..., RenderRequest], tmp_path: Path, certificate: Path
) -> None:
    placed = await place(session, request_for())
    with pytest.raises(NotReady, match="there is no video to publish"):
        await out(session, placed.job, tmp_path / "film.mp4", certificate)


async def test_a_file_that_is_gone_or_changed_is_not_published(
    session: Session, film: Job, tmp_path: Path, certificate: Path
) -> None:
    path = session.assets.path(film.assets[Variant.VIDEO].storage_uri)
    content = path.read_bytes()
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(NotAsStored):
        await out(session, film, tmp_path / "film.mp4", certificate)
    path.unlink()
    with pytest.raises(NotReady, match="its file is not in"):
        await out(session, film, tmp_path / "film.mp4", certificate)


async def test_without_a_certificate_the_ways_to_go_on_are_named(
    session: Session, film: Job, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"--certificate FILE .* --as-stored"):
        await out(session, film, tmp_path / "film.mp4", None)


async def test_a_file_whose_manifest_cannot_be_read_is_not_signed_over_it(
    session: Session,
    stored: Callable[..., Awaitable[Job]],
    tmp_path: Path,
    certificate: Path,
    clip: bytes,
    by: peer.Credentials,
) -> None:
    _, uuid, _ = peer.split(peer.signed(clip, by))
    huge = peer.box(b"uuid", uuid[8:] + bytes(manifest.MOST_MANIFEST_BYTES))
    (tmp_path / "sandbox" / "media" / "cached-1280x720-4s.mp4").write_bytes(clip + huge)
    job = await stored(session)
    with pytest.raises(BadInput, match=r"could not be read \(manifest.too_large\)"):
        await out(session, job, tmp_path / "film.mp4", certificate)
    assert not (tmp_path / "film.mp4").exists()


async def test_a_full_disk_leaves_nothing(
    session: Session, film: Job, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(NewFile, "link", full)
    with pytest.raises(StorageFailed, match="make room"):
        await out(session, film, folder / "film.mp4", certificate)
    assert list(folder.iterdir()) == []


# --- the policy ---


async def test_the_policy_keeps_unmarked_finals_from_being_published(
    session: Session,
    stored: Callable[..., Awaitable[Job]],
    tmp_path: Path,
    certificate: Path,
    types: Callable[[Job], list[str]],
) -> None:
    final = await stored(session, purpose="final", model="sora-2")
    draft = await stored(session, purpose="draft")
    policy = session.policy.model_copy(update={"require_marking": ("final",)})
    strict = decide_by(session, policy)
    with pytest.raises(NotMarked, match="purpose final"):
        await out(strict, final, tmp_path / "final.mp4", None, as_stored=True)
    assert "asset.published" not in types(final)
    assert (await out(strict, draft, tmp_path / "draft.mp4", None, as_stored=True)).marking == "none"
    assert (await out(strict, final, tmp_path / "final.mp4", certificate)).marking == "signed"


async def test_a_valid_manifest_of_the_server_is_marking_enough(
    session: Session, stored: Callable[..., Awaitable[Job]], tmp_path: Path, clip: bytes, by: peer.Credentials
) -> None:
    served = tmp_path / "sandbox" / "media" / "cached-1280x720-4s.mp4"
    served.write_bytes(peer.signed(clip, by))
    final = await stored(session, purpose="final", model="sora-2")
    strict = decide_by(session, session.policy.model_copy(update={"require_marking": ("final",)}))
    done = await out(strict, final, tmp_path / "final.mp4", None, as_stored=True)
    assert (done.marking, (tmp_path / "final.mp4").read_bytes()) == ("original", served.read_bytes())


# --- crashes, and two at once ---


async def test_a_crash_before_the_publication_is_recorded_is_repaired_by_the_same_command(
    session: Session,
    film: Job,
    tmp_path: Path,
    certificate: Path,
    types: Callable[[Job], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "_record_published", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            await anyio.to_thread.run_sync(
                publishing._publish,
                session,
                film,
                Publication(str(tmp_path / "film.mp4"), certificate),
                Event(),
            )
    content = (tmp_path / "film.mp4").read_bytes()
    done = await out(session, film, tmp_path / "film.mp4", certificate)
    assert (done.was_there, (tmp_path / "film.mp4").read_bytes()) == (True, content)
    assert types(film)[-2:] == ["provenance.signed", "asset.published"]
    with pytest.raises(BadInput, match="exists already"):
        await out(session, film, tmp_path / "film.mp4", certificate)


async def test_of_two_at_once_one_publishes_and_the_other_is_told(
    session: Session,
    film: Job,
    tmp_path: Path,
    certificate: Path,
    types: Callable[[Job], list[str]],
    intact: Callable[[], bool],
) -> None:
    ended: list[Any] = []

    def write() -> None:
        try:
            wanted = Publication(str(tmp_path / "film.mp4"), certificate)
            ended.append(publishing._publish(session, film, wanted, Event()))
        except BadInput as error:
            ended.append(error)

    threads = [Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, BadInput) for one in ended) == 2
    assert (types(film).count("asset.published"), intact()) == (1, True)
    assert peer.read((tmp_path / "film.mp4").read_bytes())[0] == "Valid"


# --- certificates ---


def test_a_certificate_file_is_private_complete_and_never_replaced(
    tmp_path: Path, certificate: Path, by: peer.Credentials
) -> None:
    read = read_certificate(certificate, utc_now())
    assert (read.signer, read.algorithm, stat.S_IMODE(certificate.stat().st_mode)) == (
        "Example Signer",
        "es256",
        0o600,
    )
    assert b"PRIVATE KEY" in certificate.read_bytes()
    assert "PRIVATE" not in repr(read)
    with pytest.raises(BadInput, match="never replaced"):
        imported(tmp_path, by)


def test_a_certificate_that_others_can_read_signs_nothing(certificate: Path) -> None:
    certificate.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        read_certificate(certificate, utc_now())


def _chain(by: peer.Credentials) -> list[bytes]:
    end = b"-----END CERTIFICATE-----\n"
    return [one + end for one in by.chain.split(end)[:2]]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda by, other: (other.chain, by.key), "the key is not the one"),
        (lambda by, other: (_chain(by)[0] + _chain(other)[1], by.key), "did not issue"),
        (lambda by, _: (by.authority, by.key), "the key is not the one"),
        (lambda by, _: (b"", by.key), "expected certificates in PEM"),
        (lambda by, _: (b"\0\xff" * 50, by.key), "expected certificates in PEM"),
        (lambda by, _: (by.chain, b"no key"), "expected a private key"),
        (lambda by, _: (by.chain, by.chain), "expected a private key"),
    ],
    ids=[
        "another's key",
        "a chain of two authorities",
        "the authority's own",
        "empty",
        "binary",
        "no key",
        "no key but certificates",
    ],
)
def test_a_chain_that_cannot_sign_is_refused_and_nothing_is_written(
    tmp_path: Path, by: peer.Credentials, made: Any, words: str
) -> None:
    chain, key = made(by, peer.credentials())
    (tmp_path / "chain").write_bytes(chain)
    (tmp_path / "key").write_bytes(key)
    with pytest.raises(BadInput, match=words):
        import_certificate(tmp_path / "new.pem", tmp_path / "chain", tmp_path / "key", utc_now())
    assert not (tmp_path / "new.pem").exists()


async def test_the_certificate_of_the_test_authority_signs_what_its_trust_list_trusts(
    session: Session, film: Job, tmp_path: Path
) -> None:
    made, authority = make_test_certificate(tmp_path / "test.pem", "Studio", utc_now())
    await out(session, film, tmp_path / "film.mp4", tmp_path / "test.pem")
    assert (made.signer, b"PRIVATE" in authority.read_bytes()) == ("Studio", False)
    assert peer.read((tmp_path / "film.mp4").read_bytes(), authority.read_bytes())[0] == "Trusted"
