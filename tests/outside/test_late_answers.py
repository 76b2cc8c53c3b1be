"""The answer to one attempt that comes while the next is under way: a laptop slept, a file waited."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.outside.conftest import Outside, Person
from tests.outside.test_paid_answers import billed, fill_the_disk, kept, types

Start = Callable[..., Outside]
KEYED = ("create", "--prompt", "a fox runs", "--no-augment", "--request-key", "fox")


@pytest.fixture
def ana(person: Person) -> Person:
    """Someone whose server creates nothing when it answers 401 or 429, and may be asked again."""
    return person.with_(SORA_LEDGER_PROFILE="openai", SORA_LEDGER_RETRY_SECONDS="0.3")


def arrived(server: Any, count: int) -> None:
    """Return once `count` requests to create have arrived."""
    while len(server.requests("POST")) < count:
        time.sleep(0.01)


def answered_while_it_waits(server: Any, ana: Person) -> Any:
    """Ask under the same key while the answer is on its way; return the document."""
    asking = ana.start(*KEYED)
    asking.stderr.readline()
    server.release()
    answered, err = asking.communicate(timeout=60)
    assert asking.returncode == 0, err
    return json.loads(answered)


def say_that_nothing_was_created(ana: Person) -> None:
    [job] = ana("jobs").document["jobs"]
    assert ana("reconcile", job["job_id"], "--absent", "--reason", "the operator looked").code == 0


@pytest.mark.parametrize("refusal", ["401", "429"])
def test_a_late_refusal_of_one_attempt_does_not_end_the_next(
    outside: Start, ana: Person, refusal: str
) -> None:
    server = outside(creates=[f"{refusal}@held", "slow@held"])
    ana = ana.at(server)
    asleep = ana.start(*KEYED)
    arrived(server, 1)
    asleep.send_signal(signal.SIGSTOP)
    server.release()
    say_that_nothing_was_created(ana)
    again = ana.start(*KEYED)
    billed(server, 1)
    asleep.send_signal(signal.SIGCONT)
    _, err = asleep.communicate(timeout=60)
    third = answered_while_it_waits(server, ana)
    answered, _ = again.communicate(timeout=60)
    assert len(server.bills()) == 1
    assert "was sent again while the answer to attempt_" in err
    assert json.loads(answered)["id"] == third["id"] == server.bills()[0]["id"]
    assert (types(ana)[-1], ana("verify").code) == ("submission.accepted", 0)


def test_a_refusal_that_waited_in_a_file_does_not_end_the_next_attempt(outside: Start, ana: Person) -> None:
    server = outside(creates=["401@held", "slow@held"])
    ana = ana.at(server)
    first = ana.start(*KEYED)
    arrived(server, 1)
    fill_the_disk(first)
    server.release()
    first.communicate(timeout=60)
    [file] = kept(ana)
    elsewhere = file.rename(Path(ana.folder, file.name))  # the disk of another machine
    say_that_nothing_was_created(ana)
    again = ana.start(*KEYED)
    billed(server, 1)
    elsewhere.rename(file)
    ana("create", "--prompt", "an owl", "--no-augment", "--queue")
    third = answered_while_it_waits(server, ana)
    answered, _ = again.communicate(timeout=60)
    assert (len(server.bills()), kept(ana)) == (1, [])
    assert json.loads(answered)["id"] == third["id"] == server.bills()[0]["id"]
    assert ana("verify").code == 0


def test_a_late_answer_with_the_video_of_another_job_is_recorded_and_left_to_a_person(
    outside: Start, person: Person
) -> None:
    server = outside(same_id="video_same", creates=["ok", "slow@held"])
    person = person.at(server)
    owner = person("create", "--prompt", "an owl flies", "--no-augment").document["job_id"]
    late = person.start("create", "--prompt", "a fox runs", "--no-augment")
    arrived(server, 2)
    late.send_signal(signal.SIGSTOP)
    [job] = {each["job_id"] for each in person("jobs").document["jobs"]} - {owner}
    person("reconcile", job, "--grace", "0")  # as if nobody were waiting
    server.release()
    late.send_signal(signal.SIGCONT)
    _, err = late.communicate(timeout=60)
    assert late.returncode == 6, err
    assert f"The answer came late: video_same belongs to {owner}" in person("show", job).out
    [settlement] = person("reconcile", job).document["settlements"]
    assert (settlement["verdict"], settlement["why"].split(",")[0]) == (
        "needs_person",
        "the server answered with a video of another job",
    )
    assert person("verify").code == 0
