"""A signature that a time-stamping authority dated, checked by reading the copy with a stranger's reader."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ledger.events import ProvenanceSigned
from ledger.job import Job
from render_service.provenance.manifest import TrustList
from render_service.provenance.publish import Publication, publish
from render_service.provenance.sign import follow
from render_service.runtime.errors import BadInput, NotStamped
from render_service.session.session import Session
from tests import c2pa_peer as peer
from tests.outside.authority import Authority
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with Authority(tmp_path_factory.mktemp("tsa") / "clock") as authority:
        yield authority


@pytest.fixture
def authority(running: Authority) -> Authority:
    running.lie = ""
    return running


async def out(session: Session, job: Job, certificate: Path, url: str, chain: Path | None) -> Path:
    target = certificate.parent / "film.mp4"
    wanted = Publication(str(target), certificate, timestamp=url, tsa_chain=chain)
    await publish(session, job.job_id, wanted)
    return target


async def test_a_strangers_reader_finds_the_time_of_the_authority_and_the_record_has_it(
    session: Session,
    film: Job,
    certificate: Path,
    authority: Authority,
    event: LastEvent,
    intact: Callable[[], bool],
) -> None:
    copy = await out(session, film, certificate, authority.url, authority.root)
    state, active, store = peer.read(copy.read_bytes(), authority.root.read_bytes())
    codes = [one["code"] for one in store["validation_results"]["activeManifest"]["success"]]
    assert (state, "timeStamp.trusted" in codes) == ("Valid", True)
    stamped_at = event(film, ProvenanceSigned).stamped_at
    assert stamped_at[:19] == active["signature_info"]["time"][:19]
    assert intact()


async def test_a_reader_without_the_certificates_of_the_authority_says_so(
    session: Session, film: Job, certificate: Path, authority: Authority
) -> None:
    copy = await out(session, film, certificate, authority.url, authority.root)
    found = follow(copy, None, [], None)
    trusting = follow(copy, TrustList.read(authority.root), [], None)
    assert found.manifest
    assert trusting.manifest
    assert (found.manifest.stamp, trusting.manifest.stamp) == ("unknown_authority", "trusted")


@pytest.mark.parametrize("lie", ["status", "garbage", "digest", "nonce", "endless", "refuse"])
async def test_an_authority_that_does_not_date_the_signature_stops_the_publication(
    session: Session,
    film: Job,
    certificate: Path,
    authority: Authority,
    types: Callable[[Job], list[str]],
    lie: str,
) -> None:
    authority.lie = lie
    with pytest.raises(NotStamped, match="nothing was published"):
        await out(session, film, certificate, authority.url, authority.root)
    assert not [*certificate.parent.glob("*film*")]
    assert "provenance.signed" not in types(film)


async def test_an_authority_whose_certificates_were_not_named_is_not_believed(
    session: Session, film: Job, certificate: Path, authority: Authority, types: Callable[[Job], list[str]]
) -> None:
    other = certificate.with_name("studio.pem.authority.pem")
    with pytest.raises(NotStamped, match="--tsa-chain"):
        await out(session, film, certificate, authority.url, other)
    assert "provenance.signed" not in types(film)


@pytest.mark.parametrize(
    ("url", "chain", "words"),
    [
        ("http://127.0.0.1:9/tsr", None, "SORA_LEDGER_TSA_CHAIN"),
        ("tsa.example", "studio.pem", "expected a URL"),
        ("http://127.0.0.1:9/tsr", "nowhere.pem", "cannot be read"),
        ("http://127.0.0.1:9/tsr", "ledger.db", "expected certificates"),
    ],
)
async def test_a_wish_for_a_timestamp_that_cannot_be_checked_is_refused(
    session: Session, film: Job, certificate: Path, url: str, chain: str | None, words: str
) -> None:
    path = certificate.parent / chain if chain else None
    with pytest.raises(BadInput, match=words):
        await out(session, film, certificate, url, path)
    assert not [*certificate.parent.glob("*film*")]
