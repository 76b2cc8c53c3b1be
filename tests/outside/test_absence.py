"""Nothing is paid for twice, whatever a server lists: absence is proven or left to a person."""

import json
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.outside.conftest import Outside, Person

Start = Callable[..., Outside]
FOX = ("--prompt", "a fox runs in the snow", "--no-augment")


def verdict(ended: Any) -> tuple[str, str]:
    [settlement] = ended.document["settlements"]
    return settlement["verdict"], settlement["why"]


def write_batch(folder: Path, *prompts: str) -> tuple[str, ...]:
    """Write a batch of `prompts`; return the command that sends it, in their order."""
    (folder / "lines.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
    sending = ("--no-augment", "--concurrency", "1")
    return ("create-batch", "--input", "lines.jsonl", "--out-dir", "out", *sending)


def test_what_was_truly_lost_is_proven_absent_and_sent_again_once(outside: Start, ana: Person) -> None:
    server = outside(creates=["lost-request"])
    ana = ana.at(server)
    job = ana("create", *FOX).document["job_id"]
    found = verdict(ana("reconcile", job, "--grace", "0"))
    assert (found[0], ana("resume", job).code, len(server.bills())) == ("absent", 0, 1)


@pytest.mark.parametrize("how", ["lost-answer", "late@1", "lost-request"])
def test_no_list_proves_absence_while_a_call_may_still_take_effect(
    outside: Start, person: Person, how: str
) -> None:
    server = outside(creates=[how], list_lag_s=3600)
    person = person.at(server)
    job = person("create", *FOX).document["job_id"]
    result, why = verdict(person("reconcile", job, "--grace", "0"))
    assert (result, "as a video may appear late" in why) == ("waiting", True)
    with person.start("worker", "--drain", "--interval", "0.1", "--grace", "0") as worker:
        with suppress(subprocess.TimeoutExpired):
            worker.wait(2)
        worker.kill()
    assert len(server.requests("POST")) == 1


@pytest.mark.parametrize(
    "odd",
    [
        {"order": "asc", "page": 1},
        {"order": "asc", "page": 2, "clock_step_s": 3600},
        {"order": "asc", "page": 1, "created_at": False},
        {"order": "shuffle", "page": 2},
        {"order": "asc", "page": 1, "last_id": False},
        {"has_more": False, "page": 1},
        {"has_more": False, "order": "asc", "page": 2},
        {"after": False, "order": "asc", "page": 2},
        {"list_prompts": False, "get_prompts": False},
        {"prompt": 5},
        {"prompt": "upper"},
        {"prompt": "nfc"},
        {"clock_s": 7200},
        {"created_at": "ms", "prompt": 5},
        {"clock_s": 7200, "prompt": 5},
        {"clock_s": -7200, "prompt": 5},
        {"clock_s": -7200},
    ],
    ids=str,
)
def test_a_lost_answer_is_never_billed_twice_whatever_the_list_is_like(
    outside: Start, ana: Person, odd: dict[str, Any]
) -> None:
    server = outside(creates=["ok", "ok", "lost-answer"], **odd)
    ana = ana.at(server)
    batch = write_batch(ana.folder, "an owl by the lake", "a horse in the rain", "  cafe\u0301 at night ")
    for command in (batch, ("reconcile", "--all", "--grace", "0"), (*batch, "--resume")):
        ana(*command)
    assert len(server.bills()) == 3


@pytest.mark.parametrize("clock_s", [7200, -7200])
def test_the_first_submission_to_a_server_with_another_clock_is_never_billed_twice(
    outside: Start, ana: Person, clock_s: int
) -> None:
    server = outside(creates=["lost-answer"], clock_s=clock_s, prompt=5)
    ana = ana.at(server)
    job = ana("create", *FOX).document["job_id"]
    [video] = server.bills()
    ended = ana("reconcile", job, "--grace", "0")
    [settlement] = ended.document["settlements"]
    assert (ended.code, settlement["verdict"], settlement["candidates"]) == (6, "needs_person", [video["id"]])
    ana("worker", "--drain", "--interval", "0.1", "--grace", "0")
    assert (ana("resume", job).code, len(server.bills())) == (1, 1)
    assert ana("reconcile", job, "--video-id", video["id"], "--force").code == 0


def test_a_worker_that_drains_ends_with_what_a_person_has_to_settle_and_does_so_again_later(
    outside: Start, ana: Person
) -> None:
    server = outside(creates=["lost-answer"], clock_s=7200, prompt=5)
    ana = ana.at(server)
    lost = ana("create", *FOX, "--queue").document["job_id"]
    drain = ("worker", "--drain", "--interval", "0.1", "--grace", "0")
    for others in (0, 1):  # the second worker does not wait until the first one's pause is over
        for _ in range(others):
            ana("create", "--prompt", "an owl flies", "--queue")
        ended = ana(*drain)
        [left] = ended.document["left"]
        assert (ended.code, left["job_id"], left["state"]) == (6, lost, "unknown")
        assert f"{lost} needs a person" in ended.err
    states = {job["state"] for job in ana("jobs").document["jobs"]}
    assert (states, len(server.bills())) == ({"unknown", "stored"}, 2)
    assert ana("reconcile", lost, "--video-id", server.bills()[0]["id"], "--force").code == 0
    ended = ana(*drain)
    assert (ended.code, ended.document["left"], len(server.bills())) == (0, [], 2)


def test_a_worker_that_drains_sends_again_what_a_person_declared_absent(outside: Start, ana: Person) -> None:
    server = outside(creates=["lost-request"], clock_s=7200, list=False)
    ana = ana.at(server)
    lost = ana("create", *FOX, "--queue").document["job_id"]
    drain = ("worker", "--drain", "--interval", "0.1", "--grace", "0")
    assert ana(*drain).code == 6
    assert ana("reconcile", lost, "--absent", "--reason", "the operator sees none").code == 0
    assert (ana(*drain).code, len(server.bills())) == (0, 1)


def test_a_server_whose_clock_was_wrong_for_another_video_proves_no_absence(
    outside: Start, ana: Person
) -> None:
    server = outside(creates=["ok", "lost-answer"], clock_s=-7200, prompt=5)
    ana = ana.at(server)
    first = ana("create", "--prompt", "an owl flies", "--no-augment").document["job_id"]
    job = ana("create", *FOX).document["job_id"]
    ended = ana("reconcile", job)
    result, why = verdict(ended)
    assert (ended.code, result) == (6, "needs_person")
    assert f"The server's times prove nothing: {server.bills()[0]['id']} was requested by {first} at" in why


def test_old_videos_of_another_client_leave_absence_proven_where_the_clocks_agree(
    outside: Start, ana: Person
) -> None:
    server = outside(clock_s=-7211, creates=["ok", "lost-request"])
    ana = ana.at(server)
    for _ in range(3):
        server.create("long before")
    server.behave(clock_s=0)
    ana("create", "--prompt", "an owl flies", "--no-augment")
    job = ana("create", *FOX).document["job_id"]
    answer = verdict(ana("reconcile", job, "--grace", "0"))[0]
    assert (answer, ana("resume", job).code, len(server.bills())) == ("absent", 0, 5)


def test_the_video_is_found_on_the_last_page_of_a_list_in_another_order(outside: Start, ana: Person) -> None:
    server = outside(creates=["ok", "ok", "lost-answer"], order="asc", page=1)
    ana = ana.at(server)
    ana(*write_batch(ana.folder, "an owl by the lake", "a horse in the rain", "a fox in the snow"))
    assert verdict(ana("reconcile", "--all"))[0] == "recovered"


def test_a_video_whose_time_is_in_milliseconds_is_audited_and_found(outside: Start, ana: Person) -> None:
    server = outside(creates=["lost-answer"], created_at="ms")
    ana = ana.at(server)
    ana("create", *FOX)
    codes = {finding["code"] for finding in ana("audit").document["findings"]}
    assert codes == {"OUTCOME_UNKNOWN", "VIDEO_UNCLAIMED"}
    assert verdict(ana("reconcile", "--all"))[0] == "recovered"


def test_a_list_without_has_more_finds_and_never_proves(outside: Start, ana: Person) -> None:
    server = outside(creates=["ok", "lost-request", "lost-answer"], has_more=False, page=1)
    ana = ana.at(server)
    ana(*write_batch(ana.folder, "an owl by the lake", "a horse in the rain", "a fox in the snow"))
    ended = ana("reconcile", "--all", "--grace", "0")
    absent, there = ended.document["settlements"]
    assert (ended.code, there["verdict"], absent["verdict"]) == (6, "recovered", "needs_person")
    assert "has_more is missing" in absent["why"]


def test_a_worker_alone_never_pays_twice_for_an_answer_on_a_later_page(outside: Start, ana: Person) -> None:
    server = outside(creates=["ok", "ok", "lost-answer"], order="asc", page=1)
    ana = ana.at(server)
    ana(*write_batch(ana.folder, "an owl by the lake", "a horse in the rain"))
    job = ana("create", *FOX, "--queue").document["job_id"]
    ana("worker", "--drain", "--interval", "0.1", "--grace", "0")
    found = ana("show", job, "--json")
    assert ("submission.recovered" in found.out, len(server.bills())) == (True, 3)
    assert ana("audit").code == 0


def test_a_video_of_another_client_is_not_taken_where_the_list_shows_no_prompts(
    outside: Start, ana: Person
) -> None:
    server = outside(creates=["lost-request"], list_prompts=False)
    ana = ana.at(server)
    job = ana("create", *FOX, "--seconds", "4", "--size", "1280x720").document["job_id"]
    other = server.create("a heron by the lake", seconds="4", size="1280x720")["id"]
    result, why = verdict(ana("reconcile", job))
    assert (result, f"{other}: the prompt" in why) == ("needs_person", True)


def test_where_the_server_shows_no_prompt_at_all_a_person_decides(outside: Start, ana: Person) -> None:
    server = outside(creates=["lost-answer"], list_prompts=False, get_prompts=False)
    ana = ana.at(server)
    job = ana("create", *FOX).document["job_id"]
    [video] = server.bills()
    ended = ana("reconcile", job)
    assert verdict(ended) == (
        "needs_person",
        "the server lists a matching video without a prompt to compare",
    )
    assert ana("reconcile", job, "--video-id", video["id"]).code == 0


def test_a_prompt_that_only_the_single_video_shows_is_fetched(outside: Start, ana: Person) -> None:
    server = outside(creates=["lost-answer"], list_prompts=False)
    ana = ana.at(server)
    job = ana("create", *FOX).document["job_id"]
    assert verdict(ana("reconcile", job))[0] == "recovered"


def test_a_replica_that_does_not_list_what_another_one_renders_proves_nothing(
    outside: Start, ana: Person
) -> None:
    server = outside(creates=["ok", "ok", "lost-request"], replicas=2, status="in_progress")
    ana = ana.at(server)
    ana(*write_batch(ana.folder, "an owl by the lake", "a horse in the rain", "a fox in the snow"))
    result, why = verdict(ana("reconcile", "--all", "--grace", "0"))
    assert (result, "it does not show video_out" in why) == ("needs_person", True)


def test_a_prompt_with_nul_is_refused_before_anything_is_recorded(outside: Start, ana: Person) -> None:
    server = outside()
    ana = ana.at(server)
    ended = ana(*write_batch(ana.folder, "a fox\0runs"))
    assert (ended.code, "NUL (U+0000) at position 6" in ended.err, server.bills()) == (2, True, [])


def test_a_server_that_answers_with_one_id_gives_one_job_a_video_and_asks_about_the_other(
    outside: Start, ana: Person
) -> None:
    server = outside(same_id="video_same")
    ana = ana.at(server)
    first, second = (
        ana("create", "--prompt", text, "--no-augment") for text in ("an owl flies", "a fox runs")
    )
    owner, job = first.document["job_id"], second.document["job_id"]
    assert (first.code, second.code, second.document["state"]) == (0, 6, "unknown")
    assert f"video_same belongs to {owner}" in second.err
    result, why = verdict(ana("reconcile", job, "--grace", "0"))
    assert (result, why.startswith("the server answered with a video of another job")) == (
        "needs_person",
        True,
    )
    assert (ana("resume", job).code, len(server.bills()), ana("verify").code) == (1, 2, 0)


def test_an_audit_finds_a_second_bill_wherever_the_list_shows_it(outside: Start, ana: Person) -> None:
    server = outside(has_more=False, page=1)
    ana = ana.at(server)
    ana(*write_batch(ana.folder, "an owl by the lake", "a horse in the rain"))
    other = server.create("a fox")["id"]
    server.behave(order="asc")
    done = ana("audit")
    assert [(f["code"], f["subject"]) for f in done.document["findings"]] == [("VIDEO_UNCLAIMED", other)]
    assert done.document["servers"][0]["doubt"].startswith("it does not say whether there is more")


def test_an_audit_of_a_server_without_a_list_has_what_the_ledger_shows(outside: Start, ana: Person) -> None:
    server = outside(list=False, creates=["lost-answer"])
    ana = ana.at(server)
    job = ana("create", *FOX).document["job_id"]
    done = ana("audit")
    assert (done.code, [(f["code"], f["subject"]) for f in done.document["findings"]]) == (
        11,
        [("OUTCOME_UNKNOWN", job)],
    )
    result, why = verdict(ana("reconcile", job))
    assert (result, why.startswith("this server cannot be searched")) == ("needs_person", True)


def test_a_list_that_is_newest_first_is_read_back_to_what_the_ledger_knows(
    outside: Start, ana: Person
) -> None:
    server = outside(page=2, clock_s=-90)
    ana = ana.at(server)
    for _ in range(6):
        server.create("long before")
    ana("create", "--prompt", "an owl flies", "--no-augment")
    server.behave(creates=["lost-answer"], clock_s=0)
    job = ana("create", *FOX).document["job_id"]
    before = len(server.requests("GET"))
    assert verdict(ana("reconcile", job))[0] == "recovered"
    assert len(server.requests("GET")) - before == 1


def test_a_video_without_a_prompt_keeps_no_lost_answer_from_its_own_video(
    outside: Start, ana: Person
) -> None:
    server = outside(creates=["lost-answer"] * 3 + ["lost-request"])
    ana = ana.at(server)
    lost = [f"shot {number}" for number in range(3)]
    server.create("", size="1280x720")
    ana(*write_batch(ana.folder, *lost, "never arrived"))
    settled = ana("reconcile", "--all", "--grace", "0").document["settlements"]
    assert len({(bill["model"], bill["size"], bill["seconds"]) for bill in server.bills()}) == 1
    assert [each["verdict"] for each in settled] == ["recovered"] * 3 + ["needs_person"]
    assert [each["job"]["id"] for each in settled[:3]] == [bill["id"] for bill in server.bills()[1:]]
    assert settled[3]["candidates"] == [server.bills()[0]["id"]]
