"""Two accounts behind one address: what a list or a 404 says under one key proves nothing about the other."""

import hashlib
import hmac
import json
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.outside.conftest import KEY, Ended, Outside, Person

Start = Callable[..., Outside]
OTHER = "sk-of-another-account"
FOX = ("--prompt", "a fox runs in the snow", "--no-augment")


def under(person: Person, key: str) -> Person:
    return person.with_(OPENAI_API_KEY=key)


def job_of(ended: Ended) -> str:
    return str(ended.document["job_id"])


def verdict(ended: Ended) -> tuple[str, str]:
    [settlement] = ended.document["settlements"]
    return settlement["verdict"], settlement["why"]


def types(person: Person, job: str) -> list[str]:
    return [each["type"] for each in person("show", job, "--json").document["records"]]


def held(person: Person) -> int:
    return int(person("audit", "--offline", "--json").document["reserved_usd_micros"])


def works(person: Person, seconds: float = 2) -> None:
    """Let a worker of `person` run until it has nothing to do, or is killed."""
    with person.start("worker", "--drain", "--interval", "0.1", "--grace", "0") as worker:
        with suppress(subprocess.TimeoutExpired):
            worker.wait(seconds)
        worker.kill()


def test_the_first_submission_is_not_absent_because_another_account_does_not_list_it(
    outside: Start, ana: Person
) -> None:
    server = outside(creates=["lost-answer"])
    ana = ana.at(server)
    job = job_of(ana("create", *FOX))
    asked = under(ana, OTHER)("reconcile", job, "--grace", "0")
    said, why = verdict(asked)
    assert (asked.code, said, "OPENAI_API_KEY" in why) == (6, "needs_person", True)
    works(under(ana, OTHER))
    assert len(server.bills()) == 1
    assert verdict(ana("reconcile", job))[0] == "recovered"
    assert ana("poll", "--id", job, "--poll-interval", "0.1").code == 0
    assert (len(server.bills()), ana("audit").code, ana("verify").code) == (1, 0, 0)


def test_a_list_that_shows_videos_of_this_ledger_under_another_key_proves_no_absence(
    outside: Start, ana: Person
) -> None:
    server = outside()
    ana, other = ana.at(server), under(ana.at(server), OTHER)
    assert other("create-and-poll", "--prompt", "a horse runs", "--poll-interval", "0.1").code == 0
    server.behave(creates=["lost-answer"])
    job = job_of(ana("create", *FOX))
    assert verdict(other("reconcile", job, "--grace", "0"))[0] == "needs_person"
    works(other)
    assert len(server.bills()) == 2
    assert verdict(ana("reconcile", job))[0] == "recovered"


def test_a_project_or_an_organization_is_part_of_the_account(outside: Start, ana: Person) -> None:
    server = outside(creates=["lost-request"])
    ana = ana.at(server)
    job = job_of(ana.with_(OPENAI_PROJECT_ID="proj_one")("create", *FOX))
    for elsewhere in (ana, ana.with_(OPENAI_PROJECT_ID="proj_one", OPENAI_ORG_ID="org_one")):
        assert verdict(elsewhere("reconcile", job, "--grace", "0"))[0] == "needs_person"
    assert verdict(ana.with_(OPENAI_PROJECT_ID="proj_one")("reconcile", job, "--grace", "0"))[0] == "absent"


def test_after_a_rotation_a_video_is_found_and_its_absence_is_declared(outside: Start, ana: Person) -> None:
    server = outside(creates=["lost-answer", "lost-request"], accounts={KEY: "studio", OTHER: "studio"})
    ana, rotated = ana.at(server), under(ana.at(server), OTHER)
    found, lost = job_of(ana("create", *FOX)), job_of(ana("create", "--prompt", "an owl flies"))
    assert verdict(rotated("reconcile", found))[0] == "recovered"
    assert rotated("poll", "--id", found, "--poll-interval", "0.1").code == 0
    assert verdict(rotated("reconcile", lost, "--grace", "0"))[0] == "needs_person"
    assert rotated("resume", lost).code == 1
    assert rotated("reconcile", lost, "--absent", "--reason", "the old key was revoked before").code == 0
    assert rotated("resume", lost).code == 0
    assert [bill["key"] for bill in server.bills()] == [KEY, OTHER]
    assert rotated("verify").code == 0


def test_a_404_under_another_key_ends_no_job_and_records_no_deletion_however_late(
    outside: Start, ana: Person
) -> None:
    server = outside(extra={"expires_at": int(time.time()) - 3600})
    ana, other = ana.at(server), under(ana.at(server), OTHER)
    job = job_of(ana("create", *FOX))
    server.behave(status="in_progress")
    assert ana("status", "--id", job).code == 0
    before = types(ana, job)
    polled = other("poll", "--id", job, "--poll-interval", "0.1")
    assert (polled.code, "OPENAI_API_KEY" in polled.err) == (1, True), polled
    works(other)
    deleted = other("delete", "--id", job)
    assert (deleted.code, "OPENAI_API_KEY" in deleted.err) == (1, True), deleted
    assert (types(ana, job), held(ana)) == (before, 400_000)
    server.behave(status=None)
    assert ana("poll", "--id", job, "--poll-interval", "0.1").code == 0
    assert (len(server.bills()), ana("verify").code) == (1, 0)


def test_the_key_is_in_the_record_as_a_salted_commitment_only(outside: Start, ana: Person) -> None:
    server = outside()
    ana.at(server)("create", *FOX)
    database = ana.folder / "ledger.db"
    with sqlite3.connect(database) as db:
        [(payload, salt, text)] = db.execute(
            "SELECT payload, salt, text FROM events JOIN private_bodies USING (position) "
            "WHERE type = 'submission.intended' AND field = 'key_digest'"
        ).fetchall()
    db.close()
    intent: dict[str, Any] = json.loads(payload)
    [request] = server.requests("POST")
    key = request["headers"]["authorization"].removeprefix("Bearer ")
    message = f"sora-ledger/account/v1\0{intent['attempt_id']}\0\0".encode()
    assert text == hmac.new(key.encode(), message, hashlib.sha256).hexdigest()[:16]
    sealed = hmac.new(salt, f"sora-ledger/private/v1\0key_digest\0{text}".encode(), hashlib.sha256)
    assert intent["key_digest"] == {"commitment": sealed.hexdigest()}
    assert not any(KEY.encode() in file.read_bytes() for file in ana.folder.glob("ledger.db*"))
