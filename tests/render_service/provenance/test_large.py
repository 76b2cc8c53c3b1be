"""A video of 3 GB: reading its manifest and signing a copy take no more memory than a smaller one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import c2pa_peer as peer

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1_800)]

ROOT = Path(__file__).parents[3]
GIGABYTES = 3
MOST_MB = 700
"""The C2PA library hashes in pieces of 256 MB and holds two of them."""
WITHOUT_MANIFEST_MB = 150
MEASURE = """
import json, resource, sys
from pathlib import Path
from render_service.provenance.certificates import read_certificate
from render_service.provenance.embedded import find_embedded
from render_service.provenance.manifest import read_manifest
from render_service.provenance.sign import Wish, sign_copy
from render_service.session.session import utc_now

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

large, copy, certificate = map(Path, sys.argv[1:])
embedded = find_embedded(large)
looked = peak_mb()
record = {"origin": "o", "job": "j", "position": 1, "leaf": "00" * 32, "sha256": "00" * 32}
wish = Wish(large, "video/mp4", "large.mp4", has_manifest=False, record=record)
copy.touch()
signed = sign_copy(wish, read_certificate(certificate, utc_now()), copy)
manifest = read_manifest(copy, "video/mp4", None)
print(json.dumps([embedded.manifest_bytes, looked, signed.bytes, manifest.validity, peak_mb()]))
"""


@pytest.fixture
def large(tmp_path: Path, clip: bytes) -> Path:
    """Return a clip with a sparse box of 3 GB behind it."""
    path = tmp_path / "large.mp4"
    size = GIGABYTES << 30
    with path.open("wb") as file:
        file.write(clip + (1).to_bytes(4) + b"mdat" + size.to_bytes(8))
        file.truncate(len(clip) + size)
    return path


def test_a_video_of_3_gb_is_looked_at_signed_and_read_in_flat_memory(large: Path, tmp_path: Path) -> None:
    by = peer.credentials()
    certificate = tmp_path / "studio.pem"
    certificate.touch(mode=0o600)
    certificate.write_bytes(by.key + by.chain)
    command = [sys.executable, "-c", MEASURE, str(large), str(tmp_path / "copy.mp4"), str(certificate)]
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    manifest_bytes, looked_mb, size, validity, peak_mb = json.loads(ran.stdout)
    assert (manifest_bytes, validity, size > GIGABYTES << 30) == (0, "valid", True)
    assert looked_mb < WITHOUT_MANIFEST_MB
    assert peak_mb < MOST_MB
