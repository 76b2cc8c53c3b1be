"""`publish` killed at any moment leaves no half file at the target, and the same command completes it."""

import signal

import pytest

from tests import c2pa_peer as peer
from tests.acceptance.conftest import Place
from tests.forks import CODE

KILLED = """
import os, signal, sys
from cli.main import run
from render_service.provenance import publish

step = getattr(publish, sys.argv[1])

def killed(*arguments):
    if sys.argv[2] == "after":
        step(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(publish, sys.argv[1], killed)
run(sys.argv[3:])
"""


@pytest.mark.parametrize(
    ("step", "moment"),
    [("_put", "before"), ("_put", "after")],
    ids=["signature recorded", "at its target"],
)
def test_a_publication_killed_at_any_moment_is_whole_and_can_be_completed(
    place: Place, step: str, moment: str
) -> None:
    place.json("key", "certificate", "studio.pem", "--test-ca")
    made = place.json("create-and-poll", "--prompt", "a fox runs", "--poll-interval", "0.05")
    job_id = made["final"]["job_id"]
    publish = ["publish", job_id, "--to", "film.mp4", "--certificate", "studio.pem"]
    command = [KILLED, step, moment, *publish]
    code, *_ = place.forks.run(command, place.folder, place.environment, program=CODE)
    assert code == -signal.SIGKILL
    film = place.folder / "film.mp4"
    was_there = film.exists()
    assert was_there == (moment == "after")
    done = place.run(*publish)
    assert done.returncode == 0
    assert peer.read(film.read_bytes())[0] == "Valid"
    types = [record["type"] for record in place.json("show", job_id)["records"]]
    assert types.count("asset.published") == 1
    assert place.is_intact()
