from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

PROMPT = "a zebracorn by the canal"


@pytest.fixture
def job(sora: Sora, server: Callable[..., SandboxServer], folder: Path) -> str:
    """Return the id of a finished job."""
    server()
    made = sora("create-and-poll", "--prompt", PROMPT, "--out", str(folder / "clip.mp4"))
    return str(made.document["final"]["job_id"])


def stored(folder: Path) -> list[Path]:
    return list((folder / "assets").glob("sha256/*/*"))


def test_a_text_that_is_erased_is_shown_as_such(sora: Sora, job: str) -> None:
    sora("erase", job, "--reason", "subject_request", "--yes")
    shown = sora("show", job, "--json").document
    request = next(record for record in shown["records"] if record["type"] == "render.requested")
    assert request["payload"]["prompt"]["text"] == "[erased]"


@pytest.mark.parametrize("command", [["show"], ["log", "--job"]])
def test_people_read_erased_in_place_of_the_text(sora: Sora, job: str, command: list[str]) -> None:
    sora("erase", job, "--reason", "subject_request", "--yes")
    text = sora(*command, job, "--format=text").out
    assert ("[erased]" in text, "zebracorn" in text) == (True, False)


def test_cost_and_lineage_stay_readable(sora: Sora, job: str) -> None:
    before = sora("status", "--id", job).document
    sora("erase", job, "--reason", "subject_request", "--yes")
    after = sora("status", "--id", job).document
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"version", "position", "updated_at", "prompt"}


def test_no_file_beside_the_ledger_holds_the_text(sora: Sora, job: str, folder: Path) -> None:
    sora("erase", job, "--reason", "subject_request", "--yes")
    files = [file for file in folder.iterdir() if file.name.startswith("ledger.db")]
    assert [file.name for file in files if b"zebracorn" in file.read_bytes()] == []


def test_the_ledger_is_intact_afterwards(sora: Sora, job: str) -> None:
    sora("erase", job, "--reason", "subject_request", "--with-assets", "--yes")
    assert (sora("verify").code, sora("replay").code) == (0, 0)


def test_files_go_with_assets(sora: Sora, job: str, folder: Path) -> None:
    done = sora("erase", job, "--reason", "subject_request", "--with-assets", "--yes")
    assert (len(done.document["files"]), stored(folder)) == (1, [])


def test_a_person_does_not_read_that_a_file_is_there_that_was_erased(sora: Sora, job: str) -> None:
    before = sora("show", job, "--format=text").out
    sora("erase", job, "--reason", "subject_request", "--with-assets", "--yes")
    after = sora("show", job, "--format=text").out
    assert ("no longer there" in before, "bytes, no longer there)" in after) == (False, True)


def test_what_was_erased_is_reported(sora: Sora, job: str) -> None:
    done = sora("erase", job, "--reason", "subject_request", "--yes", "--format=text")
    assert done.out.splitlines()[0].startswith("erased: ")


def test_what_is_out_of_reach_is_reported(sora: Sora, job: str) -> None:
    left = sora("erase", job, "--reason", "subject_request", "--yes").document["left"]
    assert [f"sora-ledger delete --id {job}" in where for where in left] == [True, False]


def test_a_dry_run_erases_nothing(sora: Sora, job: str, folder: Path) -> None:
    looked = sora("erase", job, "--reason", "subject_request", "--with-assets", "--dry-run").document
    assert (looked["erased"], looked["streams"], len(looked["files"])) == (False, [job], 1)
    assert (len(stored(folder)), PROMPT in sora("show", job).out) == (1, True)


def test_the_actor_option_says_whose_texts_and_not_who_erases(sora: Sora, job: str) -> None:
    sora("erase", "--by-actor", "ana", "--reason", "subject_request", "--yes")
    assert sora("erase", "--by-actor", "bo", "--reason", "subject_request", "--yes").document["texts"] == 0
    last = sora("log", "--type", "private.erased").document["records"][-1]
    assert (last["stream"], last["actor"], last["actor_source"]) == (job, "ana", "environment")


def test_what_is_younger_stays(sora: Sora, job: str) -> None:
    assert sora("erase", "--older-than", "1", "--reason", "retention", "--yes").document["texts"] == 0


def test_what_is_older_goes(sora: Sora, job: str) -> None:
    done = sora("erase", "--older-than", "0", "--reason", "retention", "--yes").document
    assert done["streams"] == [job]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--reason", "x"], "nothing was selected: name a job, --by-actor ACTOR or --older-than DAYS"),
        (["job_1"], "Missing option '--reason'"),
        (["job_1", "--reason", "He asked"], "expected a code of a-z, 0-9 and _"),
        (["job_1", "--reason", "x"], "not a job id, a video id, or the beginning"),
        (["--older-than", "-1", "--reason", "x"], "-1 is not in the range"),
    ],
)
def test_bad_input_says_what_is_expected(sora: Sora, job: str, arguments: list[str], says: str) -> None:
    ended = sora("erase", *arguments)
    assert (ended.code, says in ended.error) == (2, True)


def test_without_a_terminal_it_has_to_be_confirmed(sora: Sora, job: str) -> None:
    ended = sora("erase", job, "--reason", "x")
    assert (ended.code, "check with --dry-run, then add --yes" in ended.error) == (2, True)
    assert PROMPT in sora("show", job).out


@pytest.mark.parametrize(("answer", "code", "erased"), [("n\n", 1, False), ("y\n", 0, True)])
def test_a_person_is_asked(  # one argument per fixture
    sora: Sora, job: str, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, *, erased: bool
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdin", Answering(answer))
        assert sora("erase", job, "--reason", "x").code == code
    assert ("[erased]" in sora("show", job).out) == erased


class Answering:
    """A terminal at which somebody answers."""

    def __init__(self, answer: str) -> None:
        self._answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self, *_: Any) -> str:
        return self._answer


def test_where_there_is_no_ledger_it_says_so(sora: Sora, folder: Path) -> None:
    assert sora("erase", "job_1", "--reason", "x", "--yes").code == 7
    assert not (folder / "ledger.db").exists()
