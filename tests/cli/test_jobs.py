"""The ledger's jobs: filtered by what they are, by time and by lineage, and drawn as trees."""

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from cli.main import run
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora, Terminal

DENIED = ["--max-cost", "0"]


def found_ids(sora: Sora, *arguments: str) -> list[str]:
    return [job["job_id"] for job in sora("jobs", *arguments).document["jobs"]]


@pytest.fixture
def two(sora: Sora, folder: Path) -> tuple[str, str]:
    """Record two denied jobs that differ in everything one can ask for."""
    jobs = [
        ["--model", "sora-2", "--purpose", "draft", "--actor", "ana", "--profile", "sandbox"],
        ["--model", "sora-2-pro", "--purpose", "final", "--actor", "ben", "--profile", "custom"],
    ]
    base = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    (folder / ".env").write_text("\n".join(f"{name}={text}" for name, text in base.items()))
    ids = [sora("create", "--prompt", "a fox", *DENIED, *more).document["job_id"] for more in jobs]
    return ids[0], ids[1]


@pytest.fixture
def family(sora: Sora, server: Callable[..., SandboxServer]) -> list[str]:
    """Make a video, a remix of it, a remix of that, and a stranger; return their jobs in this order."""
    server()
    ids = [sora("create-and-poll", "--prompt", "a fox").document["final"]["job_id"]]
    for colour in ("red", "green"):
        ids.append(sora("remix", ids[-1], "--prompt", f"make it {colour}").document["job_id"])
        sora("poll", ids[-1], "--poll-interval", "0.05")
    return [*ids, sora("create", "--prompt", "an owl").document["job_id"]]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "sora-2-pro"],
        ["--purpose", "final"],
        ["--by-actor", "ben"],
        ["--profile", "custom"],
        ["--limit", "1"],
        ["--state", "denied", "--by-actor", "ben"],
    ],
)
def test_a_filter_leaves_the_jobs_it_names(sora: Sora, two: tuple[str, str], arguments: list[str]) -> None:
    assert found_ids(sora, *arguments) == [two[1]]


def test_jobs_are_found_by_time(sora: Sora, two: tuple[str, str]) -> None:
    begun = sora("jobs", "--by-actor", "ben").document["jobs"][0]["begun_at"]
    assert found_ids(sora, "--since", begun) == [two[1]]
    assert found_ids(sora, "--until", begun) == [two[0]]
    assert found_ids(sora, "--since", "2020-01-01", "--until", "2021-01-01") == []


def test_jobs_are_found_by_the_servers_status(sora: Sora, family: list[str]) -> None:
    assert set(found_ids(sora, "--status", "completed")) == set(family[:3])
    assert found_ids(sora, "--status", "queued", "--status", "in_progress") == [family[3]]


@pytest.mark.parametrize("member", [0, 1, 2])
def test_a_line_is_the_same_whichever_job_of_it_is_named(sora: Sora, family: list[str], member: int) -> None:
    assert found_ids(sora, "--of", family[member]) == family[2::-1]


def test_a_branch_is_no_ancestor(sora: Sora, family: list[str]) -> None:
    branch = sora("remix", family[0], "--prompt", "make it blue").document["job_id"]
    assert branch not in found_ids(sora, "--of", family[1])
    assert branch in found_ids(sora, "--of", family[0])


def test_a_tree_draws_what_was_made_from_what(sora: Sora, family: list[str]) -> None:
    lines = sora("jobs", "--tree", "--format=text").out.splitlines()
    assert [line.index("job_") for line in lines] == [0, 0, 4, 8]
    assert [line.split("job_")[1].split()[0] for line in lines] == [
        job.removeprefix("job_") for job in (family[3], *family[:3])
    ]


