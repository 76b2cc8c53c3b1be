"""A video that may be what an open submission created is recovered or left alone, never adopted."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.outside.conftest import Outside, Person

Start = Callable[..., Outside]
FOX = ("--prompt", "a fox runs in the snow", "--no-augment")
SHORT = ("--poll-interval", "0.05")


def lost(server: Any, ana: Person) -> tuple[str, str]:
    """Lose the answer to a create; return the job and the video."""
    job = ana("create", *FOX).document["job_id"]
    [bill] = server.bills()
    return job, bill["id"]


@pytest.mark.parametrize(
    "command",
    [
        ("poll", "{}", *SHORT),
        ("status", "{}"),
        ("download", "{}", "--out", "clip.mp4"),
        ("adopt", "--id", "{}"),
        ("remix", "{}", "--prompt", "make the snow deeper"),
    ],
    ids=lambda command: command[0],
)
def test_a_command_that_names_the_video_of_a_lost_answer_recovers_its_job(
    outside: Start, ana: Person, command: tuple[str, ...]
) -> None:
    server = outside(creates=["lost-answer"])
    ana = ana.at(server)
    job, video = lost(server, ana)
    ana(*(part.format(video) for part in command))
    shown = ana("status", job, "--offline").document
    assert (shown["id"], shown["reserved_usd_micros"] or shown["settled_usd_micros"]) == (video, 400_000)
    assert {one["job_id"] for one in ana("jobs").document["jobs"] if one["id"] == video} == {job}


def test_deleting_the_video_of_a_lost_answer_deletes_it_for_its_job(outside: Start, ana: Person) -> None:
    server = outside(creates=["lost-answer"])
    ana = ana.at(server)
    job, video = lost(server, ana)
    ana("delete", "--id", video)
    [only] = ana("jobs").document["jobs"]
    assert (only["job_id"], only["state"]) == (job, "deleted")


def test_a_worker_that_was_killed_in_the_paid_call_is_billed_once_although_the_video_was_polled(
    outside: Start, ana: Person
) -> None:
    server = outside(creates=["slow@60"])
    ana = ana.at(server)
    job = ana("create", *FOX, "--queue").document["job_id"]
    with ana.start("worker", "--lease", "1", "--interval", "0.1") as worker:
        while not server.bills():
            assert worker.poll() is None
        worker.send_signal(signal.SIGKILL)
    [bill] = server.bills()
    polled = ana("poll", bill["id"], *SHORT)
    assert (polled.code, f"sora-ledger reconcile {job}" in polled.err) == (6, True)
    ana("worker", "--drain", "--interval", "0.1", "--grace", "0")
    stored = ana("poll", bill["id"], *SHORT).document
    assert (stored["job_id"], stored["state"], stored["settled_usd_micros"]) == (job, "stored", 400_000)
    assert (len(server.bills()), ana("audit").code, ana("verify").code) == (1, 0, 0)


def test_an_archive_leaves_alone_what_an_open_submission_may_have_created(
    outside: Start, ana: Person
) -> None:
    server = outside(creates=["lost-answer"], prompt="upper")
    ana = ana.at(server)
    job, video = lost(server, ana)
    other = server.create("a heron", size="720x1280", seconds="12")["id"]
    done = ana("adopt", "--all").document
    assert done["left"] == [{"video_id": video, "job_id": job}]
    assert other in {one["id"] for one in ana("jobs").document["jobs"]}


def test_a_server_without_a_list_leaves_the_choice_to_a_person_who_names_the_video(
    outside: Start, ana: Person
) -> None:
    server = outside(creates=["lost-answer"], list=False)
    ana = ana.at(server)
    job, video = lost(server, ana)
    polled = ana("poll", video, *SHORT)
    assert (polled.code, f"sora-ledger reconcile {job} --video-id {video}" in polled.err) == (6, True)
    assert ana("reconcile", job, "--video-id", video).code == 0
    assert ana("poll", video, *SHORT).document["job_id"] == job


def test_a_video_that_fits_a_job_taken_for_absent_is_not_adopted_beside_it(
    outside: Start, ana: Person
) -> None:
    server = outside(creates=["lost-answer"])
    ana = ana.at(server)
    job, video = lost(server, ana)
    ana("reconcile", job, "--absent", "--reason", "a mistake")
    polled = ana("poll", video, *SHORT)
    assert (polled.code, f"sora-ledger reconcile {job} --video-id {video}" in polled.err) == (6, True)
    ana("cancel", job)
    assert ana("adopt", "--id", video).code == 0
