"""A queued split is made by whichever worker runs, each remix billed once, by the server's own count."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.tree.checkpoint import Signer
from tests.outside.conftest import PACKAGED, Outside, Person, until

Start = Callable[..., Outside]

PROMPT = "Make it night. Add heavy rain. Make the car blue."
PARTS = ["Make it night", "Add heavy rain", "Make the car blue"]
WORKER = ("worker", "--lease", "1", "--grace", "0", "--interval", "0.1")
DRAIN = (*WORKER, "--drain")
APPROVALS = """
[approvers]
maria = ["{maria}"]
omar = ["{omar}"]

[requesters]
ana = ["{ana}"]

[[approvals]]
code = "FINALS"
purposes = ["final"]
"""


@pytest.fixture
def shop(outside: Start, person: Person) -> tuple[Outside, Person, str]:
    """A server, somebody at a terminal, and the video that is to be remixed."""
    server = outside()
    ana = person.at(server)
    made = ana("create-and-poll", "--prompt", "a red car", "--no-augment", "--poll-interval", "0.1")
    assert made.code == 0
    return server, ana, ana("jobs").document["jobs"][0]["job_id"]


def queue(ana: Person, source: str, *options: str) -> Any:
    """Queue the split; return what the command printed."""
    return ana("remix", "--id", source, "--prompt", PROMPT, "--split", "--queue", *options)


def remixes(server: Any) -> list[str]:
    """Return the prompts of the remixes that were billed, in their order, without what is added to them."""
    lines = [bill["prompt"].splitlines()[0] for bill in server.bills() if bill["operation"] == "remix"]
    return [line.removeprefix("Primary request: ").rstrip(".") for line in lines]


def standing(ana: Person, job: str) -> dict[str, Any]:
    """Return where the split of a job is, as `status` tells it."""
    return dict(ana("status", job, "--offline").document["split"])


def test_a_queued_split_is_finished_by_workers_that_are_killed_after_every_remix(
    shop: tuple[Outside, Person, str],
) -> None:
    server, ana, source = shop
    first = queue(ana, source).document["jobs"][0]["job_id"]
    for billed in (1, 2, 3):
        with ana.start(*WORKER) as worker:
            until(lambda billed=billed: len(remixes(server)) >= billed)  # type: ignore[misc]
            worker.kill()
    until(lambda: ana(*DRAIN).code == 0 and standing(ana, first)["progress"] == "done")
    assert remixes(server) == PARTS
    assert ana("verify").code == 0


def test_two_workers_request_every_remix_of_a_queued_split_once(shop: tuple[Outside, Person, str]) -> None:
    server, ana, source = shop
    first = queue(ana, source).document["jobs"][0]["job_id"]
    with ana.start(*WORKER) as one, ana.start(*WORKER) as other:
        until(lambda: standing(ana, first)["progress"] == "done")
        one.terminate()
        other.terminate()
    jobs = ana("jobs").document["jobs"]
    assert (remixes(server), len(jobs)) == (PARTS, 4)
    assert [job["actor"] for job in jobs] == [jobs[0]["actor"]] * 4


def test_a_split_that_is_denied_stops_and_one_command_continues_it(shop: tuple[Outside, Person, str]) -> None:
    server, ana, source = shop
    assert ana("budget", "set", "project_spring", "--limit", "0.50").code == 0
    first = queue(ana, source, "--project", "spring").document["jobs"][0]["job_id"]
    assert ana(*DRAIN).code == 0
    stopped = standing(ana, first)
    assert (stopped["progress"], stopped["state"], stopped["number"], stopped["remaining"]) == (
        "stopped",
        "denied",
        2,
        1,
    )
    audited = ana("audit", "--offline")
    assert (audited.code, [each["code"] for each in audited.document["findings"]]) == (11, ["SPLIT_STOPPED"])
    assert "split: stopped at remix 2 of 3" in ana("jobs", "--tree", "--format=text").out
    ana("budget", "set", "project_spring", "--limit", "50")
    assert ana(*shlex.split(stopped["next"])[1:], "--queue").code == 0
    assert ana(*DRAIN).code == 0
    assert (remixes(server), standing(ana, first)["progress"]) == (PARTS, "done")
    assert ana("audit", "--offline").document["findings"] == []
    assert ana("verify").code == 0


def test_a_failed_remix_stops_its_split_until_it_is_retried(shop: tuple[Outside, Person, str]) -> None:
    server, ana, source = shop
    server.behave(failure="moderation_blocked")
    first = queue(ana, source).document["jobs"][0]["job_id"]
    assert ana(*DRAIN).code == 0
    assert standing(ana, first)["progress"] == "stopped"
    server.behave(failure=None)
    assert ana("retry", first, "--queue").code == 0
    assert ana(*DRAIN).code == 0
    assert (remixes(server), standing(ana, first)["progress"]) == ([PARTS[0], *PARTS], "done")


def test_cancelling_a_remix_that_runs_withdraws_what_was_to_follow_it(
    shop: tuple[Outside, Person, str],
) -> None:
    server, ana, source = shop
    first = queue(ana, source).document["jobs"][0]["job_id"]
    assert ana("resume", first).code == 0
    withdrawn = ana("cancel", first)
    assert (withdrawn.code, withdrawn.document["split"]["progress"]) == (0, "withdrawn")
    assert ana(*DRAIN).code == 0
    assert (remixes(server), ana("jobs").document["jobs"][0]["state"]) == (PARTS[:1], "stored")
    assert ana("cancel", first).document["error"]["code"] == "not_ready"


def test_cancelling_a_queued_remix_stops_its_split(shop: tuple[Outside, Person, str]) -> None:
    server, ana, source = shop
    first = queue(ana, source).document["jobs"][0]["job_id"]
    assert ana("cancel", first).document["split"]["progress"] == "stopped"
    assert (ana(*DRAIN).code, remixes(server)) == (0, [])
    assert ana("retry", first, "--queue").code == 0
    assert (ana(*DRAIN).code, remixes(server)) == (0, PARTS)


def test_a_split_that_needs_approval_continues_once_it_is_approved(shop: tuple[Outside, Person, str]) -> None:
    server, ana, source = shop
    keys = {name: Signer.generate(name) for name in ("ana", "maria", "omar")}
    for name, key in keys.items():
        (ana.folder / f"{name}.key").write_text(key.secret())
        (ana.folder / f"{name}.key").chmod(0o600)
    (ana.folder / "strict.toml").write_text(
        PACKAGED + APPROVALS.format(**{name: key.verifier for name, key in keys.items()})
    )
    assert ana("policy", "activate", "strict.toml", "--reason", "second eyes").code == 0
    queued = queue(ana, source, "--purpose", "final", "--key", "ana.key")
    assert "your signature covers the first remix only" in queued.err
    first = queued.document["jobs"][0]["job_id"]
    assert (ana(*DRAIN).code, remixes(server), standing(ana, first)["progress"]) == (0, [], "held")
    assert ana("approve", first, "--key", "maria.key").code == 0
    assert (ana(*DRAIN).code, remixes(server)) == (0, PARTS[:1])
    held = standing(ana, first)
    assert (held["progress"], held["number"]) == ("held", 2)
    for file in ("maria.key", "omar.key"):  # ana signed the first remix alone: here her name is only typed
        assert ana("approve", held["job_id"], "--key", file).code == 0
    assert (ana(*DRAIN).code, remixes(server)) == (0, PARTS[:2])


def test_erasing_a_remix_erases_the_prompts_that_were_to_follow_it(shop: tuple[Outside, Person, str]) -> None:
    server, ana, source = shop
    first = queue(ana, source).document["jobs"][0]["job_id"]
    assert ana("resume", first).code == 0
    assert ana("poll", first, "--poll-interval", "0.1").code == 0
    assert b"heavy rain" in content_of(ana.folder)
    assert ana("erase", first, "--reason", "subject_request", "--yes").code == 0
    assert b"heavy rain" not in content_of(ana.folder)
    assert (ana(*DRAIN).code, remixes(server)) == (0, PARTS[:1])
    assert standing(ana, first)["progress"] == "withdrawn"
    assert ana("verify").code == 0


def test_a_planned_prompt_is_in_one_job_only_so_erasing_that_erases_it(
    shop: tuple[Outside, Person, str],
) -> None:
    server, ana, source = shop
    first = queue(ana, source).document["jobs"][0]["job_id"]
    assert (ana(*DRAIN).code, remixes(server)) == (0, PARTS)
    second = ana("jobs").document["jobs"][1]["job_id"]
    assert second != first
    assert ana("erase", second, "--reason", "subject_request", "--yes").code == 0
    assert b"heavy rain" not in content_of(ana.folder)


def test_a_copy_of_a_ledger_is_enough_to_continue_a_split_on_another_machine(
    shop: tuple[Outside, Person, str],
) -> None:
    server, ana, source = shop
    first = queue(ana, source).document["jobs"][0]["job_id"]
    assert ana("resume", first).code == 0
    assert ana("poll", first, "--poll-interval", "0.1").code == 0
    assert ana("copy", "ledger.db", "other.db").code == 0
    ana.folder.joinpath("ledger.db").rename(ana.folder / "lost.db")
    elsewhere = ana.with_(SORA_LEDGER_URL="sqlite:///other.db")
    assert elsewhere(*DRAIN).code == 0
    assert (remixes(server), standing(elsewhere, first)["progress"]) == (PARTS, "done")


def content_of(folder: Path) -> bytes:
    """Return the bytes of the database files in a folder."""
    return b"".join(path.read_bytes() for path in folder.glob("ledger.db*") if path.is_file())


def test_a_split_whose_source_was_deleted_offers_no_command_that_cannot_help(
    shop: tuple[Outside, Person, str],
) -> None:
    server, ana, source = shop
    assert ana("delete", source).code == 0
    denied = queue(ana, source)
    assert (denied.code, denied.document["split"]["progress"], denied.document["next"]) == (
        3,
        "stopped",
        None,
    )
    [finding] = ana("audit", "--offline").document["findings"]
    job = denied.document["jobs"][0]["job_id"]
    assert finding["do"] == f"sora-ledger cancel {job} withdraws what is left"
    assert ana("cancel", job).document["split"]["progress"] == "withdrawn"
    assert ana("audit", "--offline").code == 0
    assert remixes(server) == []


def test_a_split_whose_next_key_another_request_has_stops_and_says_so(
    shop: tuple[Outside, Person, str],
) -> None:
    server, ana, source = shop
    first = queue(ana, source, "--request-key", "shot").document["jobs"][0]["job_id"]
    assert ana("create", "--prompt", "an owl", "--request-key", "shot/2").code == 0
    assert ana(*DRAIN).code == 0
    stopped = standing(ana, first)
    assert (stopped["progress"], stopped["number"], stopped["taken_key"]) == ("stopped", 1, "shot/2")
    assert "another request has the key shot/2" in ana("status", first, "--offline", "--format=text").out
    assert "SPLIT_STOPPED" in ana("audit", "--offline").out
    assert remixes(server) == PARTS[:1]
    assert stopped["next"] == f"sora-ledger remix --id {first} --prompt TEXT --split --queue"
    rest = ana("remix", "--id", first, "--prompt", "Add heavy rain. Make the car blue.", "--split", "--queue")
    assert (rest.code, ana(*DRAIN).code) == (0, 0)
    assert remixes(server) == PARTS
