"""remix --change and --split, and reviewing what came of them."""

import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Sora

PROMPT = "Make it night, and replace the fox with a hare."


@pytest.fixture(autouse=True)
def _quick(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORA_SANDBOX_SECONDS", "0")
    monkeypatch.setenv("SORA_LEDGER_PROFILE", "sandbox")


@pytest.fixture
def stored(sora: Sora) -> str:
    options = ["--prompt", "a fox runs", "--palette", "teal, sand", "--poll-interval", "0.1"]
    return str(sora("create-and-poll", *options).document["final"]["job_id"])


def sent(sora: Sora, job_id: str) -> str:
    records = sora("show", job_id).document["records"]
    return str(records[0]["payload"]["augmented_prompt"]["text"])


def test_a_structured_change_names_what_stays(sora: Sora, stored: str) -> None:
    ended = sora("remix", "--id", stored, "--change", "palette=crimson, rust")
    assert sent(sora, ended.document["job_id"]) == (
        "Primary request: same shot and framing; change only the color palette\n"
        "Color palette: crimson, rust\n"
        "Constraints: keep everything else unchanged: subject, scene, action, camera, lighting"
    )


def test_a_structured_change_is_decided_as_one(sora: Sora, stored: str) -> None:
    ended = sora("remix", "--id", stored, "--change", "palette=crimson, rust")
    assert ended.document["decision"]["basis"]["inputs"]["change_verdict"] == "single"


@pytest.mark.parametrize("change", ["size=720x1280", "model=sora-2-pro", "seconds=8"])
def test_what_a_remix_keeps_is_denied_with_the_command_that_can(sora: Sora, stored: str, change: str) -> None:
    ended = sora("remix", "--id", stored, "--change", change)
    key, _, value = change.partition("=")
    assert (ended.code, f"sora-ledger create --{key} {value}" in ended.error) == (3, True)
    assert f"leave out --{key} or --change {key}, or" in ended.error


def test_two_structured_changes_are_denied_with_a_command_each(sora: Sora, stored: str) -> None:
    changes = ["--change", "palette=red", "--change", "lighting=dim"]
    ended = sora("remix", "--id", stored, *changes)
    trace = ended.document["decision"]["denial_trace"]
    assert (trace["failed_invariant"], len(ended.document["decision"]["what_now"])) == (
        "INV_SINGLE_CHANGE_REMIX",
        3,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--change", "palete=red"], "did you mean palette?"),
        (["--change", "palette"], "expected KEY=VALUE"),
        (["--change", "palette=teal, sand"], "nothing would change"),
        (["--change", "palette=red", "--change", "palette=blue"], "one key twice"),
        (["--change", "palette=red", "--prompt", "make it red"], "writes the prompt"),
    ],
)
def test_a_change_that_cannot_be_read_records_nothing(
    sora: Sora, stored: str, arguments: list[str], message: str
) -> None:
    ended = sora("remix", "--id", stored, *arguments)
    jobs = sora("jobs").document["jobs"]
    assert (ended.code, message in ended.error, len(jobs)) == (2, True, 1)


def test_a_split_makes_each_remix_of_the_result_of_the_last(sora: Sora, stored: str) -> None:
    ended = sora("remix", "--id", stored, "--prompt", PROMPT, "--split", "--poll-interval", "0.1")
    first, second = ended.document["jobs"]
    assert (first["source_job"], second["source_job"]) == (stored, first["job_id"])


def test_a_split_that_is_done_leaves_nothing_to_do(sora: Sora, stored: str) -> None:
    ended = sora("remix", "--id", stored, "--prompt", PROMPT, "--split", "--poll-interval", "0.1")
    assert (ended.code, ended.document["done"], ended.document["next"]) == (0, 2, None)


def test_the_same_split_again_renders_nothing_twice(sora: Sora, stored: str) -> None:
    options = ["--prompt", PROMPT, "--split", "--poll-interval", "0.1", "--request-key", "spring"]
    sora("remix", "--id", stored, *options)
    again = sora("remix", "--id", stored, *options)
    assert ([job["repeated"] for job in again.document["jobs"]], len(sora("jobs").document["jobs"])) == (
        [True, True],
        3,
    )


