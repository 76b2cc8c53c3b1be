"""Jobs are found by words of their prompts, each with the piece that matches, until the prompt is erased."""

from pathlib import Path
from shutil import copyfile

import pytest

from tests.cli.conftest import Sora

GOLDEN = Path(__file__).parents[1] / "golden" / "v1" / "ledger.db"
DENIED = ["--max-cost", "0", "--profile", "sandbox"]


def found_ids(sora: Sora, *arguments: str) -> list[str]:
    return [job["job_id"] for job in sora("find", *arguments).document["jobs"]]


@pytest.fixture
def two(sora: Sora) -> tuple[str, str]:
    """Record two denied jobs."""
    jobs = [
        ["--prompt", "a paper boat on a canal", "--purpose", "draft"],
        ["--prompt", f"{'very ' * 100}red BOATS 夜景 [bold]\x1b[2J", "--purpose", "final"],
    ]
    ids = [sora("create", *DENIED, *more).document["job_id"] for more in jobs]
    return ids[0], ids[1]


def test_jobs_are_found_by_all_words_newest_first(sora: Sora, two: tuple[str, str]) -> None:
    assert found_ids(sora, "boat") == [two[1], two[0]]
    assert found_ids(sora, "boat", "paper") == [two[0]]
    assert found_ids(sora, "夜景") == [two[1]]
    assert found_ids(sora, "boat", "submarine") == []


def test_a_search_has_the_filters_of_a_list(sora: Sora, two: tuple[str, str]) -> None:
    assert found_ids(sora, "boat", "--purpose", "final") == [two[1]]
    assert found_ids(sora, "boat", "--state", "stored") == []
    assert found_ids(sora, "boat", "--limit", "1") == [two[1]]


def test_a_found_job_is_shown_with_the_piece_that_matches(sora: Sora, two: tuple[str, str]) -> None:
    shown = sora("find", "red", "boat", "--format", "text").out
    assert two[1] in shown
    assert "very very red BOATS 夜景 [bold]�[2J" in shown
    assert "    …" in shown
    [job] = sora("find", "paper").document["jobs"]
    assert (job["snippet"], job["poster"]) == ("a paper boat on a canal", None)


def test_an_erased_prompt_is_found_no_more(sora: Sora, two: tuple[str, str]) -> None:
    sora("erase", two[0], "--reason", "subject_request", "--yes")
    assert found_ids(sora, "paper") == []
    assert found_ids(sora, "boat") == [two[1]]


def test_the_first_search_upgrades_an_older_ledger(sora: Sora, folder: Path) -> None:
    copyfile(GOLDEN, folder / "old.db")
    assert found_ids(sora, "storm", "--ledger", str(folder / "old.db")) != []


def test_a_search_without_a_word_names_what_is_missing(sora: Sora, two: tuple[str, str]) -> None:
    refused = sora("find", '"(*')
    assert (refused.code, "name a word of the prompt" in refused.err) == (2, True)


def test_replaying_builds_the_search_index_again(sora: Sora, two: tuple[str, str], folder: Path) -> None:
    assert sora("replay", "--swap").code == 0
    assert found_ids(sora, "boat") == [two[1], two[0]]
