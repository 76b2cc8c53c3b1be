"""decide, explain, whynot, what-if, replay --decisions: what a reviewer and a refused producer read."""

import re
import shlex
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import run
from tests.cli.conftest import Sora, Terminal

REFUSED = [
    ["--size", "1920x1080", "--model", "sora-2"],
    ["--max-cost", "0.01"],
    ["--seconds", "12", "--max-cost", "0.90", "--lighting", "it's golden"],
    ["--size", "1792x1024", "--max-cost", "1.00", "--purpose", "final"],
    ["--seed", "7"],
]


@pytest.fixture
def stored(sora: Sora) -> str:
    """Return the id of a stored job at the embedded sandbox."""
    options = ["--prompt", "a fox runs", "--profile", "sandbox", "--poll-interval", "0.1"]
    return str(sora("create-and-poll", *options).document["final"]["job_id"])


@pytest.fixture(autouse=True)
def _quick(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORA_SANDBOX_SECONDS", "0")


@pytest.mark.parametrize("options", REFUSED, ids=" ".join)
def test_the_command_whynot_gives_would_be_allowed(sora: Sora, options: list[str]) -> None:
    ended = sora("create", "--prompt", 'a fox\'s "den" at $HOME', "--profile", "sandbox", *options)
    assert ended.code == 3
    (command,) = sora("whynot", ended.document["job_id"]).document["commands"]
    words = shlex.split(command)
    assert sora("decide", *words[2:], "--profile", "sandbox").document["decision"] == "ALLOW"


def test_the_commands_for_several_changes_are_allowed_one_by_one(sora: Sora, stored: str) -> None:
    options = ["--profile", "sandbox", "--prompt", "Make it night, and replace the fox with a hare."]
    denied = sora("remix", "--id", stored, *options)
    commands = sora("whynot", denied.document["job_id"]).document["commands"]
    rulings = [
        sora("decide", "--remix", stored, *shlex.split(command)[4:], "--profile", "sandbox")
        for command in commands
    ]
    assert [ruling.document["decision"] for ruling in rulings] == ["ALLOW", "ALLOW"]


def test_a_change_of_one_line_is_decided_as_the_remix_would_be(sora: Sora, stored: str) -> None:
    options = ["--profile", "sandbox", "--change", "palette=teal, sand"]
    assert sora("decide", "--remix", stored, *options).document["decision"] == "ALLOW"
    assert sora("decide", "--remix", stored, *options, "--change", "camera=slow").code == 3


def test_a_change_without_a_video_to_remix_is_refused(sora: Sora) -> None:
    ended = sora("decide", "--prompt", "a fox", "--profile", "sandbox", "--change", "palette=teal")
    assert (ended.code, "--change is for --remix ID" in ended.error) == (2, True)


def test_a_remix_that_names_a_model_is_told_to_leave_it_out(sora: Sora, stored: str) -> None:
    options = ["--profile", "sandbox", "--prompt", "Make it night", "--model", "sora-2-pro"]
    denied = sora("remix", "--id", stored, *options)
    (command,) = sora("whynot", denied.document["job_id"]).document["commands"]
    assert command == f"sora-ledger remix --id {stored} --prompt 'Make it night'"


def test_deciding_records_nothing(sora: Sora, folder: Path) -> None:
    sora("decide", "--prompt", "a fox", "--profile", "sandbox")
    assert list(folder.iterdir()) == []


def test_what_would_be_denied_ends_with_its_code(sora: Sora) -> None:
    assert sora("decide", "--prompt", "a fox", "--profile", "sandbox", "--max-cost", "0.01").code == 3


def test_the_decision_shows_every_candidate(sora: Sora) -> None:
    found = sora("decide", "--prompt", "a fox", "--profile", "sandbox").document["candidates"]
    assert [(each["model"], each["chosen"]) for each in found] == [("sora-2", True), ("sora-2-pro", False)]


def test_two_operations_are_refused(sora: Sora) -> None:
    ended = sora("decide", "--prompt", "a fox", "--remix", "a", "--edit", "b")
    assert (ended.code, "give one" in ended.error) == (2, True)


def test_what_only_a_new_render_takes_is_refused_for_a_remix(sora: Sora, stored: str) -> None:
    ended = sora("decide", "--remix", stored, "--prompt", "make it night", "--seed", "1")
    assert (ended.code, "--seed is for a new render" in ended.error) == (2, True)


def test_an_explanation_answers_the_four_questions(sora: Sora, stored: str) -> None:
    document = sora("explain", stored).document
    assert [*document] == [
        "job_id",
        "state",
        "decided",
        "why",
        "authority",
        "reviews",
        "provenance",
        "record",
    ]


def test_an_explanation_names_who_asked_and_how_that_is_known(sora: Sora, stored: str) -> None:
    who = sora("explain", stored).document["authority"]["requested_by"]
    assert (who["actor"], who["identified_by"]) == ("ana", "environment")


def test_the_answers_stand_on_one_screen(sora: Sora, stored: str) -> None:
    lines = sora("explain", stored, "--format=text").out.splitlines()
    questions = [line for line in lines if line.endswith("?")]
    assert (len(questions), len(lines) <= 24) == (5, True)


@pytest.mark.parametrize(("column", "was"), [("payload", '":"video_'), ("record", '":"ana')])
@pytest.mark.parametrize("kind", ["BLOB", "TEXT"])
def test_a_record_that_was_changed_is_not_trusted(
    sora: Sora, stored: str, folder: Path, column: str, was: str, kind: str
) -> None:
    changed = f"CAST(replace({column}, '{was}', '{was}bob') AS {kind})"
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("DROP TRIGGER events_no_update")
        db.execute(f"UPDATE events SET {column} = {changed} WHERE type = 'submission.accepted'")
    ended = sora("explain", stored)
    assert (ended.code, ended.document["record"]["trusted"]) == (10, False)


def test_what_nobody_asked_for_cannot_be_explained(sora: Sora, stored: str) -> None:
    assert sora("explain", "job_nobody").code == 2


def test_of_an_allowed_job_whynot_says_why_no_other_model(sora: Sora, stored: str) -> None:
    pro = sora("whynot", stored).document["candidates"][1]
    assert pro["why_not"] == [
        "its score is 200, that of sora-2 1000",
        "it would cost 1.20 USD instead of 0.40 USD",
    ]


def test_replayed_decisions_agree(sora: Sora, stored: str) -> None:
    ended = sora("replay", "--decisions")
    assert (ended.code, ended.document["counts"]["SAME"]) == (0, 1)


def test_a_decision_that_drifted_ends_with_ten(sora: Sora, stored: str, folder: Path) -> None:
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("DROP TRIGGER events_no_update")
        db.execute("UPDATE events SET payload = replace(payload, '400000', '400001') WHERE position = 3")
    ended = sora("replay", "--decisions")
    assert (ended.code, ended.document["findings"][0]["code"]) == (10, "DECISION_DRIFT")


def test_decisions_are_replayed_whole(sora: Sora, stored: str) -> None:
    assert sora("replay", "--decisions", "--as-of", "3").code == 2


@pytest.fixture
def dear(sora: Sora, folder: Path) -> str:
    """Return a policy file that wants sora-2-pro for drafts."""
    packaged = sora("policy", "show", "--packaged", "policy").out
    line = next(line for line in packaged.splitlines() if line.startswith("draft"))
    file = folder / "dear.toml"
    file.write_text(packaged.replace(line, 'draft = [{ model = "sora-2-pro", fit = 100 }]'))
    return str(file)


def test_another_policy_shows_what_it_would_cost(sora: Sora, stored: str, dear: str) -> None:
    document = sora("what-if", "--policy", dear).document
    assert (document["different"], document["difference_usd_micros"]) == (1, 800_000)


def test_what_a_reviewer_reads_fits_80_columns(
    sora: Sora,
    stored: str,
    dear: str,
    terminal: Callable[..., tuple[Terminal, Terminal]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompt = "Mickey Mouse dances to Thriller, in a gory beheading"
    denied = sora("create", prompt, "--profile", "sandbox").document
    monkeypatch.setenv("COLUMNS", "80")
    out, _ = terminal()
    for command in (
        ["explain", stored],
        ["explain", denied["job_id"]],
        ["whynot", denied["job_id"]],
        ["verify"],
        ["audit", "--offline"],
        ["what-if", "--policy", dear],
    ):
        run(command)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).splitlines()
    assert [line for line in lines if len(line) > 80 and "→" not in line and "sora-ledger" not in line] == []
    assert any(line.startswith(f"{stored[-8:]}  ALLOW sora-2  ") for line in lines)


def test_a_policy_that_cannot_be_read_names_the_line(sora: Sora, stored: str, folder: Path) -> None:
    (folder / "bad.toml").write_text('version = 1\nname = "x"\nweights = 3\n')
    ended = sora("what-if", "--policy", "bad.toml")
    assert (ended.code, "line 3" in ended.error) == (2, True)


def test_explain_shows_what_reviewers_said_and_at_which_moment(sora: Sora, stored: str) -> None:
    review = ("review", stored, "--verdict", "changes_requested", "--clarity", "40")
    assert sora(*review, "--note", "2.5=hands", "--note", "0:01=the logo").code == 0
    assert "expected a time in the clip" in sora(*review, "--note", "hands").error
    reviews = sora("explain", stored).document["reviews"]
    assert reviews["agreement"]["words"] == "one reviewer: changes_requested"
    assert [note["text"] for note in reviews["given"][0]["timed_notes"]] == ["the logo", "hands"]
    shown = sora("explain", stored, "--format=text").out
    assert "at 2.5 s: “hands”" in shown
    assert "2.5 s “hands”" in sora("log", "--type", "review.recorded", "--format=text").out
    assert sora("erase", stored, "--reason", "asked", "--yes").code == 0
    notes = sora("explain", stored).document["reviews"]["given"][0]["timed_notes"]
    assert [note["text"] for note in notes] == ["[erased]", "[erased]"]
    assert sora("verify").code == 0