def test_an_adopted_remix_hangs_below_its_adopted_source(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    videos = f"{server().base_url}/videos"
    headers = {"authorization": "Bearer any"}
    source = httpx2.post(videos, json={"prompt": "a fox"}, headers=headers).json()["id"]
    httpx2.post(f"{videos}/{source}/remix", json={"prompt": "make it red"}, headers=headers)
    sora("adopt", "--all")
    by_id = {job["job_id"]: job for job in sora("jobs").document["jobs"]}
    [remix] = [job for job in by_id.values() if job["remixed_from_video_id"]]
    assert by_id[remix["source_job"]]["id"] == source


def test_an_unknown_job_has_no_line(sora: Sora, two: tuple[str, str]) -> None:
    assert sora("jobs", "--of", "nowhere").code == 2


def test_a_table_shows_who_asked_for_what(sora: Sora, two: tuple[str, str]) -> None:
    header, newest, oldest = sora("jobs", "--format=text").out.splitlines()
    assert header.split()[-4:] == ["USD", "by", "render", "prompt"]
    assert newest.split()[-6:] == ["ben", "sora-2-pro", "4", "s", "a", "fox"]
    assert (newest.split()[0], oldest.split()[0]) == (two[1], two[0])


def test_a_narrow_terminal_shows_handles_that_name_their_jobs(
    sora: Sora,
    two: tuple[str, str],
    terminal: Callable[..., tuple[Terminal, Terminal]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out, _ = terminal()
    run(["jobs"])
    lines = out.getvalue().splitlines()
    assert two[1] not in out.getvalue()
    assert max(map(len, lines)) <= 100  # with colours
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", io.StringIO())
        assert run(["show", two[1][-8:]]) == 0
        assert two[1] in sys.stdout.getvalue()


def test_csv_has_one_row_for_each_job(sora: Sora, two: tuple[str, str], folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(sora("jobs", "--csv").out)))
    assert [row["job_id"] for row in rows] == [two[1], two[0]]
    assert [(row["actor"], row["prompt"], row["purpose"]) for row in rows] == [
        ("ben", "a fox", "final"),
        ("ana", "a fox", "draft"),
    ]
    assert sora("jobs", "--csv", "--out", "jobs.csv", "--by-actor", "ben").code == 0
    assert (folder / "jobs.csv").read_text(encoding="utf-8-sig").count("\n") == 2


def test_a_cell_that_looks_like_a_formula_is_text(sora: Sora) -> None:
    sora("create", "--prompt", "=HYPERLINK(1) a fox", *DENIED, "--profile", "sandbox")
    [row] = csv.DictReader(io.StringIO(sora("jobs", "--csv").out))
    assert row["prompt"] == "'=HYPERLINK(1) a fox"


@pytest.mark.parametrize("more", [["--csv", "--json"], ["--out", "jobs.csv"]])
def test_csv_and_json_exclude_each_other(sora: Sora, two: tuple[str, str], more: list[str]) -> None:
    assert sora("jobs", *more).code == 2


def test_the_poster_of_a_job_is_in_its_document(sora: Sora, family: list[str]) -> None:
    sora("download", family[0], "--variant", "thumbnail", "--out", "poster.webp")
    [job] = [job for job in sora("jobs").document["jobs"] if job["job_id"] == family[0]]
    assert job["poster"].endswith(".webp")
    assert job["poster"] in sora("jobs", "--posters", "--format=text").out


def test_a_tree_says_what_each_remix_changed(sora: Sora, family: list[str]) -> None:
    lines = sora("jobs", "--tree", "--format=text").out.splitlines()
    assert "a fox" in lines[1]
    assert "make it red" in lines[2]
    assert "make it green" in lines[3]


def test_a_narrow_tree_has_the_change_on_its_line(
    sora: Sora,
    family: list[str],
    terminal: Callable[..., tuple[Terminal, Terminal]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out, _ = terminal()
    run(["jobs", "--tree"])
    lines = out.getvalue().splitlines()
    assert f"    └── {family[2][-8:]}  stored  remix  palette: make it green" in lines
    assert max(map(len, lines)) <= 80


def test_a_job_is_proved_by_its_last_record(sora: Sora, two: tuple[str, str]) -> None:
    sora("prove", two[0], "--out", "job.proof")
    checked = sora("prove", "--check", "job.proof").document
    assert (checked["proved"], checked["record"]["stream"]) == (True, two[0])
    assert checked["record"]["type"] == "render.closed"
