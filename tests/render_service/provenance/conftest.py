"""Signers of manifests, and a stored video to publish."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ledger.job import Job
from render_service.provenance.certificates import make_test_certificate
from render_service.session.session import Session, utc_now
from tests import c2pa_peer as peer


@pytest.fixture(scope="module")
def by() -> peer.Credentials:
    """Return the chain and key of another signer."""
    return peer.credentials()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return the file of a test certificate that signs."""
    make_test_certificate(tmp_path / "studio.pem", "Studio", utc_now())
    return tmp_path / "studio.pem"


@pytest.fixture
async def film(session: Session, stored: Callable[..., Awaitable[Job]]) -> Job:
    """Return the job of a stored video."""
    job: Job = await stored(session)
    return job