def test_a_split_stops_at_the_first_that_fails_and_says_how_to_go_on(sora: Sora, stored: str) -> None:
    options = ["--prompt", PROMPT, "--split", "--max-cost", "0.01"]
    ended = sora("remix", "--id", stored, *options)
    words = shlex.split(ended.document["next"])
    assert (ended.code, ended.document["done"], words[:4], words[-1]) == (
        3,
        0,
        ["sora-ledger", "remix", "--id", stored],
        "--split",
    )


def test_a_split_shows_each_prompt_as_it_was_written(sora: Sora, stored: str) -> None:
    prompt = "Paint the [/red] fox white, and replace the sky with stars."
    ended = sora(
        "remix", "--id", stored, "--prompt", prompt, "--split", "--max-cost", "0.01", "--format=text"
    )
    assert (ended.code, "1 of 2 Paint the [/red] fox white" in ended.out) == (3, True)


def test_the_command_that_goes_on_makes_what_was_left(sora: Sora, stored: str) -> None:
    stopped = sora("remix", "--id", stored, "--prompt", PROMPT, "--split", "--max-cost", "0.01")
    words = shlex.split(stopped.document["next"])
    assert sora(*words[1:], "--poll-interval", "0.1").document["done"] == 2


def test_a_split_stopped_by_its_time_goes_on_with_its_key(
    sora: Sora, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--prompt", PROMPT, "--split", "--poll-interval", "0.1", "--request-key", "spring"]
    monkeypatch.setenv("SORA_SANDBOX_SECONDS", "1")
    stopped = sora("remix", "--id", stored, *options, "--timeout", "0")
    assert [job["state"] for job in stopped.document["jobs"]] == ["running"]
    assert stopped.document["next"] is None  # asked for anew it would be paid for twice
    ended = sora("remix", "--id", stored, *options)
    assert (stopped.code, ended.code, len(sora("jobs").document["jobs"])) == (5, 0, 3)


QUEUED = ["--prompt", PROMPT, "--split", "--queue", "--request-key", "spring"]


def test_a_queued_split_queues_one_remix_and_names_what_it_waits_for(sora: Sora, stored: str) -> None:
    first = sora("remix", "--id", stored, *QUEUED)
    again = sora("remix", "--id", stored, *QUEUED)
    [job] = first.document["jobs"]
    assert (first.code, job["state"], first.document["waits_for"]) == (0, "decided", job["job_id"])
    assert (again.code, again.document["jobs"][0]["job_id"]) == (0, job["job_id"])
    assert (first.document["next"], len(sora("jobs").document["jobs"])) == (None, 2)


def test_workers_make_every_remix_of_a_queued_split(sora: Sora, stored: str) -> None:
    queued = sora("remix", "--id", stored, *QUEUED)
    assert (queued.document["split"]["progress"], queued.document["split"]["remaining"]) == ("under_way", 1)
    assert sora("worker", "--drain", "--interval", "0.1").code == 0
    ended = sora("remix", "--id", stored, *QUEUED)
    jobs = [job["job_id"] for job in ended.document["jobs"]]
    listed = {job["job_id"]: job["source_job"] for job in sora("jobs").document["jobs"]}
    assert ([listed[job] for job in jobs], len(listed)) == ([stored, jobs[0]], 3)
    assert (ended.document["split"]["progress"], ended.document["rest"]) == ("done", [])
    assert sora("verify").code == 0


def test_a_queued_split_says_in_text_that_it_continues_by_itself(sora: Sora, stored: str) -> None:
    ended = sora("remix", "--id", stored, *QUEUED, "--format=text")
    assert "split: remix 1 of 2 is decided (job_" in ended.out
    assert "the rest follows by itself" in ended.out


def test_a_queued_split_that_is_denied_names_the_command_that_continues_it(sora: Sora, stored: str) -> None:
    ended = sora("remix", "--id", stored, *QUEUED, "--max-cost", "0.01")
    [job] = ended.document["jobs"]
    assert (ended.code, ended.document["waits_for"]) == (3, None)
    assert ended.document["next"] == f"sora-ledger retry {job['job_id']}"


def test_a_split_overrides_only_the_remixes_that_are_denied(sora: Sora, stored: str, folder: Path) -> None:
    packaged = sora("policy", "show", "--packaged", "policy").out
    lenient = packaged.replace('name = "default"', 'name = "team"\noverridable = ["COST_ABOVE_LIMIT"]', 1)
    (folder / "team.toml").write_text(lenient)
    sora("policy", "activate", "team.toml", "--reason", "limits are wishes")
    wish = ["--override", "COST_ABOVE_LIMIT", "--reason", "the client pays"]
    command = ["remix", "--id", stored, "--prompt", PROMPT, "--split", *wish]
    dear = sora(*command, "--max-cost", "0.01", "--poll-interval", "0.1")
    needless = sora(*command, "--poll-interval", "0.1")
    overridden = [
        [job["decision"]["basis"]["inputs"].get("overridden") for job in ended.document["jobs"]]
        for ended in (dear, needless)
    ]
    assert (dear.code, needless.code) == (0, 0)
    assert overridden == [["COST_ABOVE_LIMIT"] * 2, [None] * 2]
    assert sora(*command, "--max-cost", "0.01", "--dry-run").code == 0
    assert sora("verify").code == 0


def test_one_change_needs_no_splitting(sora: Sora, stored: str) -> None:
    options = ["--prompt", "Make it night", "--split", "--poll-interval", "0.1"]
    assert sora("remix", "--id", stored, *options).document["remixes"] == 1


def test_a_review_is_shown_with_the_job(sora: Sora, stored: str) -> None:
    sora("review", stored, "--verdict", "changes_requested", "--clarity", "40")
    lists = [sora("jobs", "--format=text").out, sora("show", stored, "--format=text").out]
    assert all("changes_requested" in text for text in lists)


def test_a_score_above_a_hundred_is_refused(sora: Sora, stored: str) -> None:
    assert sora("review", stored, "--verdict", "approved", "--clarity", "101").code == 2


def test_a_dry_run_of_a_split_shows_each_remix_and_the_cost_and_records_nothing(
    sora: Sora, stored: str
) -> None:
    before = sora("log").document
    ended = sora("remix", "--id", stored, "--prompt", PROMPT, "--split", "--dry-run")
    assert ended.code == 0
    assert [job["decision"]["decision"] for job in ended.document["jobs"]] == ["ALLOW", "ALLOW"]
    assert ended.document["cost_usd_micros"] == 800_000
    assert sora("log").document == before


def test_a_dry_run_of_a_split_ends_with_3_where_a_remix_would_be_denied(sora: Sora, stored: str) -> None:
    options = ["--prompt", PROMPT, "--split", "--dry-run", "--max-cost", "0.01"]
    assert sora("remix", "--id", stored, *options).code == 3


def test_one_change_that_the_network_alone_takes_for_several_can_be_declared(sora: Sora, stored: str) -> None:
    doubtful = ["remix", "--id", stored, "--prompt", "Push in on his eyes and hold there."]
    denied = sora(*doubtful)
    assert denied.document["decision"]["denial_trace"]["detail_code"] == "CHANGE_UNCLEAR"
    declared = sora(*doubtful, "--declare-change", "camera", "--dry-run")
    assert (declared.code, declared.document["decision"]["reason_codes"][-1]) == (0, "SINGLE_CHANGE_DECLARED")


def test_an_unclear_change_is_denied_with_two_ways_out_and_each_works(sora: Sora, stored: str) -> None:
    unclear = ["remix", "--id", stored, "--prompt", "Make it night or make it rain"]
    ended = sora(*unclear)
    assert (ended.code, "--declare-change " in ended.error, "--change KEY=VALUE" in ended.error) == (
        3,
        True,
        True,
    )
    declared = sora(*unclear, "--declare-change", "style", "--dry-run")
    assert (declared.code, declared.document["decision"]["reason_codes"][-1]) == (0, "SINGLE_CHANGE_DECLARED")
    written = sora("remix", "--id", stored, "--change", "style=watercolour", "--dry-run")
    assert (written.code, written.document["decision"]["reason_codes"][-1]) == (0, "SINGLE_CHANGE")


def test_a_split_gives_each_piece_of_advice_once(sora: Sora, stored: str) -> None:
    both = "Make it a 30-second clip at night; make it a 30-second clip in snow"
    ended = sora("remix", "--id", stored, "--prompt", both, "--split", "--dry-run", "--format=text")
    advice = [line for line in ended.error.splitlines() if line.startswith("advice: ")]
    assert (ended.out.count(" of 2 "), len(advice), len(set(advice))) == (2, 2, 2)
