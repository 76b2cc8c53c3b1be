"""Links to one video or bundle: recorded, valid for a time, revoked, and not to be made by anyone else."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from decision.request.request import RenderRequest
from ledger.job import Job
from render_service.access.grants import create_share, read_share, revoke_share, shares_of
from render_service.access.signing import Signer
from render_service.runtime.errors import BadInput, NotReady
from render_service.session.session import Session
from render_service.settlement.settle import settle
from render_service.submission.submit import place

pytestmark = pytest.mark.anyio
SIGNER = Signer(b"0" * 32, "ledger")


@pytest.fixture
async def stored(session: Session, request_for: Callable[..., RenderRequest]) -> Job:
    return await settle(session, (await place(session, request_for())).job, interval_s=0.05, timeout_s=60)


async def test_a_link_shows_its_job_until_it_ends(session: Session, stored: Job) -> None:
    share, text = await create_share(session, SIGNER, stored, "video", days=7)
    now = session.clock()
    found = read_share(session.ledger, SIGNER, text, now)
    assert found is not None
    assert (found[0].event.share_id, found[1].job_id) == (share.event.share_id, stored.job_id)
    assert found[0].created.actor == "ana"
    assert read_share(session.ledger, SIGNER, text, now + timedelta(days=8)) is None
    assert session.ledger.job(stored.job_id).state is stored.state


async def test_a_revoked_link_shows_nothing(session: Session, stored: Job) -> None:
    share, text = await create_share(session, SIGNER, stored, "bundle", days=1)
    await revoke_share(session, stored, share.event.share_id)
    assert read_share(session.ledger, SIGNER, text, session.clock()) is None
    assert [each.is_valid(session.clock()) for each in shares_of(session.ledger, stored.job_id)] == [False]
    with pytest.raises(BadInput, match="has no valid link"):
        await revoke_share(session, stored, share.event.share_id)


async def test_a_text_of_another_installation_or_for_another_purpose_shows_nothing(
    session: Session, stored: Job
) -> None:
    share, text = await create_share(session, SIGNER, stored, "video", days=1)
    now = session.clock()
    content = {"job": stored.job_id, "share": share.event.share_id}
    for other in (
        Signer(b"1" * 32, "ledger").sign("share", content, now + timedelta(days=1)),
        Signer(b"0" * 32, "another").sign("share", content, now + timedelta(days=1)),
        SIGNER.sign("session", content, now + timedelta(days=1)),
        SIGNER.sign("share", content | {"share": "shr_unknown"}, now + timedelta(days=1)),
        SIGNER.sign("share", content | {"job": "job_unknown"}, now + timedelta(days=1)),
        text[:-1],
        "",
    ):
        assert read_share(session.ledger, SIGNER, other, now) is None


@pytest.mark.parametrize("days", [0, 91])
async def test_the_time_of_a_link_has_limits(session: Session, stored: Job, days: int) -> None:
    with pytest.raises(BadInput, match="1 to 90 days"):
        await create_share(session, SIGNER, stored, "video", days)
    assert shares_of(session.ledger, stored.job_id) == []


async def test_what_is_not_stored_cannot_be_shared(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    job = (await place(session, request_for(), queue=True)).job
    with pytest.raises(NotReady, match="no stored video"):
        await create_share(session, SIGNER, job, "video", days=1)
